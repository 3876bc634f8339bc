"""What finding costs beyond decoding: fields as `classify` looks at them, and the quick look at single cells.

    python tests/measurements/field_speed.py FOLDER ... --images 60

Prints a line per folder: processor time on one thread per megapixel, fields a second on all processors (decoding
included), and the time of the quick look at each image. The scale of the folder is settled from 12 of its images first,
as for a slide.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bloodcell_batch.backends.contract import BackendOptions
from bloodcell_batch.backends.selection import open_backend
from bloodcell_batch.fields.finder import Finder, find_cells
from bloodcell_batch.fields.scale import crop_scale, slide_scale
from bloodcell_batch.fields.singles import not_one_cell
from bloodcell_batch.images.file_formats import IMAGE_SUFFIXES
from bloodcell_batch.model.file import ModelFile, open_finder
from bloodcell_batch.stages.find import for_crops, ready_finder
from bloodcell_batch.training.finder.data import decoded

_SAMPLED = 12
_SHARES = 4  # the machine's other work comes and goes: the quietest quarter of the looks is reported as well


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line per folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--images", type=int, default=60, help="of each folder, evenly spread over its names")
    options = parser.parse_args(arguments)
    model = open_finder(None)
    one, every, quick = _ready(model, 1), _ready(model, None), _ready(for_crops(model), 1)
    for folder in options.folders:
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
        paths = paths[:: max(1, len(paths) // options.images)][: options.images]
        sys.stdout.write(f"{folder}: {_line(paths, one, every, quick)}\n")
    return 0


def _ready(model: ModelFile, threads: int | None) -> Finder:
    return ready_finder(model, open_backend(model, "auto", BackendOptions(threads=threads)).backend)


def _line(paths: Sequence[Path], one: Finder, every: Finder, quick: Finder) -> str:
    pictures = [decoded(path) for path in paths]
    sampled = [find_cells(picture, one) for picture in pictures[:_SAMPLED]]
    scale, cropped = slide_scale(sampled), crop_scale(sampled)
    per_megapixel, looks = [], []
    for picture in pictures:
        start = time.process_time()
        find_cells(picture, one, first_guess=scale, fallback=scale)
        middle = time.process_time()
        if cropped is not None:
            not_one_cell(picture, quick, cropped)
        looks.append(1000 * (time.process_time() - middle))
        per_megapixel.append(1000 * (middle - start) / (picture.shape[0] * picture.shape[1] / 1e6))
    start = time.perf_counter()
    for path in paths:
        find_cells(decoded(path), every, first_guess=scale, fallback=scale)
    rate = len(paths) / (time.perf_counter() - start)
    text = f"{len(paths)} images, {_middle_and_quiet(per_megapixel)} ms/megapixel of one processor, {rate:.0f} images/s"
    return text + f", quick look {_middle_and_quiet(looks)} ms"


def _middle_and_quiet(times: Sequence[float]) -> str:
    ordered = sorted(times)
    return f"{ordered[len(ordered) // 2]:.1f} (quietest quarter {ordered[len(ordered) // _SHARES]:.1f})"


if __name__ == "__main__":
    sys.exit(main())
