"""Whether a picture that is taken for one cell shows one: a quick look at each image of a folder of cut-out cells."""

import dataclasses
from collections.abc import Sequence
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from bloodcell_batch.fields.cells import Cell
from bloodcell_batch.fields.finder import Finder, find_cells
from bloodcell_batch.fields.kind import is_field
from bloodcell_batch.fields.scale import CropScale

_MIDDLE = 0.25  # share of the sides by which the cell of the picture may lie beside the centre
_AS_CENTRAL = 0.06  # a second cell whose distance from the centre differs by less could be meant as well
_MOSTLY = 0.75  # share of a second cell that is in the picture
_SEEN = 0.5  # share of the finder's thresholds that a cell must reach to be there at all
_NEVER = 2.0  # a threshold that no red cell reaches: they are not asked for


class NotOneCell(StrEnum):
    """Why a picture is not one of a single cell."""

    SEVERAL = "several_cells"
    NONE = "no_cell"


def not_one_cell(rgb: NDArray[np.uint8], finder: Finder, scale: CropScale) -> NotOneCell | None:
    """What is wrong with a picture that should show a single cell in its middle; None if nothing is.

    A second leukocyte is no fault where one lies clearly nearer to the centre: crops show neighbours. Of platelets,
    one in the middle is enough, alone or in a clump. A picture as large as a field, in red cells, shows several cells.

    Args:
        rgb: uint8 (height, width, 3), upright.
        finder: with a `smaller` one, this takes a quarter of the time.
        scale: of the picture's folder.
    """
    height, width = rgb.shape[:2]
    if scale.red_cell_pixels is not None and is_field(width, height, scale.red_cell_pixels):
        return NotOneCell.SEVERAL
    leukocyte, _, platelet = finder.thresholds
    keen = dataclasses.replace(finder, thresholds=(_SEEN * leukocyte, _NEVER, _SEEN * platelet))
    found = find_cells(rgb, keen, red_cell_pixels=scale.looked_at)
    if any(_from_centre(cell, width, height) < _MIDDLE for cell in found.leukocytes):
        return NotOneCell.SEVERAL if _undecided(found.leukocytes, leukocyte, width, height) else None
    if any(_from_centre(cell, width, height) < _MIDDLE for cell in found.platelets):
        return None
    sure = [cell for cell in found.leukocytes if cell.score >= leukocyte and cell.visible > _MOSTLY]
    return NotOneCell.SEVERAL if len(sure) > 1 else NotOneCell.NONE


def _undecided(leukocytes: Sequence[Cell], threshold: float, width: int, height: int) -> bool:
    """Whether two sure cells are about as near to the centre as each other."""
    sure = [cell for cell in leukocytes if cell.score >= threshold and cell.visible > _MOSTLY]
    distances = sorted(_from_centre(cell, width, height) for cell in sure)
    return len(sure) > 1 and distances[1] < _MIDDLE and distances[1] - distances[0] < _AS_CENTRAL


def _from_centre(cell: Cell, width: int, height: int) -> float:
    return max(abs(cell.x / width - 0.5), abs(cell.y / height - 0.5))
