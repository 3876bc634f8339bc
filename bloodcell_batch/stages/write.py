"""Write: append rows to a journal beside the output, then publish all files at once under their final names."""

import io
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from bloodcell_batch.config import CsvDialect
from bloodcell_batch.errors import LockedError, OutputError
from bloodcell_batch.formats import (
    ONE_FILE,
    OUTPUT_FORMATS,
    STDOUT,
    output_suffix,
    write_csv_text,
    write_excel_csv,
    write_excel_csv_text,
)
from bloodcell_batch.records import CrossSlideMatch, Outcome, SlideDifferential
from bloodcell_batch.tables import (
    IMAGE_COLUMNS,
    IMAGE_SCHEMA,
    SLIDE_COLUMNS,
    SLIDE_SCHEMA,
    mark_for_review,
    printable,
    to_batch,
)
from bloodcell_batch.workbook import write_results_workbook

ROWS_PER_PART = 8192
"""Rows of a journal part and of a row group. Fixed, so that tables don't depend on the batch size."""


@dataclass(frozen=True, slots=True)
class OutputPaths:
    """Where a run publishes; all None for stdout, `slides` None where one file holds both tables."""

    images: Path | None
    slides: Path | None
    run: Path | None
    suffix: str
    csv_dialect: CsvDialect = "plain"

    def all(self) -> tuple[Path, ...]:
        """The paths in publishing order: the table that people look for comes last."""
        return tuple(path for path in (self.slides, self.run, self.images) if path is not None)


def output_paths(out: str, csv_dialect: CsvDialect = "plain") -> OutputPaths:
    """The files that belong to `--out`.

    Raises:
        UsageError: unknown suffix, or a CSV dialect for another format.
    """
    suffix = output_suffix(out, csv_dialect)
    if suffix == STDOUT:
        return OutputPaths(None, None, None, suffix, csv_dialect)
    images = Path(out)
    return OutputPaths(
        images=images,
        slides=None if suffix in ONE_FILE else images.with_name(f"{images.stem}.slides{images.suffix}"),
        run=images.with_name(f"{images.stem}.run.json"),
        suffix=suffix,
        csv_dialect=csv_dialect,
    )


def check_writable(paths: OutputPaths, *, overwrite: bool) -> None:
    """Fail before the work begins, not after hours.

    Raises:
        OutputError: the folder is missing or not writable, or results exist and `overwrite` is off.
    """
    for path in paths.all():
        if path.is_dir():
            raise OutputError(f"{path} is a folder.", hint="Give the name of a file.")
        if path.exists() and not overwrite:
            raise OutputError(f"{path} exists already.", hint="Choose another name, or add --overwrite to replace it.")
        if not path.parent.is_dir():
            raise OutputError(f"There is no folder {path.parent}.", hint="Create it first, or correct --out.")
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise OutputError(f"The folder {path.parent} can't be written.", hint="Choose another place for --out.")


