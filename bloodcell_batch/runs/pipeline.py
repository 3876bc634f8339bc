"""The program in one sentence: scan, classify (decode, dedup, infer, interpret), tally, write.

`plan` scans and settles all that can be settled before an image is read; `carry_out` does the rest. What an interrupted
run has journalled, and for `--update` what an earlier result says, takes the place of decoding and inference; all else
is done again, so the tables are the same.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bloodcell_batch.config.classify import ClassifyConfig
from bloodcell_batch.errors import ConservationError, UsageError
from bloodcell_batch.files.storage import is_url
from bloodcell_batch.parallel.importing import importing
from bloodcell_batch.progress import NullObserver, Observer, RunCounts, SlideDifferential, counted
from bloodcell_batch.records import Outcome, Rejection, Status
from bloodcell_batch.results.file_names import as_outputs, output_paths, shard_file_of
from bloodcell_batch.results.journal import Journal, whole_files
from bloodcell_batch.results.remote_output import local_output
from bloodcell_batch.results.run_record import FAILURES_LISTED, RunRecord
from bloodcell_batch.results.shard_file import ShardRows
from bloodcell_batch.runs.plan import Plan, plan
from bloodcell_batch.runs.run_facts import RunFacts, record_of
from bloodcell_batch.slides.matches import CrossSlideMatch
from bloodcell_batch.stages.dedup import CrossSlideSearch
from bloodcell_batch.stages.tally import SlideTally
from bloodcell_batch.stages.write import publish_run

_FOR_LIMITS = "scipy.special"  # a tenth of a second, while OpenVINO opens networks without Python


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run found, for the summary and the exit code; `failures` are the first `FAILURES_LISTED` that failed, in
    table order."""

    counts: RunCounts
    slides: tuple[SlideDifferential, ...]
    unreadable_folders: tuple[str, ...]
    seconds: float
    failures: Sequence[Rejection] = ()


def classify_slides(
    root: Path | str,
    out: str | Sequence[str],
    config: ClassifyConfig | None = None,
    observer: Observer | None = None,
    command: Sequence[str] = (),
) -> RunResult:
    """Classify every image under `root` and publish the tables and the run record at `out`.

    The same call after an interruption goes on where it stopped.

    Args:
        root: folder with the slide folders, or its URL.
        out: path or URL ending in a suffix of `OUTPUT_FORMATS`, several for several formats (of one name in one
            folder), or "-" for CSV on stdout.
        config: options; the defaults if not given.
        observer: told what happens.
        command: the command line, for the run record.

    Raises:
        BloodcellBatchError: nothing was published; the text says what to do.
    """
    config, observer = config or ClassifyConfig(), observer or NullObserver()
    outs = as_outputs(out)
    if config.update and is_url(outs[0]):
        raise UsageError("--update can't update results at a URL.", hint="Update a local file, then copy it there.")
    output_paths(outs, config.csv_dialect, config.embeddings)  # may say that they can't be written there
    with (
        local_output(outs, overwrite=config.overwrite, embeddings=config.embeddings) as local,
        importing(_FOR_LIMITS),
        plan(root, local, config, observer) as settled,
    ):
        return carry_out(settled, observer, command)


def carry_out(settled: Plan, observer: Observer, command: Sequence[str] = ()) -> RunResult:
    """Classify the files of a plan, count them, and publish the tables and the run record.

    Raises:
        BloodcellBatchError: nothing was published; finished rows are in the journal.
    """
    found, config, journal, stopwatch = settled.found, settled.config, settled.journal, settled.stopwatch
    across = CrossSlideSearch(config.dedup, config.dedup_distance)
    tally = SlideTally(found.found, len(found.ignored), journal.classes, config.max_unclassified)
    shard_rows = ShardRows()
    with closing(settled.classifier.classify(found.files, journal, settled.earlier, settled.views)) as classified:
        outcomes = classified if config.shard is None else shard_rows(classified)
        tallied = across(tally(outcomes))
        failures = record_outcomes(tallied, journal, tally.counts, observer, "classifying", len(found.files))
    if settled.earlier is not None:
        kept = settled.earlier.kept
        observer.note(f"{counted(kept, 'file has', 'files have')} not changed since the earlier result", kept=kept)
    stopwatch.lap("classify")
    matches = across.matches(found.files)
    slides = tally.differentials(matches)
    stopwatch.lap("cross-slide")
    if not tally.counts.balanced():
        raise ConservationError(f"The counts don't add up: {tally.counts}.", hint="This is a bug; please report it.")
    if config.shard is not None and settled.paths.images is not None:
        shard_rows.write(shard_file_of(settled.paths.images), stopwatch.started.isoformat())

    def record() -> RunRecord:
        return _record(settled, tally.counts, failures, matches, command)

    publish_run(journal, settled.paths, slides, matches, settled.model.sha256, record)
    return RunResult(tally.counts, slides, found.unreadable_folders, stopwatch.total(), failures)


def _record(
    settled: Plan,
    counts: RunCounts,
    failures: Sequence[Rejection],
    matches: Sequence[CrossSlideMatch],
    command: Sequence[str],
) -> RunRecord:
    classifier, stopwatch = settled.classifier, settled.stopwatch
    facts = RunFacts(
        command=command,
        config=settled.config,
        key=settled.key,
        thresholds=settled.thresholds,
        model=settled.model,
        finder=settled.finder.model,
        finder_backend=classifier.finder_backend,
        views=settled.views,
        classes=settled.journal.classes,
        backend=classifier.name,
        backend_description=classifier.description,
        backends_skipped=classifier.skipped,
        scan=settled.found,
        input_sha256=settled.input_sha256,
        counts=counts,
        failures=failures,
        resumed=settled.journal.resumed,
        kept=settled.earlier.kept if settled.earlier else 0,
        matches=matches,
        started=stopwatch.started,
        timings=stopwatch.laps | {"total": stopwatch.total()},
    )
    return record_of(facts)


def record_outcomes(
    outcomes: Iterable[Outcome], journal: Journal, counts: RunCounts, observer: Observer, task: str, total: int
) -> list[Rejection]:
    """Journal every outcome that is not there yet and return the first `FAILURES_LISTED` that failed; the observer is
    told of a task of `total` files."""
    failures: list[Rejection] = []
    observer.started(task, total)
    try:
        for number, rows in enumerate(whole_files(_observed(outcomes, observer, counts))):
            if number >= journal.resumed:
                journal.append(rows)
            if len(failures) < FAILURES_LISTED:
                failures += (row for row in rows if isinstance(row, Rejection) and row.status is Status.FAILED)
    finally:
        observer.finished()
    return failures


def _observed(outcomes: Iterable[Outcome], observer: Observer, counts: RunCounts) -> Iterator[Outcome]:
    for outcome in outcomes:
        yield outcome
        observer.advanced(counts.done, counts)
