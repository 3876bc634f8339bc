"""Results that a person has verified, as a source of labelled images: what was verified is a label, a guess is none."""

import hashlib
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bloodcell_batch.cell_classes import OTHER_LABELS
from bloodcell_batch.errors import InputError
from bloodcell_batch.files.names import printable
from bloodcell_batch.files.storage import is_url, open_fetch
from bloodcell_batch.images.guards import DecodeLimits
from bloodcell_batch.progress import Observer, counted
from bloodcell_batch.records import ImageFile, Status
from bloodcell_batch.results.file_names import run_record_of
from bloodcell_batch.results.finished import load_results
from bloodcell_batch.results.run_record import RunRecord, read_record
from bloodcell_batch.stages.decode import make_reader
from bloodcell_batch.stages.scan import scan
from bloodcell_batch.training.data.cells_of_fields import CellPlace, as_file, reader_of_cells
from bloodcell_batch.training.data.class_names import IGNORE, ClassNames
from bloodcell_batch.training.data.labelled_files import NamedFile, Source, numbered
from bloodcell_batch.training.data.manifest import table_columns, table_rows

_VERIFIED = "verified_label"
_NAMED = 5
_NO_CELL = {Status.EXACT_DUPLICATE: "duplicates", Status.NEAR_DUPLICATE: "duplicates", Status.FAILED: "failed files"}


@dataclass(frozen=True, slots=True)
class _Row:
    """One row of the table: its line as a spreadsheet counts, and what it says."""

    line: int
    path: str
    slide: str
    status: str
    label: str
    sha256: str
    place: CellPlace | None = None
    is_counted: bool = True

    @property
    def cell(self) -> str:
        """Its path, and its number where it is one of a field."""
        return f"{self.path}#{self.place.number}" if self.place else self.path


def is_results(path: Path) -> bool:
    """Whether a table is one of results, verified or not, rather than a manifest.

    Raises:
        InputError: it can't be read.
    """
    columns = set(table_columns(path))
    guessed = bool({"confidence", "outlier_score"} & columns) or any(name.startswith("p_") for name in columns)
    return _VERIFIED in columns or ("label" in columns and guessed) or _is_whole(path, columns)


def _is_whole(path: Path, columns: Container[str]) -> bool:
    """Whether it is a table as a run wrote it, with its record beside it; a workbook's first sheet is of slides."""
    slides = path.suffix.lower() == ".xlsx" and "label" not in columns
    ours = slides or all(name in columns for name in ("status", "sha256"))
    return ours and run_record_of(path).exists()


def open_reviewed(path: Path, names: ClassNames, observer: Observer, images: Path | None) -> Source:
    """The cells of a result table (or a filled-in review file) that a person has named.

    Args:
        path: the table; with its run record beside it, it must be as it was written.
        names: what labels mean; without classes, those of the run count with their roles.
        observer: told how many rows are no labels, and why.
        images: the folder with the images; the one in the run record if not given.

    Raises:
        InputError: nothing is verified, or the images are not those of the table.
    """
    columns = table_columns(path)
    record = read_record(path) if _is_whole(path, columns) else None
    if record is None and _VERIFIED not in columns:
        raise no_truth(path)
    if record is not None:
        names = replace(names, declared=record.model.class_list)
    rows = list(_rows(path) if record is None else _rows_of_run(path))
    if not any(row.label for row in rows):
        raise no_truth(path)
    lines: dict[str, int] = {}
    for row in rows:
        first = lines.setdefault(row.cell, row.line)
        if first != row.line:
            raise InputError(f"{path}: lines {first} and {row.line} both name {row.cell!r}.", hint="Remove one.")
    kept = _labelled(path, rows, names, observer)
    folder = _folder(path, record, images)
    root, files = _files(path, folder, [row for row, _ in kept])
    places: dict[str, tuple[ImageFile, CellPlace]] = {}
    entries = []
    for file, (row, name) in zip(files, kept, strict=True):
        cell = as_file(file, row.place) if row.place else file
        if row.place:
            places[cell.path] = file, row.place
        entries.append(NamedFile(cell, name, slide=row.slide))
    return numbered(entries, reader_of_cells(make_reader(root, DecodeLimits()), places), names)


def no_truth(path: Path) -> InputError:
    """What to say of a table of guesses where the truth is wanted."""
    hint = (
        f"Have them verified: `review export {path} --out review.html`, name the cells, then `review import {path} "
        "REVIEW.csv --out verified.parquet`, and give that. A table that a person labelled needs the "
        "columns path and label alone, without the guesses."
    )
    return InputError(f"{path} has no verified labels: those of a program are guesses, not the truth.", hint=hint)


def _rows(path: Path) -> Iterator[_Row]:
    for row in table_rows(path, ("path", _VERIFIED)):
        text = {name: row.values.get(name, "").strip() for name in ("slide_id", "status", _VERIFIED, "sha256")}
        place = _place(path, row.line, row.values)
        yield _Row(row.line, row["path"], text["slide_id"], text["status"], text[_VERIFIED], text["sha256"], place)


