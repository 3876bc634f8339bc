"""The same cell in two fields of view that overlap: known by the hash of the cell and its rim."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bloodcell_batch.fields.cells import Cell
from bloodcell_batch.fields.crops import CROP_RED_CELLS, crop
from bloodcell_batch.images.perceptual_hash import grey_thumbnail, perceptual_hashes

SAME_CELL = 56
"""Largest distance, in bits of 256, of two pictures of one cell that nobody needs to look at."""
POSSIBLY_SAME_CELL = 72
"""Up to this distance, a person should decide."""

_RED_CELLS = 2.6  # side of what is hashed, in diameters of a red cell: the cell and a rim, which is inside most fields
_WITHIN = 0.7  # standard deviation, in red cells, of the window in which the centre of the darkness is looked for
_STEPS = 4
_POINTS = 32  # on each side of the centre


def cell_hash(
    rgb: NDArray[np.uint8], cell: Cell, red_cell_pixels: float, background: NDArray[np.uint8] | None
) -> bytes:
    """The 256-bit perceptual hash of a cell and its rim, 32 bytes; arguments as those of `crops.crop`.

    `tests/measurements/same_cell.py` measures how far apart hashes of one cell in two fields are, and of two cells.
    """
    x, y = _dark_centre(rgb, cell, red_cell_pixels)
    part = crop(rgb, replace(cell, x=x, y=y), red_cell_pixels * _RED_CELLS / CROP_RED_CELLS, background)
    found: bytes = perceptual_hashes(grey_thumbnail(Image.fromarray(part))[None])[0]
    return found


def _dark_centre(rgb: NDArray[np.uint8], cell: Cell, red_cell_pixels: float) -> tuple[float, float]:
    """Where the darkness of the nucleus has its centre: boxes of one cell differ by a few pixels from field to field,
    which is more than the hash bears."""
    reach = max(2, round(1.5 * red_cell_pixels))
    step = -(-reach // _POINTS)  # a centre of thousands of points is exact enough
    left, top = max(0, round(cell.x) - reach), max(0, round(cell.y) - reach)
    green = rgb[top : round(cell.y) + reach : step, left : round(cell.x) + reach : step, 1].astype(np.float32)
    dark = np.clip(np.median(green) - green, 0, None) ** 2  # nuclei take most of the green light
    rows = np.arange(green.shape[0]) * step + top + 0.5
    columns = np.arange(green.shape[1]) * step + left + 0.5
    x, y, spread = cell.x, cell.y, 2 * (_WITHIN * red_cell_pixels) ** 2
    for _ in range(_STEPS):
        weight = dark * np.exp(-((rows - y) ** 2) / spread)[:, None] * np.exp(-((columns - x) ** 2) / spread)
        total = float(weight.sum())
        if total <= 0:
            break
        x, y = float((weight.sum(axis=0) * columns).sum() / total), float((weight.sum(axis=1) * rows).sum() / total)
    return min(max(x, 0.0), rgb.shape[1] - 1.0), min(max(y, 0.0), rgb.shape[0] - 1.0)
