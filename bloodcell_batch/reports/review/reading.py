"""A filled-in review file, read back and checked row by row against the results that it was exported from."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bloodcell_batch.errors import InputError
from bloodcell_batch.reports.review.columns import COLUMNS, SHEET, Record, has_readers, is_blind
from bloodcell_batch.reports.review.selection import Selection
from bloodcell_batch.results.finished import ResultRow, Results
from bloodcell_batch.results.table_reading import read_records

_NEEDED = ("results_id", "cells", "path", "slide_id", "sha256", "verified_label", "verified_by")


@dataclass(frozen=True, slots=True)
class Verification:
    """What a person said of one cell; the label is empty where there is none yet, with or without a remark."""

    label: str
    by: str
    remark: str


@dataclass(frozen=True, slots=True)
class FilledReview:
    """A review file: what it says of each cell, by path, which cells were exported, whether the reader was not
    shown what the program said, and where it settles what two others said, their names and their labels."""

    file: Path
    said: Mapping[str, Verification]
    selection: Selection
    blind: bool
    readers: tuple[str, str] | None = None
    readings: tuple[tuple[str, str], ...] = ()

    @property
    def labelled(self) -> dict[str, Verification]:
        """The cells that have a label."""
        return {path: found for path, found in self.said.items() if found.label}


def read_review(file: Path, results: Results, by: str = "") -> FilledReview:
    """Read a review of `results`; `by` verified the rows that don't say who did.

    Raises:
        InputError: the file is of other results, or a row can't be right; the text names the first one.
    """
    records = read_records(file, SHEET if file.suffix.lower() == ".xlsx" else "")
    if not records:
        raise InputError(f"{file} has no rows.", hint="Fill in the file that `review export` wrote.")
    missing = [name for name in _NEEDED if name not in records[0]]
    if missing:
        hint = f"Keep the columns that `review export` wrote: {', '.join(COLUMNS)}."
        raise InputError(f"{file} has no column {missing[0]!r}.", hint=hint)
    known = _Known(results)
    said: dict[str, Verification] = {}
    for line, record in enumerate(records, start=2):
        where = f"{file}, row {line}"
        known.check(record, where)
        verification = _verification(record, results.classes.verified_labels, by, where)
        if record["path"] in said:
            raise InputError(f"{where}: {record['path']} is there twice.", hint="Delete one of the two rows.")
        said[record["path"]] = verification
    selection = _selection(records[0]["cells"], file)
    if not has_readers(records):
        return FilledReview(file, said, selection, is_blind(records))
    names = (records[0]["reader_1"], records[0]["reader_2"])
    readings = tuple((record["label_1"], record["label_2"]) for record in records)
    return FilledReview(file, said, selection, is_blind(records), names, readings)


class _Known:
    """The cells of some results, by the names under which a review may have them."""

    def __init__(self, results: Results) -> None:
        self._results = results
        self._by_path = {row.key: row for row in results.rows}
        self._by_digest = {row.digest: row for row in results.rows if row.digest}

    def check(self, record: Record, where: str) -> None:
        """Raises InputError unless the row is of a cell of these results."""
        results, given = self._results, record["results_id"] or "nothing"
        if record["results_id"] != results.results_id:
            hint = "Import it into the results that it was exported from. If it was exported again, use the new file."
            raise InputError(
                f"{where}: this review is of the run {given}, {results.path} is {results.results_id}.", hint=hint
            )
        mangled = "A spreadsheet changed it. Use the original file, or import the column as text."
        row = self._row(record, where, mangled)
        for name, expected in (("slide_id", row.slide_id), ("sha256", row.digest)):
            if record[name] != expected:
                raise InputError(f"{where}: {name} is {record[name]!r}, the results say {expected!r}.", hint=mangled)

    def _row(self, record: Record, where: str, mangled: str) -> ResultRow:
        row = self._by_path.get(record["path"])
        if row is not None and row.is_cell:
            return row
        known = self._by_digest.get(record["sha256"])
        if known is not None:
            raise InputError(f"{where}: the path {record['path']!r} should be {known.key!r}.", hint=mangled)
        hint = "Use the review that was exported from these results (with the same key, if it has pseudonyms)."
        raise InputError(f"{where}: there is no cell {record['path']!r} in {self._results.path}.", hint=hint)


def _verification(record: Record, known: tuple[str, ...], otherwise: str, where: str) -> Verification:
    label, by = record["verified_label"].strip(), record["verified_by"].strip()
    if label and label not in known:
        raise InputError(f"{where}: {label!r} is not a label.", hint=f"Use one of: {', '.join(known)}.")
    if by and not label:
        raise InputError(f"{where}: verified_by is {by!r}, but there is no verified_label.", hint="Fill in both.")
    if label and not by:
        by = otherwise
        if not by:
            hint = "Fill in verified_by, or name the person for all such rows with --by."
            raise InputError(f"{where}: the label {label!r} has no verified_by.", hint=hint)
    return Verification(label, by, record.get("remark", "").strip())


def _selection(text: str, file: Path) -> Selection:
    try:
        return Selection.parsed(text)
    except ValueError as error:
        raise InputError(
            f"{file}: {text!r} in the column cells was not written by `review export`.", hint="Restore it."
        ) from error
