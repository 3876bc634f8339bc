"""The program in one sentence: scan, classify (decode, dedup, infer, interpret), tally, write."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bloodcell_batch.backends.contract import BackendOptions
from bloodcell_batch.backends.ladder import open_backend
from bloodcell_batch.classification import Classifier, LocalClassifier, thresholds_of
from bloodcell_batch.config import ClassifyConfig
from bloodcell_batch.errors import BackendError, ConservationError, InputError, UsageError
from bloodcell_batch.model_file import ModelFile, open_model
from bloodcell_batch.preprocessing import IMAGE_SUFFIXES
from bloodcell_batch.progress import NullObserver, Observer
from bloodcell_batch.records import Outcome, Rejection, RunCounts, ScanResult, SlideDifferential, Status
from bloodcell_batch.remote_output import local_output
from bloodcell_batch.run_record import RunFacts, run_record
from bloodcell_batch.shard_file import ShardRows, shard_file_of
from bloodcell_batch.sharding import parse_shard, share_of
from bloodcell_batch.slide_rules import slide_rule
from bloodcell_batch.stages.dedup import CrossSlideSearch
from bloodcell_batch.stages.scan import scan
from bloodcell_batch.stages.tally import SlideTally
from bloodcell_batch.stages.write import Journal, check_writable, open_journal, output_paths


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run found, for the summary and the exit code."""

    counts: RunCounts
    slides: tuple[SlideDifferential, ...]
    unreadable_folders: tuple[str, ...]
    seconds: float


def classify_slides(
    root: Path | str,
    out: str,
    config: ClassifyConfig | None = None,
    observer: Observer | None = None,
    command: Sequence[str] = (),
) -> RunResult:
    """Classify every image under `root` and publish the tables and the run record at `out`.

    Args:
        root: folder with the slide folders, or its URL.
        out: path or URL ending in a suffix of `OUTPUT_FORMATS`, or "-" for CSV on stdout.
        config: options; the defaults if not given.
        observer: told what happens.
        command: the command line, for the run record.

    Raises:
        BloodcellBatchError: nothing was published; the text says what to do.
    """
    config, observer = config or ClassifyConfig(), observer or NullObserver()
    with local_output(out, overwrite=config.overwrite) as local:
        return _classify(root, local, config, observer, command)


def _classify(
    root: Path | str, out: str, config: ClassifyConfig, observer: Observer, command: Sequence[str]
) -> RunResult:
    clock = _Clock()
    paths = output_paths(out, config.csv_dialect)
    if paths.images is None:
        _check_stdout_will_do(config)
    check_writable(paths, overwrite=config.overwrite)
    model = open_model(config.model)
    found = scan(root, slide_rule(config.slide_by, config.slide_regex, config.slide_manifest))
    _check_found(found, observer)
    if config.shard is not None:
        found = share_of(found, parse_shard(config.shard))
    if config.jpeg_decoder == "gpu":
        observer.warn("JPEGs are decoded on the GPU: damage inside a file may go unnoticed")
    clock.lap("scan")
    classifier = _open_classifier(found, model, config, observer)
    observer.note(
        f"model {model.header.name} ({model.sha256[:12]}) on {classifier.description}",
        model_sha256=model.sha256,
        backend=classifier.name,
        skipped=list(classifier.skipped),
    )
    clock.lap("load")
    try:
        with open_journal(paths) as journal:
            return _run(found, model, classifier, config, journal, observer, clock, command)
    finally:
        classifier.close()


def _check_stdout_will_do(config: ClassifyConfig) -> None:
    hint = "Give --out the name of a file."
    if config.shard is not None:
        raise UsageError("--shard can't write to stdout: merge needs files.", hint=hint)
    if config.engine == "ray":
        raise UsageError("--engine ray can't write to stdout: Ray writes messages there.", hint=hint)


