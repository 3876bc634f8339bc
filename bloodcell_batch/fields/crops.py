"""A cell cut out of its field as the classifier knows cells: centred, at one scale."""

import numpy as np
from numpy.typing import NDArray

from bloodcell_batch.fields.cells import Cell
from bloodcell_batch.fields.tiles import background_colour

CROP_RED_CELLS = 4.5
"""Side of a crop in diameters of a red cell: that of the images the classifier was trained on."""


def crop(
    rgb: NDArray[np.uint8], cell: Cell, red_cell_pixels: float, background: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """The square around a cell, in the pixels of its field.

    What lies outside the field has the colour of the empty smear: mirrored, it would show cells that are not there.

    Args:
        rgb: uint8 (height, width, 3), the field.
        cell: what to cut out; its centre lies in the field.
        red_cell_pixels: diameter of a red cell in the field, above 0.
        background: RGB of the empty smear; measured in the field if None.

    Returns:
        uint8 (side, side, 3), side = 4.5 red cells, at least 1 pixel.
    """
    side = max(1, round(CROP_RED_CELLS * red_cell_pixels))
    left, top = round(cell.x - side / 2), round(cell.y - side / 2)
    height, width = rgb.shape[:2]
    if left >= 0 and top >= 0 and left + side <= width and top + side <= height:
        return rgb[top : top + side, left : left + side].copy()
    cut = np.empty((side, side, 3), dtype=np.uint8)
    cut[:] = background_colour(rgb) if background is None else background
    rows, columns = slice(max(0, top), max(0, top + side)), slice(max(0, left), max(0, left + side))
    part = rgb[rows, columns]
    from_top, from_left = max(0, -top), max(0, -left)
    cut[from_top : from_top + part.shape[0], from_left : from_left + part.shape[1]] = part
    return cut
