"""The contact sheet of a slide's fields: each field small, with a box and a word on every cell that was found."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bloodcell_batch.cell_classes import short_name
from bloodcell_batch.records import NOT_COUNTED
from bloodcell_batch.results.finished import ResultRow

FIELD_SIDE = 420
"""Longest side of a field's picture, in pixels."""

_MOST = 12  # fields of a slide that are shown


@dataclass(frozen=True, slots=True)
class CellMark:
    """A box in pixels of the field, what stands on it, and how it is drawn: `counted`, `open` or `cut`."""

    x: int
    y: int
    width: int
    height: int
    text: str
    kind: str


@dataclass(frozen=True, slots=True)
class FieldPicture:
    """A field, for `thumbnails.make_thumbnails`, of `width` x `height` pixels, and what was found in it."""

    file: str
    path: str
    sha256: str
    width: int
    height: int
    marks: tuple[CellMark, ...]

    @property
    def picture(self) -> str:
        """As `ResultRow.picture`, of the whole image."""
        return self.file

    @property
    def box(self) -> None:
        """The whole image is shown."""


def field_pictures(rows: Iterable[ResultRow]) -> tuple[FieldPicture, ...]:
    """Of the fields of a slide, those with the most cells, at most 12, in the order of the rows."""
    fields: dict[str, list[ResultRow]] = {}
    for row in rows:
        if row.field_size is not None and row.box is not None:
            fields.setdefault(row.path, []).append(row)
    most = sorted(fields, key=lambda path: -len(fields[path]))[:_MOST]
    return tuple(_picture(cells) for path, cells in fields.items() if path in set(most))


def _picture(cells: Sequence[ResultRow]) -> FieldPicture:
    first = cells[0]
    width, height = first.field_size or (1, 1)
    marks = tuple(_mark(row) for row in cells)
    return FieldPicture(first.file, first.path, first.sha256, width, height, marks)


def _mark(row: ResultRow) -> CellMark:
    box = row.box or (0, 0, 1, 1)
    if row.final_label:
        return CellMark(*box, f"{row.cell} {short_name(row.final_label)}", "counted")
    if row.reason in NOT_COUNTED:
        return CellMark(*box, f"{row.cell} {row.reason.replace('_', ' ')}", "cut")
    return CellMark(*box, f"{row.cell} {row.reason.replace('_', ' ')}", "open")
