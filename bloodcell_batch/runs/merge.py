"""Merge: the tables of all shards become those of one run, as if it had never been split."""

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pydantic import JsonValue, ValidationError

from bloodcell_batch import __version__
from bloodcell_batch.config.base import not_compared
from bloodcell_batch.config.classify import ClassifyConfig
from bloodcell_batch.config.merge import MergeConfig
from bloodcell_batch.config.problems import first_problem
from bloodcell_batch.errors import ConservationError, InputError, OutputError
from bloodcell_batch.integrity.digests import listing_digest
from bloodcell_batch.progress import NullObserver, Observer
from bloodcell_batch.records import Outcome, Status
from bloodcell_batch.results.file_names import OutputPaths, as_outputs, output_paths, shard_file_of, slide_table_of
from bloodcell_batch.results.finished import check_schema
from bloodcell_batch.results.formats import check_is_table, read_table
from bloodcell_batch.results.irreplaceable import check_results
from bloodcell_batch.results.journal import open_journal
from bloodcell_batch.results.record_entries import BackendEntry
from bloodcell_batch.results.run_record import RunRecord, read_record
from bloodcell_batch.results.shard_file import completed, read_shard_file
from bloodcell_batch.results.stored_rows import outcomes_of
from bloodcell_batch.results.tables import image_schema
from bloodcell_batch.runs.merged_record import merged_record
from bloodcell_batch.runs.pipeline import RunResult, record_outcomes
from bloodcell_batch.slides.file_list import FileList
from bloodcell_batch.slides.order import table_order
from bloodcell_batch.slides.shards import Shard
from bloodcell_batch.stages.dedup import CrossSlideSearch
from bloodcell_batch.stages.tally import SlideTally
from bloodcell_batch.stages.write import publish_run

_TOGETHER = "Keep the files of a shard together and unchanged, as `classify --shard` wrote them."
_AGAIN = "Classify all shards again, with the same program, model, options and images."
_ROWS_AT_A_TIME = 8192
_NAMED = 10


@dataclass(frozen=True, slots=True)
class ShardResults:
    """The results of one shard: its image table, what the file beside it says, and its run record."""

    path: Path
    shard: Shard
    images: pa.Table
    rows: pa.Table
    record: RunRecord

    def outcomes(self) -> Iterator[Outcome]:
        """Its outcomes in table order.

        Raises:
            InputError: the files don't belong together, or a slide is another shard's.
        """
        batches = self.images.to_batches(max_chunksize=_ROWS_AT_A_TIME)
        shown = (outcome for batch in batches for outcome in outcomes_of(batch, self.record.model.class_list))
        try:
            yield from completed(shown, self.rows, self.shard)
        except ValueError as error:
            raise InputError(f"{self.path} does not fit the files beside it: {error}.", hint=_TOGETHER) from error


def merge_shards(
    tables: Sequence[Path],
    out: str | Sequence[str],
    config: MergeConfig | None = None,
    observer: Observer | None = None,
    command: Sequence[str] = (),
) -> RunResult:
    """Publish at `out` the tables that an undivided run would have published, byte for byte.

    Args:
        tables: the image tables of all shards, in any order and format; files beside a table that is named, too, are
            passed over.
        out: as for `classify_slides`.
        config: options; the defaults if not given.
        observer: told what happens.
        command: the command line, for the run record.

    Raises:
        BloodcellBatchError: nothing was published; the text says what to do.
    """
    config, observer = config or MergeConfig(), observer or NullObserver()
    paths = output_paths(out, config.csv_dialect)
    check_results(paths, overwrite=config.overwrite)
    _check_apart(paths, tables)
    shards = _in_order([_read(path) for path in _image_tables(tables)])
    _check_alike(shards, observer)
    options = _options(shards[0])
    across = CrossSlideSearch(options.dedup, options.dedup_distance)
    counted = Counter[str]()
    for shard in shards:
        counted.update(shard.record.counts)
    classes = shards[0].record.model.class_list
    tally = SlideTally(counted["found"], counted["ignored"], classes, options.max_unclassified)
    files = FileList()
    merged = heapq.merge(*(shard.outcomes() for shard in shards), key=lambda outcome: table_order(outcome.file))
    with open_journal(paths.journal, as_outputs(out)[0], classes) as journal:
        failures = record_outcomes(
            across(tally(_noted(merged, files))), journal, tally.counts, observer, "merging", counted["found"]
        )
        matches = across.matches(files)
        slides = tally.differentials(matches)
        if not tally.counts.balanced():
            raise ConservationError(f"The counts don't add up: {tally.counts}.", hint=_TOGETHER)
        records = {str(shard.path): shard.record for shard in shards}
        digest = listing_digest(pair for shard in shards for pair in _listed(shard.images))
        publish_run(
            journal,
            paths,
            slides,
            matches,
            shards[0].record.model.sha256,
            lambda: merged_record(records, command, digest, tally.counts, failures, matches),
        )
    seconds = sum(shard.record.timings_seconds.get("total", 0.0) for shard in shards)
    return RunResult(tally.counts, slides, tuple(shards[0].record.unreadable_folders), seconds, failures)


