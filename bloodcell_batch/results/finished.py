"""The results of a `classify` run, read back for everything that is done with them afterwards."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pyarrow as pa
from pydantic import JsonValue

from bloodcell_batch.cell_classes import OTHER_LABELS, ClassList
from bloodcell_batch.differential.slide import SlideCounts, duplicate_alerts, faults_in, slide_differential
from bloodcell_batch.errors import InputError
from bloodcell_batch.integrity.results_id import results_id
from bloodcell_batch.progress import SlideDifferential
from bloodcell_batch.records import NOT_COUNTED, Status
from bloodcell_batch.results.formats import check_is_table, read_table
from bloodcell_batch.results.pseudonyms import Pseudonyms
from bloodcell_batch.results.record_entries import ReviewEntry
from bloodcell_batch.results.run_record import RunRecord, read_record
from bloodcell_batch.results.tables import SCHEMA_VERSION, VERIFIED_FIELDS, image_schema, slide_batch
from bloodcell_batch.slides.matches import CrossSlideMatch

_LEAST = pa.schema([(name, pa.string()) for name in ("path", "slide_id", "status")])
_SAME = "as cell "  # before the number of an earlier cell and the path of its field
_UNCHANGED = "The table was changed, or the two files are of different runs. Use them as they were written."


@dataclass(frozen=True, slots=True)
class ResultRow:
    """A row of a run: an image file, or a cell of a field, which has a number and a `box` of left and upper border,
    width and height in pixels of the image.

    `file` is its path under the scanned folder; `path` is the name to show, which is a pseudonym where one was asked
    for; `top_class` is the most probable class, also of a cell that stayed unclassified, and empty without
    probabilities; `beside` are the red cells and platelets of its field, `field_size` its width and height.
    """

    file: str
    path: str
    slide_id: str
    status: Status
    reason: str
    label: str
    confidence: float | None
    group: str
    group_confidence: float | None
    review: bool
    review_reason: str
    probabilities: tuple[float, ...]
    top_class: str
    duplicate_of: str
    duplicate_of_cell: int | None
    duplicate_distance: int | None
    sha256: str
    digest: str
    verified_label: str
    verified_by: str
    remark: str
    beside: tuple[int, int]
    cell: int | None
    box: tuple[int, int, int, int] | None
    field_size: tuple[int, int] | None
    red_cell_pixels: float | None

    @property
    def is_cell(self) -> bool:
        """True for what was classified or left unclassified: no duplicate, no failed file, no field without a cell."""
        return self.status in {Status.CLASSIFIED, Status.UNCLASSIFIED} and self.cell != 0

    @property
    def is_counted(self) -> bool:
        """True for cells that are in the counts of their slide: neither cut off nor shown by an earlier field, too."""
        return self.is_cell and self.reason not in NOT_COUNTED

    @property
    def picture(self) -> str:
        """Names what there is to see of it under the scanned folder."""
        return f"{self.file}#{self.cell}" if self.box else self.file

    @property
    def key(self) -> str:
        """Names the cell among all of the run: the path to show and, in a field, the number of the cell."""
        return self.path if self.cell is None else f"{self.path}#{self.cell}"

    @property
    def why_review(self) -> str:
        """The reasons for a review for people, with the group that is sure where no class is, and the earlier cell that
        it may be."""
        sure = f"surely {self.group} ({self.group_confidence:.3f})" if self.group_confidence is not None else ""
        same = f"{_SAME}{self.duplicate_of_cell} of {self.duplicate_of}" if self.duplicate_of_cell is not None else ""
        return "; ".join(text for text in (self.review_reason, sure, same) if text)

    @property
    def final_label(self) -> str:
        """The class that is counted: a person's where there is one, else the program's; empty for none."""
        label = (self.verified_label or self.label) if self.is_counted else ""
        return "" if label in OTHER_LABELS else label

    @property
    def final_status(self) -> Status:
        """The status after a review: a verified cell is classified, also one that is of no class or no cell."""
        if not self.is_cell:
            return self.status
        return Status.CLASSIFIED if self.verified_label or self.label else Status.UNCLASSIFIED


def in_words(why_review: str) -> str:
    """Reasons for a review without the underscores of their names; a path among them stays what it is."""
    reasons, same, place = why_review.partition(_SAME)
    return f"{reasons.replace('_', ' ')}{same}{place}"


@dataclass(frozen=True)
class Results:
    """One run's image table, its run record, and the identity of both.

    `results_id` depends on the rows and the model, not on the format or the name of the file, nor on a review.
    """

    path: Path
    images: pa.Table
    record: RunRecord
    results_id: str
    rows: tuple[ResultRow, ...]

    @cached_property
    def classes(self) -> ClassList:
        """The classes that the run reported."""
        return self.record.model.class_list

    @cached_property
    def slides(self) -> tuple[SlideDifferential, ...]:
        """The differentials, counted again from the rows; verified labels take the place of the program's."""
        alerts = duplicate_alerts(self._matches())
        slides: dict[str, SlideCounts] = {}
        for row in self.rows:
            label = (row.verified_label or row.label) if row.is_cell else ""
            counts = slides.setdefault(row.slide_id, SlideCounts())
            faults = faults_in(row.review_reason)
            counts.add(row.final_status, label, row.group, row.reason, row.cell, row.beside, faults)
        return tuple(
            slide_differential(slide, counts, self.classes, alerts.get(slide, ()), self.record.max_unclassified)
            for slide, counts in sorted(slides.items())
        )

    @property
    def slide_table(self) -> pa.Table:
        """`slides` as a table with the columns of the slide table."""
        return pa.Table.from_batches([slide_batch(self.slides, self.classes)])

    @cached_property
    def by_slide(self) -> dict[str, list[ResultRow]]:
        """Rows of every slide, both in table order."""
        found: dict[str, list[ResultRow]] = {}
        for row in self.rows:
            found.setdefault(row.slide_id, []).append(row)
        return found

    @property
    def reviews(self) -> list[ReviewEntry]:
        """The reviews that were imported so far, oldest first."""
        return self.record.reviews

    def pseudonymised(self, names: Pseudonyms | None) -> "Results":
        """The same results with pseudonyms for slides, paths, hashes and reviewers, and no remarks; unchanged without
        a key."""
        if names is None:
            return self
        rows = tuple(
            replace(
                row,
                path=names.path(row.slide_id, row.file),
                slide_id=names.slide(row.slide_id),
                duplicate_of=names.path(row.slide_id, row.duplicate_of) if row.duplicate_of else "",
                digest=names.digest(row.sha256) if row.sha256 else "",
                verified_by=names.person(row.verified_by) if row.verified_by else "",
                remark="",  # it may name anybody
            )
            for row in self.rows
        )
        reviews: list[JsonValue] = [
            review.model_dump(exclude_unset=True) | {"verified_by": [names.person(who) for who in review.verified_by]}
            for review in self.reviews
        ]
        return replace(self, rows=rows, record=self.record.updated(reviews=reviews))

    def _matches(self) -> list[CrossSlideMatch]:
        by_file = {row.file: row for row in self.rows}
        pairs = [
            (by_file.get(match.paths[0]), by_file.get(match.paths[1]), match.distance)
            for match in self.record.cross_slide_duplicates
        ]
        return [CrossSlideMatch(a.path, a.slide_id, b.path, b.slide_id, d) for a, b, d in pairs if a and b]