def _rows_of_run(path: Path) -> Iterator[_Row]:
    for line, row in enumerate(load_results(path).rows, start=2):
        place = CellPlace(row.cell, row.box, row.red_cell_pixels) if row.cell and row.box else None
        said = (row.slide_id, row.status.value, row.verified_label, row.sha256)
        yield _Row(line, row.file, *said, place, row.is_counted or not row.is_cell)


def _place(path: Path, line: int, values: Mapping[str, str]) -> CellPlace | None:
    """Where the cell of a row lies in its field; None for a picture of one cell."""
    number = values.get("cell", "").strip()
    if not number or number == "0":
        return None
    try:
        left, upper, width, height = (int(values[name]) for name in ("x", "y", "width", "height"))
        scale = values["red_cell_pixels"].strip()
        return CellPlace(int(number), (left, upper, width, height), float(scale) if scale else None)
    except (KeyError, ValueError) as error:
        hint = "Give the results as `review import` wrote them, with their run record beside them."
        told = "the columns x, y, width, height and red_cell_pixels say where the cell lies in its field"
        raise InputError(f"{path}, line {line}: {told}, and don't here.", hint=hint) from error


def _labelled(path: Path, rows: Sequence[_Row], names: ClassNames, observer: Observer) -> list[tuple[_Row, str]]:
    """The verified rows with their classes; the others are counted and told."""
    kept: list[tuple[_Row, str]] = []
    left_out: Counter[str] = Counter()
    unknown: Counter[str] = Counter()
    for row in rows:
        name = None if row.label in OTHER_LABELS and row.label not in names.class_map else names.name_of(row.label)
        if row.status in _NO_CELL:
            left_out[_NO_CELL[Status(row.status)]] += 1
        elif not row.is_counted:
            left_out["in no count of their slide"] += 1
        elif not row.label:
            left_out["without a verified label"] += 1
        elif row.label in OTHER_LABELS and name is None:
            left_out[row.label] += 1
        elif name == IGNORE:
            left_out["ignored"] += 1
        elif name is None:
            unknown[row.label] += 1
        else:
            kept.append((row, name))
    names.refuse_unknown(path, unknown)
    told = ", ".join(f"{count:,} {what}" for what, count in sorted(left_out.items()))
    observer.note(
        f"{counted(len(kept), 'verified cell is a label', 'verified cells are labels')}; left out: {told or 'none'}",
        left_out=dict(left_out),
    )
    if not kept:
        hint = "Name cells of its classes in a review, and import it."
        raise InputError(f"{path} has no verified cell of a class.", hint=hint)
    return kept


def _folder(path: Path, record: RunRecord | None, images: Path | None) -> str:
    if images is not None:
        return str(images)
    if record is not None and record.pseudonymised:
        hint = "Give the results that they were made from."
        raise InputError(f"{path} has pseudonyms: its rows don't name the image files.", hint=hint)
    given = record.input if record else ""
    if given and (is_url(given) or Path(given).is_dir()):
        return given
    missing = f"the folder {given} of its run record is not there" if given else "no run record says where they are"
    hint = "Name the folder that was classified with --images."
    raise InputError(f"The images of {path} can't be found: {missing}.", hint=hint)


def _files(path: Path, folder: str, rows: Sequence[_Row]) -> tuple[str, list[ImageFile]]:
    """The root of the images, and the file of each row. Only what a scan finds is opened: a path leads nowhere else.

    Raises:
        InputError: a file is missing, or is another one than was classified.
    """
    found = scan(folder, include_hidden=True)
    there = {printable(file.path): file for file in found.files}
    missing = [row for row in rows if row.path not in there]
    if missing:
        hint = "Give the folder that was classified with --images; the paths are relative to it."
        raise InputError(f"{_named(missing)} of {path} {_are(missing)} not in {folder}.", hint=hint)
    fetch = open_fetch(found.root)
    changed = []
    for row in rows:
        file = there[row.path]
        try:
            same = not row.sha256 or hashlib.sha256(fetch(file.path, file.size_bytes + 1)).hexdigest() == row.sha256
        except OSError as error:
            hint = "Check that the file can be read."
            raise InputError(f"Can't read {file.path} in {folder}: {error.strerror or error}.", hint=hint) from error
        if not same:
            changed.append(row)
    if changed:
        hint = "Labels hold for the pictures that a person saw: give the folder with these files as they were."
        told = f"{_named(changed)} of {path} {_are(changed)} not the pictures that were classified"
        raise InputError(f"{told}: the files in {folder} have another SHA-256.", hint=hint)
    return found.root, [there[row.path] for row in rows]


def _named(rows: Sequence[_Row]) -> str:
    some = ", ".join(f"row {row.line} ({row.path})" for row in rows[:_NAMED])
    return some + (f" and {len(rows) - _NAMED:,} others" if len(rows) > _NAMED else "")


def _are(rows: Sequence[_Row]) -> str:
    return "is" if len(rows) == 1 else "are"