def _open_classifier(found: ScanResult, model: ModelFile, config: ClassifyConfig, observer: Observer) -> Classifier:
    if config.engine == "ray":
        try:
            from bloodcell_batch.ray_cluster import RayClassifier  # noqa: PLC0415 - Ray is an extra
        except ModuleNotFoundError as error:
            hint = "Install it: pip install 'bloodcell-batch[ray]'."
            raise BackendError(f"--engine ray needs the package {error.name}.", hint=hint) from error
        return RayClassifier(found.root, found.files, model, config, observer)
    choice = open_backend(model, config.backend, BackendOptions(config.precision, config.batch_size, config.plan))
    for refusal in choice.refused:
        observer.warn(refusal)
    return LocalClassifier(choice, found.root, model, config)


def _run(
    found: ScanResult,
    model: ModelFile,
    classifier: Classifier,
    config: ClassifyConfig,
    journal: Journal,
    observer: Observer,
    clock: "_Clock",
    command: Sequence[str],
) -> RunResult:
    across = CrossSlideSearch(config.dedup, config.dedup_distance)
    thresholds = thresholds_of(config, model)
    tally = SlideTally(found.found, len(found.ignored))

    outcomes = classifier.classify(found.files)
    shard_rows = ShardRows()
    if config.shard is not None:
        outcomes = shard_rows(outcomes)
    failures = record_outcomes(
        across(tally(outcomes)), journal, tally.counts, observer, "classifying", len(found.files)
    )
    clock.lap("classify")

    matches = across.matches()
    slides = tally.differentials(matches)
    clock.lap("cross-slide")
    if not tally.counts.balanced():
        raise ConservationError(f"The counts don't add up: {tally.counts}.", hint="This is a bug; please report it.")
    if config.shard is not None and journal.images is not None:
        shard_rows.write(shard_file_of(journal.images), clock.started.isoformat())
    journal.publish(
        slides,
        matches,
        lambda: run_record(
            RunFacts(
                command=command,
                config=config,
                thresholds={"confidence": thresholds.confidence, "outlier": thresholds.outlier},
                model=model,
                backend=classifier.name,
                backend_description=classifier.description,
                backends_skipped=classifier.skipped,
                scan=found,
                counts=tally.counts,
                failures=failures,
                matches=matches,
                started=clock.started,
                timings=clock.laps | {"total": clock.total()},
            )
        ),
    )
    return RunResult(tally.counts, slides, found.unreadable_folders, clock.total())


def record_outcomes(
    outcomes: Iterable[Outcome], journal: Journal, counts: RunCounts, observer: Observer, task: str, total: int
) -> list[Rejection]:
    """Journal every outcome and return those that failed; the observer is told of a task of `total` files."""
    failures: list[Rejection] = []
    observer.started(task, total)
    try:
        for outcome in _observed(outcomes, observer, counts):
            journal.append(outcome)
            if isinstance(outcome, Rejection) and outcome.status is Status.FAILED:
                failures.append(outcome)
    finally:
        observer.finished()
    return failures


def _observed(outcomes: Iterable[Outcome], observer: Observer, counts: RunCounts) -> Iterator[Outcome]:
    for done, outcome in enumerate(outcomes, start=1):
        yield outcome
        observer.advanced(done, counts)


def _check_found(found: ScanResult, observer: Observer) -> None:
    for folder in found.unreadable_folders:
        observer.warn(f"the folder {folder} can't be read; its images are missing from the results", folder=folder)
    if not found.files:
        seen = f"{len(found.ignored)} files, none of them an image by its name" if found.ignored else "no files"
        hint = f"Give a folder with images ({', '.join(IMAGE_SUFFIXES)}), one folder per slide."
        raise InputError(f"No images under {found.root}: {seen}.", hint=hint)


class _Clock:
    """Laps of the run, in seconds."""

    def __init__(self) -> None:
        self.started = datetime.now(UTC)
        self._start = self._last = time.perf_counter()
        self.laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        """Book the time since the last lap under `name`."""
        now = time.perf_counter()
        self.laps[name] = now - self._last
        self._last = now

    def total(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._start
