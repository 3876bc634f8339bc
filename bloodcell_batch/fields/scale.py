"""The yardstick: how many pixels a red cell measures."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bloodcell_batch.fields.cells import Cell, FieldCells

FEWEST_RED_CELLS = 3
"""Red cells from which on their median is a scale; with fewer, the slide's other fields must tell."""

_LONGEST = 1.6  # width over height, or height over width, of a red cell that is taken for a single whole one
_HALF = 0.55  # length over width from which on a cell at the border shows more than half, and so its whole width


def red_cell_diameter(red_cells: NDArray[np.float32], width: float, height: float) -> float | None:
    """Median diameter of the red cells among boxes (n, 5) in a field of `width` x `height`; None if too few.

    Whole cells are measured; where they are too few, also those of which the border leaves more than half: along the
    border they show their whole diameter.
    """
    low, high = red_cells[:, :2] - red_cells[:, 2:4] / 2, red_cells[:, :2] + red_cells[:, 2:4] / 2
    margin = 0.03 * red_cells[:, 2:4]
    inside = (low >= margin) & (high <= np.array([width, height]) - margin)
    sides = np.sort(red_cells[:, 2:4], axis=1)
    whole = inside.all(axis=1) & (sides[:, 1] <= _LONGEST * sides[:, 0])
    diameters = np.sqrt(sides.prod(axis=1))[whole]
    if len(diameters) < FEWEST_RED_CELLS:
        across, along = red_cells[:, 2:4], red_cells[:, 3:1:-1]
        # Cut off along one axis only: what the other one shows is a diameter.
        cut = ~inside & inside[:, ::-1] & (across >= _HALF * along) & (across <= _LONGEST * along)
        diameters = np.concatenate([diameters, along[cut]])
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


def slide_scale(sampled: Sequence[FieldCells]) -> float | None:
    """Diameter of a red cell, in pixels, in the images of one slide; None where they don't tell.

    It is the median of what images tell by themselves, so that neither one with very many red cells nor one at a wrong
    scale decides; where none tells, that of their red cells together.

    Args:
        sampled: what was found in some of the slide's images, always the same ones: then no table depends on how many
            workers there are, or on which image came first.
    """
    told = [found.red_cell_pixels for found in sampled if found.red_cell_pixels is not None]
    if told:
        return float(np.median(told))
    return pooled_red_cell_pixels(found.red_cells for found in sampled)


@dataclass(frozen=True, slots=True)
class CropScale:
    """How large the cells of a folder of cut-out cells are.

    Attributes:
        looked_at: pixels of a red cell at which the finder sees these pictures best.
        red_cell_pixels: pixels of a red cell where red cells tell; None in tight crops.
    """

    looked_at: float
    red_cell_pixels: float | None = None


def crop_scale(sampled: Sequence[FieldCells]) -> CropScale | None:
    """The scale of a folder from some of its images, always the same ones; None without any.

    Args:
        sampled: what the finder saw in each of them when it was told no scale.
    """
    if not sampled:
        return None
    measured = slide_scale(sampled)
    return CropScale(measured or float(np.median([found.looked_at for found in sampled])), measured)