@contextmanager
def open_journal(paths: OutputPaths) -> Iterator["Journal"]:
    """A journal beside the output (in the temporary folder for stdout), removed when the block ends.

    Raises:
        LockedError: another run is writing the same output.
        OutputError: the journal can't be created.
    """
    if paths.images is None:
        with tempfile.TemporaryDirectory(prefix="bloodcell-batch-") as folder:
            yield Journal(Path(folder), paths)
        return
    folder_path = paths.images.with_name(f"{paths.images.name}.partial")
    with _writing(folder_path):
        folder_path.mkdir(exist_ok=True)
    lock = FileLock(folder_path / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        hint = "Wait until it has finished, or choose another --out."
        raise LockedError(f"Another run is writing {paths.images}.", hint=hint) from error
    try:
        yield Journal(folder_path, paths)
    finally:
        # Still locked: a run that starts now must not lose the folder that it has just been given.
        shutil.rmtree(folder_path, ignore_errors=True)
        lock.release()


class Journal:
    """Collects rows in Parquet parts, so that memory stays flat, and publishes them."""

    def __init__(self, folder: Path, paths: OutputPaths) -> None:
        self._folder = folder
        self._paths = paths
        self._rows: list[Outcome] = []
        self._parts: list[Path] = []
        for stale in folder.glob("part-*.parquet"):  # left behind by a killed run
            stale.unlink()

    @property
    def images(self) -> Path | None:
        """Where the image table will be published; None for stdout."""
        return self._paths.images

    def append(self, outcome: Outcome) -> None:
        """Add the row of one file."""
        self._rows.append(outcome)
        if len(self._rows) == ROWS_PER_PART:
            self._flush()

    def publish(
        self, slides: Sequence[SlideDifferential], matches: Sequence[CrossSlideMatch], run_record: Callable[[], str]
    ) -> None:
        """Write the tables and the run record beside their final names, then rename them all.

        Pictures that appear in two slides are marked for review here, when every slide is known.
        """
        self._flush()
        partners = {printable(m.path): m.other_path for m in matches}
        partners |= {printable(m.other_path): m.path for m in matches}
        if self._paths.images is None:
            self._publish_to_stdout(partners)
            return
        write = write_excel_csv if self._paths.csv_dialect == "excel" else OUTPUT_FORMATS[self._paths.suffix]
        slide_rows = to_batch(slides, SLIDE_COLUMNS, SLIDE_SCHEMA)
        with _writing(self._paths.images):
            fresh = [self._folder / f"final-{path.name}" for path in self._paths.all()]
            *slide_table, record, image_table = fresh
            record.write_text(run_record(), encoding="utf-8")
            if slide_table:
                write(slide_table[0], SLIDE_SCHEMA, iter([slide_rows]))
                write(image_table, IMAGE_SCHEMA, self._batches(partners))
            else:
                text = record.read_text(encoding="utf-8")
                write_results_workbook(image_table, slide_rows, IMAGE_SCHEMA, self._batches(partners), text)
            for path in fresh:
                _sync(path)
            for path, final in zip(fresh, self._paths.all(), strict=True):
                path.replace(final)

    def _publish_to_stdout(self, partners: Mapping[str, str]) -> None:
        # Its own text layer: the locale's encoding, as under cron, may not know every name, and LF must stay LF.
        stream = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8", newline="")
        try:
            with _writing("to stdout"):
                write = write_excel_csv_text if self._paths.csv_dialect == "excel" else write_csv_text
                write(stream, IMAGE_SCHEMA, self._batches(partners))
                stream.flush()
        except OutputError:
            # What is still buffered would fail again, with a traceback, when Python closes stdout.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise
        stream.detach()

    def _flush(self) -> None:
        if not self._rows:
            return
        part = self._folder / f"part-{len(self._parts):06d}.parquet"
        with _writing(part):
            pq.write_table(pa.Table.from_batches([to_batch(self._rows, IMAGE_COLUMNS, IMAGE_SCHEMA)]), part)
        self._parts.append(part)
        self._rows.clear()

    def _batches(self, partners: Mapping[str, str]) -> Iterator[pa.RecordBatch]:
        for part in self._parts:
            for batch in pq.ParquetFile(part).iter_batches(batch_size=ROWS_PER_PART):
                # Rebuilt from its columns: reading keeps neither our metadata nor, in an all-null column, our type.
                yield mark_for_review(pa.RecordBatch.from_arrays(batch.columns, schema=IMAGE_SCHEMA), partners)


@contextmanager
def _writing(what: Path | str) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise  # the reader of stdout has seen enough: no error of ours
    except OSError as error:
        hint = "Nothing was published. Free some space or choose another --out, then run the same command again."
        raise OutputError(f"Can't write {what}: {error.strerror or error}.", hint=hint) from error


def _sync(path: Path) -> None:
    """Force the bytes to the disk before the rename makes them visible."""
    with path.open("rb") as handle:
        os.fsync(handle.fileno())
