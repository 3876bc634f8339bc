"""Which fields are too thick, too thin or out of focus, as they are and with blurred copies.

    python tests/measurements/unfit_fields.py FOLDER ... --images 60

Prints a line per folder and blur: the fields that each fault was found in, and the edges' width (median, and the 95th
percentile; of blurred copies the 5th). The blur is the standard deviation of a Gaussian, as a share of the red cells'
diameter.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from bloodcell_batch.backends.selection import open_backend
from bloodcell_batch.fields.condition import FieldCondition, condition_of
from bloodcell_batch.fields.finder import Finder, find_cells
from bloodcell_batch.images.file_formats import IMAGE_SUFFIXES
from bloodcell_batch.model.file import open_finder
from bloodcell_batch.records import FieldFault
from bloodcell_batch.stages.find import ready_finder
from bloodcell_batch.training.finder.data import decoded


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line per folder and blur."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--images", type=int, default=60, help="of each folder, evenly spread over its names")
    parser.add_argument("--blur", type=float, nargs="*", default=[0.04, 0.06, 0.08])
    options = parser.parse_args(arguments)
    model = open_finder(None)
    finder = ready_finder(model, open_backend(model).backend)
    for folder in options.folders:
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
        paths = paths[:: max(1, len(paths) // options.images)][: options.images]
        pictures = [decoded(path) for path in paths]
        for blur in (0.0, *options.blur):
            conditions = [_condition(picture, finder, blur) for picture in pictures]
            sys.stdout.write(f"{folder.name}, blur {blur:.2f}: {_text(conditions, 95 if blur == 0 else 5)}\n")
    return 0


def _condition(picture: NDArray[np.uint8], finder: Finder, blur: float) -> FieldCondition:
    found = find_cells(picture, finder)
    if blur and found.red_cell_pixels is not None:
        image = Image.fromarray(picture).filter(ImageFilter.GaussianBlur(blur * found.red_cell_pixels))
        picture = np.asarray(image)
        found = find_cells(picture, finder)
    return condition_of(picture, found)


def _text(conditions: Sequence[FieldCondition], percentile: int) -> str:
    counts = Counter(fault for condition in conditions for fault in condition.faults)
    widths = [condition.edge_width for condition in conditions if condition.edge_width is not None]
    text = f"{len(conditions)} fields, {len(widths)} with edges, "
    text += ", ".join(f"{counts[fault]} {fault.value}" for fault in FieldFault)
    if widths:
        text += f"; edges {np.median(widths):.3f}, percentile {percentile}: {np.percentile(widths, percentile):.3f}"
    return text


if __name__ == "__main__":
    sys.exit(main())
