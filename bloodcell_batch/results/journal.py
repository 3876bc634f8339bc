"""The journal of a run: finished rows in Parquet parts beside the output, so that an interrupted run can go on."""

import json
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from bloodcell_batch.cell_classes import ClassList
from bloodcell_batch.errors import OutputError
from bloodcell_batch.files.publishing import written_whole
from bloodcell_batch.files.writing import locked, writing
from bloodcell_batch.records import ImageFile, Outcome, Prediction, Rejection
from bloodcell_batch.results.stored_rows import DETAIL, outcomes_of
from bloodcell_batch.results.tables import image_columns, image_schema, to_batch

ROWS_PER_PART = 8192
"""Most rows of a journal part, and rows of a row group of the published table."""
WRITING_HINT = "Nothing was published. Free some space or choose another --out, then run the same command again."
"""What to do when a run can't write."""

_PART_INTERVAL_S = 2.0
_KEY = "key.json"
_PUBLISHING = "publishing"
_FILE_KEY = "file_key"
_EMBEDDING = "embedding"
_OF_A_CELL = ("path", "cell", "slide_id", _EMBEDDING)
_MORE_FIELDS = (pa.field(DETAIL, pa.string()), pa.field(_FILE_KEY, pa.binary(8)))


@contextmanager
def open_journal(folder: Path | None, output: str, classes: ClassList, embedding_width: int = 0) -> Iterator["Journal"]:
    """The journal in `folder`, or in a temporary folder if None, of a run that reports `classes`; locked until the
    block ends. With an `embedding_width`, it keeps as many numbers of each cell.

    The folder is removed when the run was published or has no rows yet. Otherwise it stays, for the same command to
    go on with.

    Raises:
        LockedError: another run is writing the same output, which `output` names.
        OutputError: the folder can't be made.
    """
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="bloodcell-batch-") as temporary:
            yield Journal(Path(temporary), classes, embedding_width)
        return
    with writing(folder, WRITING_HINT):
        folder.mkdir(exist_ok=True)
    with locked(folder / "lock", f"Another run is writing {output}"):
        journal = Journal(folder, classes, embedding_width)
        try:
            yield journal
        except BaseException:
            # What is finished is kept whatever happened, unless the disk is what failed: the earlier parts are there.
            with suppress(OutputError):
                journal.flush()
            raise
        finally:
            if not journal.worth_keeping:
                # Still locked: a run that starts now must not lose the folder that it has just been given.
                shutil.rmtree(folder, ignore_errors=True)


def begun_publishing(folder: Path | None) -> bool:
    """True when an interrupted run had begun to rename its tables: those that are there may be its own."""
    return folder is not None and (folder / _PUBLISHING).exists()


