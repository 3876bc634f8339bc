"""Whether a field is fit to be counted: how its red cells lie, and how sharp their edges are."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bloodcell_batch.fields.cells import Cell, FieldCells
from bloodcell_batch.fields.peaks import near_others
from bloodcell_batch.fields.tiles import shrunk
from bloodcell_batch.records import FieldFault

_DEEP = 0.75  # centres nearer than this share of the way at which ellipses touch: they overlap by a quarter or more
_THICK = 2 / 3  # share of red cells that overlap so, from which on single cells are no longer told apart
_THIN = 0.2  # share of the field under red cells, below which it lies in the thin end of the smear
_BLURRED = 0.13  # of a red cell's diameter over which its edge rises, from which on nuclei lose their texture
_SIDE = 40.0  # pixels of a red cell at which edges are measured: a sharp one takes three
_MOST = 60  # red cells that are measured
_RAYS, _STEPS = 24, 17
_FEWEST_EDGES = 24  # rays that cross a visible edge
_VISIBLE = 12  # grey levels of an edge
_LONGEST = 1.6  # width over height, or height over width, of a single red cell
_GREEN = 1  # red cells absorb green most


@dataclass(frozen=True, slots=True)
class FieldCondition:
    """Measures of a field, None where its red cells can't tell.

    Attributes:
        overlapping: share of red cells of which another covers a quarter or more, 0-1.
        covered: share of the field, beside its leukocytes, under red cells, 0-1; they may overlap.
        edge_width: of a red cell's diameter, over how much its edge rises: 0.07 is sharp.
        faults: what these measures say, in the order of `FieldFault`.
    """

    overlapping: float | None
    covered: float | None
    edge_width: float | None
    faults: tuple[FieldFault, ...]


def condition_of(rgb: NDArray[np.uint8], found: FieldCells) -> FieldCondition:
    """The condition of a field.

    Args:
        rgb: uint8 (height, width, 3).
        found: its cells; without a scale, nothing is measured and nothing is wrong.
    """
    if found.red_cell_pixels is None or not found.red_cells:
        return FieldCondition(None, None, None, ())
    overlapping = _overlapping(found.red_cells)
    covered = _covered(found, rgb.shape[0] * rgb.shape[1])
    width = edge_width(rgb, found.red_cells, found.red_cell_pixels)
    wrong = {
        FieldFault.TOO_THICK: overlapping > _THICK,
        FieldFault.TOO_THIN: covered < _THIN,
        FieldFault.OUT_OF_FOCUS: width is not None and width > _BLURRED,
    }
    return FieldCondition(overlapping, covered, width, tuple(fault for fault in FieldFault if wrong[fault]))


def edge_width(rgb: NDArray[np.uint8], red_cells: Sequence[Cell], red_cell_pixels: float) -> float | None:
    """Over which part of its diameter the edge of a red cell rises: the median of many edges; None if too few are seen.

    It is the height of the edge over its steepest slope, along rays from the cells' centres. Neither the contrast of
    the stain nor the magnification changes it, as long as a red cell has 30 pixels or more.
    """
    from scipy import ndimage  # noqa: PLC0415 - a tenth of a second; single cells do without

    factor = min(1.0, _SIDE / red_cell_pixels)
    green = shrunk(rgb, factor)[:, :, _GREEN].astype(np.float32)
    boxes = np.array(
        [(cell.x, cell.y, cell.width, cell.height) for cell in red_cells if not cell.cut_off and _round(cell)][:_MOST],
        dtype=np.float64,
    ).reshape(-1, 4)
    angles = np.linspace(0, 2 * np.pi, _RAYS, endpoint=False)
    radii = np.linspace(0.6, 1.4, _STEPS)
    along = [
        (boxes[:, axis, None, None] + boxes[:, 2 + axis, None, None] / 2 * turn[:, None] * radii) * factor - 0.5
        for axis, turn in ((1, np.sin(angles)), (0, np.cos(angles)))
    ]
    light = ndimage.map_coordinates(green, along, order=1, mode="nearest")
    steps = np.hypot(*(np.diff(each, axis=2) for each in along)) / (factor * red_cell_pixels)
    height = light.max(axis=2) - light.min(axis=2)
    seen = height > _VISIBLE
    if seen.sum() < _FEWEST_EDGES:
        return None
    steepest = (np.diff(light, axis=2) / steps).max(axis=2)
    return float(np.median(height[seen] / np.maximum(steepest[seen], 1e-3)))


def _round(cell: Cell) -> bool:
    return cell.width < _LONGEST * cell.height and cell.height < _LONGEST * cell.width


def _overlapping(red_cells: Sequence[Cell]) -> float:
    boxes = np.array([(cell.x, cell.y, cell.width, cell.height, cell.score) for cell in red_cells], dtype=np.float32)
    return float(near_others(boxes, _DEEP).mean())


def _covered(found: FieldCells, area: int) -> float:
    red, white = (
        np.pi / 4 * sum(cell.width * cell.height for cell in cells) for cells in (found.red_cells, found.leukocytes)
    )
    return float(min(1.0, red / max(area - white, 1.0)))