def _noted(outcomes: Iterable[Outcome], files: FileList) -> Iterator[Outcome]:
    for outcome in outcomes:
        if outcome.is_first_of_its_file:
            files.append(outcome.file)
        yield outcome


def _listed(images: pa.Table) -> Iterator[tuple[str, int]]:
    columns = (images.column(name).to_pylist() for name in ("path", "size_bytes", "cell"))
    return ((path, size) for path, size, cell in zip(*columns, strict=True) if cell is None or cell <= 1)


def _check_apart(paths: OutputPaths, tables: Sequence[Path]) -> None:
    inputs = {table.resolve() for table in tables}
    for path in paths.all():
        if path.resolve() in inputs:
            raise OutputError(f"{path} is one of the shards.", hint="Choose another name for --out.")


def _image_tables(given: Sequence[Path]) -> list[Path]:
    """Without the files beside the image tables, which `shard-*.parquet` in a shell names too."""
    beside = {file for path in given for file in (shard_file_of(path), slide_table_of(path))}
    return [path for path in given if path not in beside]


def _read(path: Path) -> ShardResults:
    check_is_table(path)
    record = _record_of(path)
    check_schema(path, record)
    images = read_table(path, image_schema(record.model.class_list))
    if record.shard is None:
        hint = "Give the tables that `classify --shard i/n` wrote, one for each i."
        raise InputError(f"{path} is not a shard: it was made without --shard.", hint=hint)
    if record.reviews:
        raise InputError(f"{path} has been reviewed already.", hint="Merge the shards first, then review the result.")
    found = Counter(images.column("status").to_pylist())
    mismatch = record.count_mismatch({status: found[status] for status in Status})
    if mismatch:
        raise InputError(f"{path} {mismatch}.", hint=_TOGETHER)
    rows_beside = read_shard_file(shard_file_of(path), record.started)
    return ShardResults(path, Shard(record.shard.index, record.shard.count), images, rows_beside, record)


def _record_of(path: Path) -> RunRecord:
    record = read_record(path, _TOGETHER)
    if record.bloodcell_batch != __version__:
        hint = "Use the version that classified them, or classify all shards again."
        raise InputError(f"{path} was made by version {record.bloodcell_batch}, this is {__version__}.", hint=hint)
    change = record.change_since_written(path)
    if change:
        raise InputError(f"{change}.", hint=_TOGETHER)
    return record


def _options(shard: ShardResults) -> ClassifyConfig:
    try:
        return ClassifyConfig.model_validate(shard.record.config)
    except ValidationError as error:
        problem = f"the run record of {shard.path} has impossible options: {first_problem(error)}"
        raise InputError(f"The shards can't be merged: {problem}.", hint=_TOGETHER) from error


def _in_order(shards: Sequence[ShardResults]) -> list[ShardResults]:
    """Every shard once, by index; InputError if they are not all there."""
    count = shards[0].shard.count
    by_index: dict[int, ShardResults] = {}
    for one in shards:
        if one.shard.count != count:
            parts = f"{shards[0].path} is shard {shards[0].shard}, {one.path} is shard {one.shard}"
            raise InputError(f"The shards are of different runs: {parts}.", hint=_AGAIN)
        other = by_index.setdefault(one.shard.index, one)
        if other is not one:
            raise InputError(f"{other.path} and {one.path} are both shard {one.shard}.", hint="Give every shard once.")
    missing = [str(Shard(index, count)) for index in range(count) if index not in by_index]
    if missing:
        named = ", ".join(missing[:_NAMED]) + (" and others" if len(missing) > _NAMED else "")
        hint = "Run `classify --shard` for each of them, then merge all."
        raise InputError(f"Missing {len(missing)} of {count} shards: {named}.", hint=hint)
    return [by_index[index] for index in range(count)]


def _check_alike(shards: Sequence[ShardResults], observer: Observer) -> None:
    """Refuse shards that no single run could have made."""
    first = shards[0]
    expected = _identity(first.record)
    for one in shards[1:]:
        for what, value in _identity(one.record).items():
            if value != expected.get(what):
                differ = f"{expected.get(what)} in {first.path}, {value} in {one.path}"
                raise InputError(f"The shards differ in {what}: {differ}.", hint=_AGAIN)
    backends = sorted({shard.record.backend.name for shard in shards})
    if len(backends) > 1:
        observer.warn(f"the shards ran on different backends ({', '.join(backends)}): last digits may differ")
    finders = sorted({entry.description for shard in shards if (entry := _finder_backend(shard.record))})
    if len(finders) > 1:
        observer.warn(
            f"the finder of the shards ran in different ways ({'; '.join(finders)}): boxes may differ a little"
        )


def _finder_backend(record: RunRecord) -> BackendEntry | None:
    return record.finder.backend if record.finder else None


def _identity(record: RunRecord) -> dict[str, JsonValue]:
    """What all shards of one run have in common, by its name in an error."""
    listing = record.shard.listing_sha256 if record.shard else ""
    free = not_compared(ClassifyConfig)
    options = {f"the option {name}": value for name, value in record.config.items() if name not in free}
    finder = {"the finder": record.finder.sha256} if record.finder else {}
    limits = {f"the threshold of the {name}": value for name, value in record.thresholds.items()}
    return {"the model": record.model.sha256, **finder, **options, **limits, "the files that they found": listing}
