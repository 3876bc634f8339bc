"""What no command replaces, with or without `--overwrite`: a person's review, and the run record of another table."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from bloodcell_batch.errors import InputError, OutputError, UsageError
from bloodcell_batch.files.publishing import check_new
from bloodcell_batch.results.file_names import OutputPaths, run_record_of, shard_file_of, slide_table_of
from bloodcell_batch.results.finished import load_results
from bloodcell_batch.results.formats import OUTPUT_FORMATS
from bloodcell_batch.results.run_record import RunRecord, read_record
from bloodcell_batch.results.table_reading import UNREADABLE, filled_rows

_PERSONS = ("verified_label", "remark")
_RUN_RECORD, _SLIDES = ".run.json", ".slides"


Kept = Mapping[str, Mapping[str, str]]
"""Digests (SHA-256 in hex) of tables that stay beside new ones of the same run: by suffix, then by the table's name."""


def check_results(paths: OutputPaths, *, overwrite: bool, about: Path | None = None) -> None:
    """`check_outputs` for a set of results, and `check_record_is_free` for a run that no table is of yet.

    Raises:
        UsageError: the run record in its place is also that of a table in another format, which would be left without
            one.
        OutputError: see there.
    """
    check_record_is_free(paths)
    check_outputs(*paths.all(), overwrite=overwrite, about=about)


def check_record_is_free(paths: OutputPaths, key: Mapping[str, str] | None = None, input_sha256: str = "") -> None:
    """Fail before the work begins if a table in another format would be left without its run record.

    Args:
        paths: what the run writes.
        key: what the rows of the run depend on besides the images; a table of the same key and images gets the same
            rows again, so that the new record is its record too. None where no such table is let pass.
        input_sha256: identifies the images, SHA-256 in hex.

    Raises:
        UsageError: there is such a table.
    """
    for other, record in _others(paths):
        if key is None or record.key != key or record.input_sha256 != input_sha256:
            raise _record_is_taken(paths, other, "")


def check_kept(paths: OutputPaths, results_id: str, record: RunRecord) -> Kept:
    """Fail before a set of results takes its place, however it may: what must stay may have come after the run began.

    Args:
        paths: what the run writes.
        results_id: identity of the rows.
        record: of the run.

    Returns:
        The digests of the tables in other formats that hold the same rows, which `record` is to carry on.

    Raises:
        UsageError: the run record of a table with other rows would be replaced.
        OutputError: a person's review would be replaced.
    """
    check_unreviewed(*paths.all())
    kept: dict[str, Mapping[str, str]] = {}
    for other, earlier in _others(paths):
        same = earlier.results_id == results_id and earlier.key == record.key
        if not same or earlier.input_sha256 != record.input_sha256:
            raise _record_is_taken(paths, other, " The rows of this run are kept: the same command goes on from them.")
        kept[other.suffix.lower()] = earlier.digests_of(other)
    return kept


def check_outputs(*outs: Path, overwrite: bool, about: Path | None = None) -> None:
    """Fail before the work begins if files can't be written, or would replace what must stay.

    Args:
        outs: the files.
        overwrite: whether others may be replaced.
        about: image table of the results that the files are made of.

    Raises:
        OutputError: as for `check_new`; or one of the files holds a person's review, or is one of those results.
    """
    if about is not None:
        files = (about, slide_table_of(about), run_record_of(about), shard_file_of(about))
        own = {file.resolve() for file in files if file is not None}
        for out in outs:
            if out.resolve() in own:
                hint = "Choose another --out: the original is kept."
                raise OutputError(f"{out} is one of the files of the results {about}.", hint=hint)
    check_new(*outs, overwrite=overwrite)
    check_unreviewed(*outs)


def check_unreviewed(*paths: Path) -> None:
    """Fail before a person's work is replaced: verified cells of results, or a review file that was filled in.

    Raises:
        OutputError: one of the files holds some, or belongs to a table that does.
    """
    for path in paths:
        for holder, cells in _reviews(path):
            if cells:
                message = f"{holder} holds {cells:,} cells that a person verified or remarked on: it is never replaced."
                hint = "Choose another --out, or move it away with the files beside it."
                raise OutputError(message, hint=hint)


def _reviews(path: Path) -> Iterable[tuple[Path, int]]:
    """The files that would lose a review if `path` were replaced, with the number of its verified cells, maybe 0."""
    if path.name.endswith(_RUN_RECORD):
        tables = _tables_of(path)
        yield path, _cells_in_record(tables[0])
    elif path.stem.endswith(_SLIDES):
        tables = [path.with_name(path.stem.removesuffix(_SLIDES) + path.suffix)]
    else:
        tables = [path]
    for table in tables:
        yield table, _cells_in_table(table)


def _tables_of(record: Path) -> list[Path]:
    """Where the tables of a run record would be, one for each format."""
    return [record.with_name(record.name.removesuffix(_RUN_RECORD) + suffix) for suffix in OUTPUT_FORMATS]


def _cells_in_record(table: Path) -> int:
    try:
        return max((review.cells for review in read_record(table).reviews), default=0)
    except InputError:
        return 0


def _cells_in_table(table: Path) -> int:
    try:
        return filled_rows(table, _PERSONS)
    except FileNotFoundError:
        return 0
    except UNREADABLE:
        return _cells_in_record(table)  # damaged, or no table at all


def _others(paths: OutputPaths) -> Iterator[tuple[Path, RunRecord]]:
    """The tables in formats that the run does not write, whose run record it replaces; with that record."""
    if paths.run is None or not paths.run.exists():
        return
    for other in _tables_of(paths.run):
        if other.exists() and other not in paths.all() and _belongs(other):
            yield other, read_record(other)


def _record_is_taken(paths: OutputPaths, other: Path, more: str) -> UsageError:
    message = f"{paths.run} is the run record of {other}, which would be left without one: its rows are of another run."
    hint = f"Choose another name, write both formats with a second --out {other}, or move {other} away.{more}"
    return UsageError(message, hint=hint)


def _belongs(table: Path) -> bool:
    """Whether a table fits the run record beside it."""
    try:
        load_results(table)
    except InputError:
        return False
    return True
