"""How surely the hash of a cell and its rim tells that two fields show the same cell.

    python tests/measurements/same_cell.py FIELDS... [--fields 300] [--windows 4]

Of every field some overlapping windows are cut out, each a fraction of a pixel off the others, in other brightness (by
up to 5 %) and JPEG quality (80 to 95), as fields of an overlapping scan are. Cells at one place are the same; cells of
fields of two laboratories, each FOLDER one, are certainly others, while two fields of one laboratory may well overlap.
"""

import argparse
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from bloodcell_batch.backends.contract import BackendOptions
from bloodcell_batch.backends.selection import open_backend
from bloodcell_batch.fields.cells import FieldCells
from bloodcell_batch.fields.finder import find_cells
from bloodcell_batch.fields.same_cell import POSSIBLY_SAME_CELL, SAME_CELL, cell_hash
from bloodcell_batch.images.hamming import as_words, distances
from bloodcell_batch.model.file import open_finder
from bloodcell_batch.stages.find import ready_finder

WIDTH, HEIGHT = 0.62, 0.75  # of a window, in those of the field
SAME_PLACE = 0.35  # of a cell's width


@dataclass
class Seen:
    """A cell in a window: its place in the field, and its hash."""

    laboratory: int
    field: int
    window: int
    x: float
    y: float
    width: float
    phash: bytes


def main(arguments: Sequence[str] | None = None) -> int:
    """Print both distributions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--fields", type=int, default=300, help="of each folder, at most")
    parser.add_argument("--windows", type=int, default=4)
    options = parser.parse_args(arguments)
    rng = np.random.default_rng(0)
    model = open_finder()
    finder = ready_finder(model, open_backend(model, "openvino", BackendOptions("fp32")).backend)
    cells: list[Seen] = []
    for laboratory, folder in enumerate(options.folders):
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in {".jpg", ".png", ".tif"})
        for number, place in enumerate(rng.permutation(len(files))[: options.fields].tolist()):
            with Image.open(files[place]) as opened:
                image = opened.convert("RGB")
            windows = [_window(image, rng) for _ in range(options.windows)]
            found = [find_cells(window.rgb, finder) for window in windows]
            # `classify` knows the scale of the slide.
            scale = float(np.median([one.red_cell_pixels for one in found if one.red_cell_pixels] or [0]))
            for index, (window, seen) in enumerate(zip(windows, found, strict=True)):
                cells += _seen(window, seen, scale, (laboratory, number, index))
    sys.stdout.write(_report(cells))
    return 0


@dataclass
class Window:
    """A part of a field as another picture, and where it lies."""

    left: float
    top: float
    rgb: NDArray[np.uint8]


def _window(image: Image.Image, rng: np.random.Generator) -> Window:
    width, height = int(image.width * WIDTH), int(image.height * HEIGHT)
    left, top = rng.uniform(0, image.width - width - 1), rng.uniform(0, image.height - height - 1)
    at = (1, 0, left, 0, 1, top)
    window = image.transform((width, height), Image.Transform.AFFINE, at, Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    window = ImageEnhance.Brightness(window).enhance(rng.uniform(0.95, 1.05))
    window.save(stream, "JPEG", quality=int(rng.integers(80, 96)))
    return Window(left, top, np.asarray(Image.open(stream).convert("RGB")))


def _seen(window: Window, found: FieldCells, scale: float, where: tuple[int, int, int]) -> list[Seen]:
    if not scale:
        return []
    return [
        Seen(*where, cell.x + window.left, cell.y + window.top, cell.width, cell_hash(window.rgb, cell, scale, None))
        for cell in found.leukocytes
        if not cell.cut_off
    ]


def _report(cells: list[Seen]) -> str:
    words = as_words(b"".join(cell.phash for cell in cells)).T
    first, second = np.triu_indices(len(cells), 1)
    gaps = distances(words[:, first], words[:, second])
    places = np.array([(cell.x, cell.y) for cell in cells])
    apart = np.hypot(*(places[first] - places[second]).T)
    of = {
        name: np.array([getattr(cell, name) for cell in cells]) for name in ("laboratory", "field", "window", "width")
    }
    one_laboratory = of["laboratory"][first] == of["laboratory"][second]
    one_field = one_laboratory & (of["field"][first] == of["field"][second])
    near = apart < SAME_PLACE * of["width"][first]
    same = gaps[one_field & near & (of["window"][first] != of["window"][second])]
    lines = [
        f"{len(cells):,} cells; bits of 256",
        f"one cell in two windows ({len(same):,} pairs): {_shares(same, (50, 90, 95))}; {_within(same)}",
    ]
    for name, pairs in (("two laboratories", ~one_laboratory), ("two fields of one", one_laboratory & ~one_field)):
        others = gaps[pairs]
        if len(others):
            told = f"{_shares(others, (10, 1, 0.1, 0.01))}; nearest {others.min()}; {_within(others)}"
            lines.append(f"cells of {name} ({len(others):,} pairs): {told}")
    return "\n".join(lines) + "\n"


def _within(gaps: NDArray[np.uint16]) -> str:
    found = ((bits, int((gaps <= bits).sum())) for bits in (SAME_CELL, POSSIBLY_SAME_CELL))
    return ", ".join(f"{count:,} ({count / len(gaps):.2%}) within {bits}" for bits, count in found)


def _shares(gaps: NDArray[np.uint16], percents: tuple[float, ...]) -> str:
    return ", ".join(
        f"{share:g} % within {bits:.0f}" for share, bits in zip(percents, np.percentile(gaps, percents), strict=True)
    )


if __name__ == "__main__":
    sys.exit(main())
