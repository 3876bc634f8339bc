"""The program in one sentence: scan, classify (decode, dedup, infer, interpret), tally, write.

What an interrupted run has journalled, and for `--update` what an earlier result says, takes the place of decoding and
inference; all else is done again, so the tables are the same.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bloodcell_batch.backends.selection import open_backend
from bloodcell_batch.config.classify import ClassifyConfig
from bloodcell_batch.errors import BackendError, ConservationError, InputError, UsageError
from bloodcell_batch.files.storage import is_url
from bloodcell_batch.images.preprocessing import IMAGE_SUFFIXES
from bloodcell_batch.model.file import ModelFile, open_model
from bloodcell_batch.progress import NullObserver, Observer
from bloodcell_batch.records import Outcome, Rejection, RunCounts, ScanResult, SlideDifferential, Status
from bloodcell_batch.results.file_names import OutputPaths, output_paths, shard_file_of
from bloodcell_batch.results.journal import Journal, begun_publishing, open_journal
from bloodcell_batch.results.remote_output import local_output
from bloodcell_batch.results.shard_file import ShardRows
from bloodcell_batch.runs.local import Classifier, LocalClassifier, backend_options, thresholds_of
from bloodcell_batch.runs.run_facts import RunFacts, input_digest, record_of, run_key
from bloodcell_batch.slides.remarks import remarks
from bloodcell_batch.slides.rules import slide_rule
from bloodcell_batch.slides.shards import parse_shard, share_of
from bloodcell_batch.stages.dedup import CrossSlideSearch
from bloodcell_batch.stages.recall import EarlierRows, load_earlier
from bloodcell_batch.stages.scan import scan
from bloodcell_batch.stages.tally import SlideTally
from bloodcell_batch.stages.write import check_writable, publish_run


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

    The same call after an interruption goes on where it stopped.

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
    if config.update and is_url(out):
        raise UsageError("--update can't update results at a URL.", hint="Update a local file, then copy it there.")
    with local_output(out, overwrite=config.overwrite) as local:
        return _classify(root, local, config, observer, command)


def _classify(
    root: Path | str, out: str, config: ClassifyConfig, observer: Observer, command: Sequence[str]
) -> RunResult:
    clock = _Clock()
    paths = output_paths(out, config.csv_dialect)
    if paths.images is None:
        _check_stdout_will_do(config)
    half_published = begun_publishing(paths.journal)
    check_writable(paths, overwrite=_replaces(config) or half_published)
    with open_journal(paths.journal, out) as journal:
        model = open_model(config.model, config.require_model_sha256)
        found = _scan(root, config, observer)
        clock.lap("scan")
        input_sha256 = input_digest(found)
        classifier = _open_classifier(found, model, config, observer)
        clock.lap("load")
        try:
            observer.note(
                f"model {model.header.name} ({model.sha256[:12]}) on {classifier.description}",
                model_sha256=model.sha256,
                input_sha256=input_sha256,
                backend=classifier.name,
                skipped=list(classifier.skipped),
            )
            thresholds = thresholds_of(config, model).by_name()
            key = run_key(model, classifier.description, thresholds, config)
            _resume(journal, key, found, paths, config, observer)
            # What a run has begun to replace may be of two runs; that one's journal has every row.
            updates = config.update and not half_published
            earlier = load_earlier(paths.images, key, observer) if updates else None
            job = _Job(
                found=found,
                input_sha256=input_sha256,
                model=model,
                classifier=classifier,
                config=config,
                paths=paths,
                key=key,
                thresholds=thresholds,
                earlier=earlier,
                command=command,
            )
            return _run(job, journal, observer, clock)
        finally:
            classifier.close()


@dataclass(frozen=True, slots=True)
class _Job:
    """Everything that is settled before the first image is read."""

    found: ScanResult
    input_sha256: str
    model: ModelFile
    classifier: Classifier
    config: ClassifyConfig
    paths: OutputPaths
    key: dict[str, str]
    thresholds: dict[str, float]
    earlier: EarlierRows | None
    command: Sequence[str]


def _replaces(config: ClassifyConfig) -> bool:
    return config.overwrite or config.update


def _scan(root: Path | str, config: ClassifyConfig, observer: Observer) -> ScanResult:
    rule = slide_rule(config.slide_by, config.slide_regex, config.slide_manifest)
    found = scan(root, rule)
    _check_found(found, observer)
    for remark in remarks(rule, found.files):
        observer.warn(remark)
    return found if config.shard is None else share_of(found, parse_shard(config.shard))


def _check_stdout_will_do(config: ClassifyConfig) -> None:
    hint = "Give --out the name of a file."
    if config.shard is not None:
        raise UsageError("--shard can't write to stdout: merge needs files.", hint=hint)
    if config.engine == "ray":
        raise UsageError("--engine ray can't write to stdout: Ray writes messages there.", hint=hint)


def _open_classifier(found: ScanResult, model: ModelFile, config: ClassifyConfig, observer: Observer) -> Classifier:
    if config.jpeg_decoder == "gpu":
        observer.warn("JPEGs are decoded on the GPU: damage inside a file may go unnoticed")
    if config.engine == "ray":
        try:
            from bloodcell_batch.runs.ray_cluster import RayClassifier  # noqa: PLC0415 - Ray is an extra
        except ModuleNotFoundError as error:
            hint = "Install it: pip install 'bloodcell-batch[ray]'."
            raise BackendError(f"--engine ray needs the package {error.name}.", hint=hint) from error
        return RayClassifier(found.root, found.files, model, config, observer)
    choice = open_backend(model, config.backend, backend_options(config))
    for refusal in choice.refused:
        observer.warn(refusal)
    return LocalClassifier(choice, found.root, model, config)


def _resume(
    journal: Journal,
    key: dict[str, str],
    found: ScanResult,
    paths: OutputPaths,
    config: ClassifyConfig,
    observer: Observer,
) -> None:
    """Take over what an interrupted run left, as far as it holds."""
    folder = found.root if is_url(found.root) else str(Path(found.root).resolve())
    dropped = journal.resume(key | {"the folder": folder}, found.files)
    if dropped:
        observer.warn(f"an interrupted run left rows that can't be used: {dropped}")
    if dropped or not journal.resumed:
        # If that run had begun to publish, what is there now is not this run's to replace.
        check_writable(paths, overwrite=_replaces(config))
    if journal.resumed:
        observer.note(f"going on after {journal.resumed:,} files of an interrupted run", resumed=journal.resumed)


def _run(job: _Job, journal: Journal, observer: Observer, clock: "_Clock") -> RunResult:
    found, config, classifier = job.found, job.config, job.classifier
    across = CrossSlideSearch(config.dedup, config.dedup_distance)
    tally = SlideTally(found.found, len(found.ignored))

    shard_rows = ShardRows()
    with closing(classifier.classify(found.files, journal, job.earlier)) as classified:
        outcomes = classified if config.shard is None else shard_rows(classified)
        counted = across(tally(outcomes))
        failures = record_outcomes(counted, journal, tally.counts, observer, "classifying", len(found.files))
    if job.earlier is not None:
        observer.note(f"{job.earlier.kept:,} files have not changed since the earlier result", kept=job.earlier.kept)
    clock.lap("classify")

    matches = across.matches(found.files)
    slides = tally.differentials(matches)
    clock.lap("cross-slide")
    if not tally.counts.balanced():
        raise ConservationError(f"The counts don't add up: {tally.counts}.", hint="This is a bug; please report it.")
    if config.shard is not None and job.paths.images is not None:
        shard_rows.write(shard_file_of(job.paths.images), clock.started.isoformat())
    publish_run(
        journal,
        job.paths,
        slides,
        matches,
        job.model.sha256,
        lambda: record_of(
            RunFacts(
                command=job.command,
                config=config,
                key=job.key,
                thresholds=job.thresholds,
                model=job.model,
                backend=classifier.name,
                backend_description=classifier.description,
                backends_skipped=classifier.skipped,
                scan=found,
                input_sha256=job.input_sha256,
                counts=tally.counts,
                failures=failures,
                resumed=journal.resumed,
                kept=job.earlier.kept if job.earlier else 0,
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
    """Journal every outcome that is not there yet and return those that failed; the observer is told of a task of
    `total` files."""
    failures: list[Rejection] = []
    observer.started(task, total)
    try:
        for number, outcome in enumerate(_observed(outcomes, observer, counts)):
            if number >= journal.resumed:
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
