"""Which found cell is which labelled one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bloodcell_batch.fields.cells import Cell
from bloodcell_batch.statistics.binomial import clopper_pearson
from bloodcell_batch.training.finder.boxes import LabelledBox

_SAME_BOX = 0.5  # intersection over union


@dataclass(frozen=True, slots=True)
class Matches:
    """Counts over any number of images: labelled cells, found ones, and those that are both."""

    labelled: int = 0
    found: int = 0
    both: int = 0

    def __add__(self, other: "Matches") -> "Matches":
        return Matches(self.labelled + other.labelled, self.found + other.found, self.both + other.both)

    def as_dict(self) -> dict[str, Any]:
        """Counts, recall, precision and F1, the first two with their exact 95 % limits; None where nothing counts."""
        total = self.labelled + self.found
        return {
            "labelled": self.labelled,
            "found": self.found,
            "missed": self.labelled - self.both,
            "false": self.found - self.both,
            "recall": _share(self.both, self.labelled),
            "precision": _share(self.both, self.found),
            "f1": 2 * self.both / total if total else None,
        }


def _share(count: int, total: int) -> list[float] | None:
    return [count / total, *clopper_pearson(count, total)] if total else None


def match_by_centre(found: Sequence[Cell], labelled: Sequence[LabelledBox]) -> Matches:
    """A found cell is a labelled one if its centre lies in the box; the surest first, each the nearest that is left."""
    left = list(labelled)
    for cell in found:
        inside = [box for box in left if abs(cell.x - box.x) < box.width / 2 and abs(cell.y - box.y) < box.height / 2]
        if inside:
            left.remove(min(inside, key=lambda box: (cell.x - box.x) ** 2 + (cell.y - box.y) ** 2))
    return Matches(len(labelled), len(found), len(labelled) - len(left))


def match_by_box(found: Sequence[Cell], labelled: Sequence[LabelledBox]) -> Matches:
    """A found cell is the labelled one whose box it covers best, if by an intersection over union of 0.5 or more."""
    left = list(labelled)
    for cell in found:
        best = max(left, key=lambda box: overlap(cell, box), default=None)
        if best is not None and overlap(cell, best) >= _SAME_BOX:
            left.remove(best)
    return Matches(len(labelled), len(found), len(labelled) - len(left))


def overlap(cell: Cell, box: LabelledBox) -> float:
    """Intersection over union."""
    width = min(cell.x + cell.width / 2, box.x + box.width / 2) - max(cell.x - cell.width / 2, box.x - box.width / 2)
    height = min(cell.y + cell.height / 2, box.y + box.height / 2) - max(
        cell.y - cell.height / 2, box.y - box.height / 2
    )
    common = max(width, 0.0) * max(height, 0.0)
    union = cell.width * cell.height + box.width * box.height - common
    return common / union if union > 0 else 0.0
