"""The yardstick: how many pixels a red cell measures."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from bloodcell_batch.fields.cells import Cell

FEWEST_RED_CELLS = 3
"""Whole red cells from which on their median is a scale; with fewer, the slide's other fields must tell."""

_LONGEST = 1.6  # width over height, or height over width, of a red cell that is taken for a single whole one


def red_cell_diameter(red_cells: NDArray[np.float32], width: float, height: float) -> float | None:
    """Median diameter of the whole red cells among boxes (n, 5) in a field of `width` x `height`; None if too few."""
    low, high = red_cells[:, :2] - red_cells[:, 2:4] / 2, red_cells[:, :2] + red_cells[:, 2:4] / 2
    margin = 0.03 * red_cells[:, 2:4]
    whole = ((low >= margin) & (high <= np.array([width, height]) - margin)).all(axis=1)
    sides = np.sort(red_cells[:, 2:4], axis=1)
    whole &= sides[:, 1] <= _LONGEST * sides[:, 0]
    diameters = np.sqrt(sides.prod(axis=1))[whole]
    return float(np.median(diameters)) if len(diameters) >= FEWEST_RED_CELLS else None


def pooled_red_cell_pixels(fields: Iterable[tuple[Cell, ...]]) -> float | None:
    """One scale for fields of one magnification, from the red cells of all of them; None if they have too few.

    Args:
        fields: the red cells of each field.
    """
    whole = [cell for cells in fields for cell in cells if not cell.cut_off]
    boxes = np.array([(0, 0, cell.width, cell.height, cell.score) for cell in whole], dtype=np.float32).reshape(-1, 5)
    boxes[:, :2] = boxes[:, 2:4]  # anywhere inside
    return red_cell_diameter(boxes, np.inf, np.inf)
