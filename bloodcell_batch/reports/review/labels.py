"""What a person may call a cell, in the order of the buttons, and the key for each."""

from dataclasses import dataclass

from bloodcell_batch.cell_classes import NOT_A_CELL, OTHER, ClassList, Role

_FIXED_KEYS = {OTHER: "9", NOT_A_CELL: "0"}
_KEYS = "12345678qwertyiopasdfghjklxcvb"  # the page has other uses for the rest
_LEUKOCYTES, _OTHER_CELLS, _OF_NO_CLASS = "Leukocytes", "Other cells", "Of no class"


@dataclass(frozen=True, slots=True)
class ReviewLabel:
    """One answer: its name in the files, its key ("" where there are more classes than keys), and its heading."""

    name: str
    key: str
    group: str


def review_labels(classes: ClassList) -> tuple[ReviewLabel, ...]:
    """All answers: the `classes` as laboratories read them, then a cell of none of them, and no cell."""
    groups = {cell.name: _LEUKOCYTES if cell.role is Role.LEUKOCYTE else _OTHER_CELLS for cell in classes.classes}
    free = iter(_KEYS)
    return tuple(
        ReviewLabel(name, _FIXED_KEYS.get(name) or next(free, ""), groups.get(name, _OF_NO_CLASS))
        for name in classes.verified_labels
    )
