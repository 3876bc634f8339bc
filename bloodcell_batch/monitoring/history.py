"""The runs that are watched, as their figures: one table is read at a time, and no row is kept."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from bloodcell_batch.cell_classes import ClassList
from bloodcell_batch.errors import InputError
from bloodcell_batch.integrity.results_id import results_id
from bloodcell_batch.monitoring.measures import MEDIANS, Cells, Reading, readings_of
from bloodcell_batch.progress import Observer
from bloodcell_batch.records import NOT_COUNTED, Status
from bloodcell_batch.results.file_names import slide_table_of
from bloodcell_batch.results.finished import check_schema
from bloodcell_batch.results.formats import read_table
from bloodcell_batch.results.run_record import RunRecord, read_record
from bloodcell_batch.results.tables import image_schema

_NEEDED = ("path", "slide_id", "status", "reason", "label", "confidence", "review", "sha256", "cell")
_CELLS = {Status.CLASSIFIED.value, Status.UNCLASSIFIED.value}
_CHANGED = "Use the table and its run record as they were written."


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured on a run, or on one slide of it: the number of cells, and the readings by measure."""

    cells: int
    readings: dict[str, Reading]


@dataclass(frozen=True, slots=True)
class WatchedRun:
    """One run.

    Attributes:
        path: its image table, as given.
        name: what it is called here, which no other run is.
        results_id: identity of its rows.
        started: when it began.
        record: its run record.
        whole: figures of all its slides together.
        slides: figures of each slide, by name.
    """

    path: Path
    name: str
    results_id: str
    started: datetime
    record: RunRecord
    whole: Figures
    slides: dict[str, Figures]

    @property
    def classes(self) -> ClassList:
        """The classes that it reports."""
        return self.record.model.class_list

    @property
    def day(self) -> str:
        """When it began, to the minute."""
        return self.started.strftime("%Y-%m-%d %H:%M")


def read_history(tables: Sequence[Path], observer: Observer) -> list[WatchedRun]:
    """Read runs, oldest first. A slide table whose image table is given, too, is passed over: `*.parquet` names both.

    Raises:
        InputError: a table or its record is missing, unreadable, changed, a shard, or of a run that is there twice.
    """
    beside = {slide_table_of(table) for table in tables}
    tables = [table for table in tables if table not in beside]
    names = run_names(tables)
    observer.started("read runs", len(tables))
    try:
        runs = []
        for table in tables:
            runs.append(_read(table, names[table]))
            observer.advanced(len(runs))
    finally:
        observer.finished()
    runs.sort(key=lambda run: (run.started, run.name))
    first: dict[str, WatchedRun] = {}
    for run in runs:
        other = first.setdefault(run.results_id, run)
        if other is not run:
            hint = "Give each run once: a reviewed copy or another format of it has the same rows."
            raise InputError(f"{other.path} and {run.path} are the same run: their rows are equal.", hint=hint)
    return runs


def run_names(tables: Iterable[Path]) -> dict[Path, str]:
    """A name for each table: without folder and suffix where that tells it from the others, else with the folder."""
    stems = Counter(table.stem for table in tables)
    tails = Counter(f"{table.parent.name}/{table.stem}" for table in tables)

    def name(table: Path) -> str:
        tail = f"{table.parent.name}/{table.stem}"
        return table.stem if stems[table.stem] == 1 else tail if tails[tail] == 1 else str(table)

    return {table: name(table) for table in tables}


def _read(table: Path, name: str) -> WatchedRun:
    record = read_record(table)
    check_schema(table, record)
    if record.shard is not None:
        shard = f"shard {record.shard.index} of {record.shard.count}"
        raise InputError(f"{table} is {shard} of a run.", hint="Join the shards with `bloodcell-batch merge` first.")
    rows = read_table(table, _schema(record))
    identity = _checked_identity(table, rows, record)
    whole, slides = _figures(rows, record)
    return WatchedRun(table, name, identity, _time(table, record.started), record, whole, slides)


def _schema(record: RunRecord) -> pa.Schema:
    full = image_schema(record.model.class_list)
    return pa.schema([full.field(name) for name in dict.fromkeys((*_NEEDED, *MEDIANS))])


def _checked_identity(table: Path, rows: pa.Table, record: RunRecord) -> str:
    """The identity of the rows, which are those that the record was written for.

    Raises:
        InputError: they are not.
    """
    wrong = record.count_mismatch({Status(name): count for name, count in _counts(rows.column("status")).items()})
    if wrong:
        raise InputError(f"{table} {wrong}.", hint=_CHANGED)
    if record.results_id and not record.change_since_written(table):
        return record.results_id
    identity = results_id(rows, record.model.sha256)
    if record.results_id not in {"", identity}:
        raise InputError(f"{table} does not have the rows that its run record was written for.", hint=_CHANGED)
    return identity


def _time(table: Path, text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"The run record of {table} has no time at started: {text!r}.", hint=_CHANGED) from error
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)


def _figures(rows: pa.Table, record: RunRecord) -> tuple[Figures, dict[str, Figures]]:
    classes, throughput = record.model.class_list, record.throughput
    speed = throughput.images_per_second if throughput else None
    slide_names = rows.column("slide_id").combine_chunks().dictionary_encode()
    places = slide_names.indices.to_numpy(zero_copy_only=False)
    order = np.argsort(places, kind="stable")
    bounds = np.searchsorted(places[order], np.arange(len(slide_names.dictionary) + 1))
    slides = {
        name or "": _measured(rows.take(pa.array(order[start:end])), classes)
        for name, start, end in zip(slide_names.dictionary.to_pylist(), bounds[:-1], bounds[1:], strict=True)
    }
    return _measured(rows, classes, speed), dict(sorted(slides.items()))


def _measured(rows: pa.Table, classes: ClassList, speed: float | None = None) -> Figures:
    status, reason = (np.array(rows.column(name).to_pylist(), dtype=object) for name in ("status", "reason"))
    number = np.array(rows.column("cell").fill_null(-1).to_numpy())  # of the cell in its field; -1 where there is none
    counted = np.array([text not in NOT_COUNTED for text in reason], dtype=bool)
    whole = np.isin(status, [*_CELLS]) & (number != 0) & counted
    cells = rows.filter(pa.array(whole, pa.bool_()))
    found = Cells(
        files=int((number <= 1).sum()),
        failed=int((status == Status.FAILED.value).sum()),
        fields=int(np.isin(number, [0, 1]).sum()),
        empty_fields=int((number == 0).sum()),
        review=sum(map(bool, cells.column("review").to_pylist())),
        labels=_counts(cells.column("label")),
        columns={name: cells.column(name).to_numpy().astype(np.float64) for name in MEDIANS},
        images_per_second=speed,
    )
    return Figures(found.count, readings_of(found, classes))


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    counted: list[dict[str, Any]] = column.value_counts().to_pylist()
    return {entry["values"]: entry["counts"] for entry in counted if entry["values"] is not None}
