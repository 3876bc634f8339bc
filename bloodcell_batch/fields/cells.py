"""What is found in a field: cells, their scale, and what kind of image it is."""

from dataclasses import dataclass
from enum import StrEnum

from bloodcell_batch.model.file import FINDER_CLASSES

FIELD_CLASSES = tuple(entry.name for entry in FINDER_CLASSES)
"""Names of the finder's maps, in order."""


class ImageKind(StrEnum):
    """What one image looks like; a folder of images decides by vote."""

    SINGLE = "single"
    FIELD = "field"
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a field.

    Attributes:
        x: of the box's centre, in pixels of the image from its left border.
        y: the same from the upper border.
        width: of the box, in pixels; only what lies inside the image.
        height: the same.
        score: 0-1, how sure the finder is.
        cut_off: whether the box reaches the border of the image.
        visible: share of the cell that lies in the image, 0-1, if it is as wide as high; 1 where nothing is cut off.
        touching: whether it touches another cell of its class.
    """

    x: float
    y: float
    width: float
    height: float
    score: float
    cut_off: bool = False
    visible: float = 1.0
    touching: bool = False


@dataclass(frozen=True, slots=True)
class FieldCells:
    """Everything that is found in an image, each list from the surest to the least sure cell.

    Attributes:
        leukocytes: nucleated cells.
        red_cells: as many as the finder saw; in thick parts it does not see all.
        platelets: single ones; of a clump, some.
        red_cell_pixels: diameter of a red cell in pixels of the image, None where it can't be known.
        kind: of the image.
        looked_at: diameter of a red cell, in pixels, that the finder assumed when it saw these cells.
    """

    leukocytes: tuple[Cell, ...]
    red_cells: tuple[Cell, ...]
    platelets: tuple[Cell, ...]
    red_cell_pixels: float | None
    kind: ImageKind
    looked_at: float = 0.0