def load_results(path: Path) -> Results:
    """Read a result table and the run record beside it.

    Raises:
        InputError: one of them is missing or unreadable, or they are not of the same run.
    """
    check_is_table(path)
    try:
        record = read_record(path)
    except InputError:
        read_table(path, _LEAST)  # what is no table of ours is not missing its record
        raise
    check_schema(path, record)
    images = read_table(path, image_schema(record.model.class_list), VERIFIED_FIELDS)
    try:
        rows = tuple(_rows(images, record.model.class_list))
    except ValueError as error:
        raise InputError(f"{path} is not a result table: {error}.", hint="Give it as `classify` wrote it.") from error
    _check_counts(path, rows, record)
    identity = results_id(images, record.model.sha256)
    if record.results_id not in {"", identity}:
        raise InputError(f"{path} does not have the rows that its run record was written for.", hint=_UNCHANGED)
    return Results(path, images, record, identity, rows)


def check_schema(path: Path, record: RunRecord) -> None:
    """Refuse a table with the columns of another version of the program; InputError says which."""
    if record.schema_version != SCHEMA_VERSION:
        told = f"{path} has the columns of schema version {record.schema_version}, this program reads {SCHEMA_VERSION}"
        hint = f"Use version {record.bloodcell_batch} of the program, which wrote it, or classify the images again."
        raise InputError(f"{told}.", hint=hint)


def _rows(images: pa.Table, classes: ClassList) -> Iterator[ResultRow]:
    for values in images.to_pylist():
        shares = tuple(values[f"p_{name}"] for name in classes.names)
        text = {name: values.get(name) or "" for name in _TEXTS}
        yield ResultRow(
            file=text["path"],
            status=Status(values["status"]),
            confidence=values["confidence"],
            group_confidence=values["group_confidence"],
            review=bool(values["review"]),
            probabilities=() if None in shares else shares,
            top_class="" if None in shares else classes.names[shares.index(max(shares))],
            duplicate_of_cell=values["duplicate_of_cell"],
            duplicate_distance=values["duplicate_distance"],
            beside=(values["red_cells"] or 0, values["platelets"] or 0),
            digest=text["sha256"],
            red_cell_pixels=values["red_cell_pixels"],
            cell=values["cell"],
            field_size=None if values["cell"] is None else (values["field_width"], values["field_height"]),
            box=(values["x"], values["y"], values["width"], values["height"]) if values["cell"] else None,
            **text,
        )


_TEXTS = (
    *("path", "slide_id", "reason", "label", "group", "review_reason", "duplicate_of", "sha256"),
    *("verified_label", "verified_by", "remark"),
)


def _check_counts(path: Path, rows: tuple[ResultRow, ...], record: RunRecord) -> None:
    wrong = record.count_mismatch(Counter(row.status for row in rows))
    if wrong:
        raise InputError(f"{path} {wrong}.", hint=_UNCHANGED)