class Journal:
    """Collects rows in parts, so that memory stays flat, and gives those of an interrupted run back."""

    def __init__(self, folder: Path, classes: ClassList, embedding_width: int = 0) -> None:
        self.folder = folder
        self.classes = classes
        self.schema = image_schema(classes)
        self.embedding_width = embedding_width
        # float16, as bytes: they go through as they come.
        embedding = [pa.field(_EMBEDDING, pa.binary(2 * embedding_width))] if embedding_width else []
        self._known_fields = [*self.schema.names, *(field.name for field in _MORE_FIELDS)]
        self._stored_schema = pa.schema([*self.schema, *_MORE_FIELDS, *embedding])
        self.resumed = 0
        self._flushed = 0
        self._rows: list[Outcome] = []
        self._files = 0
        self._marks: Mapping[str, str] = {}
        self._written = time.monotonic()
        self._left_behind = sorted(folder.glob("part-*.parquet"))  # by an interrupted run; unused unless resumed
        self._parts: list[Path] = []
        self._published = False

    @property
    def worth_keeping(self) -> bool:
        """True when there are rows that are not published yet."""
        return bool(self._parts or self._left_behind) and not self._published

    def resume(
        self, key: Mapping[str, str], files: Sequence[ImageFile], marks: Mapping[str, str] = MappingProxyType({})
    ) -> str:
        """Keep the rows of an interrupted run that hold for this one, and drop the others.

        Rows hold when the run had the same `key`, and as long as their files are those of this run, in its order and
        unchanged.

        Args:
            key: everything that the numbers depend on, by the name it has for people.
            files: the files of this run.
            marks: what the rows of a slide depend on besides, by slide.

        Returns:
            Why rows were dropped; empty if none were.
        """
        self._marks = marks
        stale, self._left_behind = self._left_behind, []
        why = self._why_other_run(key) if stale else ""
        for part in [] if why else stale:
            found, why = self._check_part(part, files)
            if why:
                break
            self._parts.append(part)
            self.resumed = self._flushed = self.resumed + found
        kept = {*self._parts, *map(_digest_file, self._parts)}
        for file in set(self.folder.glob("part-*")) - kept:
            file.unlink(missing_ok=True)
        with writing(self.folder, WRITING_HINT), written_whole(self.folder / _KEY) as partial:
            partial.write_text(json.dumps(dict(key)), encoding="utf-8")
        return why

    def outcomes(self, files: Sequence[ImageFile]) -> Iterator[list[Outcome]]:
        """The rows that `resume` kept, those of each of the `resumed` first of `files`."""
        now = iter(files)
        for part in self._parts[:]:
            with part.open("rb") as handle:
                for _, rows in groupby(self._keyed(handle), itemgetter(0)):
                    file = next(now)
                    yield [replace(outcome, file=file) for _, outcome in rows]

    def _keyed(self, handle: BinaryIO) -> Iterator[tuple[bytes, Outcome]]:
        for batch in pq.ParquetFile(handle).iter_batches(batch_size=ROWS_PER_PART, columns=self._known_fields):
            yield from zip(batch.column(_FILE_KEY).to_pylist(), outcomes_of(batch, self.classes), strict=True)

    def append(self, outcomes: Sequence[Outcome]) -> None:
        """Add all rows of one file; they are on the disk when some more have followed, or some seconds have passed."""
        self._rows += outcomes
        self._files += 1
        if len(self._rows) >= ROWS_PER_PART or time.monotonic() - self._written > _PART_INTERVAL_S:
            self.flush()

    def flush(self) -> None:
        """Put all rows on the disk.

        Raises:
            OutputError: they can't be written. The parts before are whole.
        """
        self._written = time.monotonic()
        if not self._rows:
            return
        part = self.folder / f"part-{self._flushed:09d}.parquet"
        with writing(part, WRITING_HINT), written_whole(part) as partial, partial.open("wb") as handle:
            pq.write_table(self._table(), handle)
            handle.flush()
            # There before the part is: a part without its digest is damaged. Parquet's own checksums leave bytes out.
            _digest_file(part).write_text(_digest(partial), encoding="ascii")
        if part not in self._parts:  # it is when an interruption came right here
            self._parts.append(part)
        self._flushed += self._files
        self._files = 0
        self._rows.clear()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows with the columns of the image table, `ROWS_PER_PART` at a time however they were flushed."""
        for batch in self._stored(self.schema.names):
            yield pa.RecordBatch.from_arrays(batch.columns, schema=self.schema)

    def embeddings(self) -> Iterator[pa.RecordBatch]:
        """Of every cell that the network saw: path, cell, slide_id, and the bytes of its embedding."""
        for batch in self._stored(_OF_A_CELL):
            yield batch.filter(batch.column(_EMBEDDING).is_valid())

    def _stored(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """These columns of all rows, `ROWS_PER_PART` at a time."""
        waiting: list[pa.RecordBatch] = []
        rows = 0
        for part in self._parts:
            with part.open("rb") as handle:
                for batch in pq.ParquetFile(handle).iter_batches(columns=[*columns]):
                    waiting.append(batch.select([*columns]))
                    rows += len(batch)
                    while rows >= ROWS_PER_PART:
                        joined = pa.concat_batches(waiting)
                        yield joined.slice(0, ROWS_PER_PART)
                        waiting, rows = [joined.slice(ROWS_PER_PART)], rows - ROWS_PER_PART
        if rows:
            yield pa.concat_batches(waiting)

    @contextmanager
    def publishing(self) -> Iterator[None]:
        """Mark that the body renames the tables: if it ends half-way, the next run may replace what is there."""
        with written_whole(self.folder / _PUBLISHING) as partial:
            partial.touch()
        yield
        self._published = True

    def _why_other_run(self, key: Mapping[str, str]) -> str:
        try:
            earlier = json.loads((self.folder / _KEY).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return "its key is missing or damaged"
        changed = [name for name, value in key.items() if earlier.get(name) != value]
        return f"{changed[0]} was {earlier.get(changed[0])!r} and now is {key[changed[0]]!r}" if changed else ""

    def _table(self) -> pa.Table:
        rows = self._rows
        batch = to_batch(rows, image_columns(self.classes), self.schema)
        details = pa.array([row.detail if isinstance(row, Rejection) else None for row in rows], pa.string())
        keys = pa.array([self._file_key(row.file) for row in rows], pa.binary(8))
        columns = [*batch.columns, details, keys]
        if self.embedding_width:
            found = [row.embedding if isinstance(row, Prediction) else None for row in rows]
            columns.append(pa.array(found, pa.binary(2 * self.embedding_width)))
        return pa.Table.from_arrays(columns, schema=self._stored_schema)

    def _file_key(self, file: ImageFile) -> bytes:
        """Identifies the file as the scan saw it: name, slide and its mark, size and time of change."""
        parts = (file.path, file.slide_id, str(file.size_bytes), str(file.mtime_ns), str(file.is_regular))
        text = "\0".join((*parts, self._marks.get(file.slide_id, "")))
        return xxhash.xxh3_64_digest(text.encode("utf-8", "surrogateescape"))

    def _check_part(self, part: Path, files: Sequence[ImageFile]) -> tuple[int, str]:
        """Files of the part and "", or 0 and why it does not hold for the files after the resumed ones."""
        start = self.resumed
        try:
            if _digest_file(part).read_text(encoding="ascii") != _digest(part):
                return 0, f"{part.name} is damaged: it was changed after it was written"
            with part.open("rb") as handle:
                table = pq.read_table(handle)
            keys = [key for key, _ in groupby(table.column(_FILE_KEY).to_pylist())]
        except (OSError, ValueError, KeyError, pa.ArrowException) as error:
            return 0, f"{part.name} is damaged: {str(error).splitlines()[0]}"
        if table.schema.names != self._stored_schema.names or part.name != f"part-{start:09d}.parquet":
            return 0, f"{part.name} is not the part that should be there"
        now = files[start : start + len(keys)]
        for key, file in zip(keys, now, strict=False):
            if key != self._file_key(file):
                return 0, f"from {file.path} on, files are new, gone or changed"
        if len(now) < len(keys):
            return 0, "files at the end are gone"
        return len(keys), ""


def _digest_file(part: Path) -> Path:
    return part.with_suffix(".xxh3")


def _digest(path: Path) -> str:
    return xxhash.xxh3_128_hexdigest(path.read_bytes())


def whole_files(outcomes: Iterable[Outcome]) -> Iterator[list[Outcome]]:
    """The rows of one file after the other; those of a field when all of its cells are there, so that an interruption
    leaves no field half done."""
    cells: list[Outcome] = []
    for outcome in outcomes:
        if cells and outcome.file.path != cells[0].file.path:
            yield cells
            cells = []
        if outcome.cell is None:
            yield [outcome]
        else:
            cells.append(outcome)
    if cells:
        yield cells
