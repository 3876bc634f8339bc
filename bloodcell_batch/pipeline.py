"""The program in one sentence: scan, decode, dedup, infer, interpret, tally, write."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bloodcell_batch.backends.contract import BackendOptions
from bloodcell_batch.backends.ladder import Choice, open_backend
from bloodcell_batch.config import ClassifyConfig
from bloodcell_batch.cpus import available_cpus
from bloodcell_batch.errors import ConservationError, InputError
from bloodcell_batch.model_file import ModelFile, open_model
from bloodcell_batch.outlier import load_outlier_score
from bloodcell_batch.preprocessing import IMAGE_SUFFIXES, DecodeLimits, decode_rgb
from bloodcell_batch.progress import NullObserver, Observer
from bloodcell_batch.records import Outcome, Rejection, RunCounts, ScanResult, SlideDifferential, Status
from bloodcell_batch.run_record import RunFacts, run_record
from bloodcell_batch.slide_rules import slide_rule
from bloodcell_batch.stages.decode import RgbDecoder, decode_ahead, make_decoder
from bloodcell_batch.stages.dedup import CrossSlideSearch, DuplicateFilter
from bloodcell_batch.stages.infer import infer
from bloodcell_batch.stages.interpret import Thresholds, interpret
from bloodcell_batch.stages.scan import scan
from bloodcell_batch.stages.tally import SlideTally
from bloodcell_batch.stages.write import Journal, check_writable, open_journal, output_paths

_MAX_WINDOW_AHEAD = 1024


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run found, for the summary and the exit code."""

    counts: RunCounts
    slides: tuple[SlideDifferential, ...]
    unreadable_folders: tuple[str, ...]
    seconds: float


def classify_slides(
    root: Path,
    out: str,
    config: ClassifyConfig | None = None,
    observer: Observer | None = None,
    command: Sequence[str] = (),
) -> RunResult:
    """Classify every image under `root` and publish the tables and the run record at `out`.

    Args:
        root: folder with the slide folders.
        out: path ending in a suffix of `OUTPUT_FORMATS`, or "-" for CSV on stdout.
        config: options; the defaults if not given.
        observer: told what happens.
        command: the command line, for the run record.

    Raises:
        BloodcellBatchError: nothing was published; the text says what to do.
    """
    config, observer = config or ClassifyConfig(), observer or NullObserver()
    clock = _Clock()
    paths = output_paths(out, config.csv_dialect)
    check_writable(paths, overwrite=config.overwrite)
    model = open_model(config.model)
    found = scan(root, slide_rule(config.slide_by, config.slide_regex, config.slide_manifest))
    _check_found(found, observer)
    clock.lap("scan")
    choice = open_backend(model, config.backend, BackendOptions(config.precision, config.batch_size, config.plan))
    for refusal in choice.refused:
        observer.warn(refusal)
    observer.note(
        f"model {model.header.name} ({model.sha256[:12]}) on {choice.backend.description}",
        model_sha256=model.sha256,
        backend=choice.name,
        skipped=list(choice.skipped),
    )
    clock.lap("load")
    try:
        with open_journal(paths) as journal:
            return _run(found, model, choice, config, journal, observer, clock, command)
    finally:
        choice.backend.close()


def _run(
    found: ScanResult,
    model: ModelFile,
    choice: Choice,
    config: ClassifyConfig,
    journal: Journal,
    observer: Observer,
    clock: "_Clock",
    command: Sequence[str],
) -> RunResult:
    limits = DecodeLimits(max_pixels=round(config.max_megapixels * 1e6))
    workers = available_cpus() if config.workers is None else config.workers
    window = config.batch_size + min(config.batch_size, _MAX_WINDOW_AHEAD) + workers
    unique = DuplicateFilter(config.dedup, config.dedup_distance)
    across = CrossSlideSearch(config.dedup, config.dedup_distance)
    thresholds = _thresholds(config, model)
    tally = SlideTally(found.found, len(found.ignored))

    decoder = make_decoder(found.root, model.header.preprocessing, limits, _rgb_decoder(config, observer))
    decoded = decode_ahead(found.files, decoder, workers, window)
    predicted = infer(unique(decoded), choice.backend, load_outlier_score(model), config.batch_size)
    outcomes = across(tally(interpret(predicted, thresholds)))
    failures = _record(outcomes, journal, tally.counts, observer, len(found.files))
    clock.lap("classify")

    matches = across.matches()
    slides = tally.differentials(matches)
    clock.lap("cross-slide")
    if not tally.counts.balanced():
        raise ConservationError(f"The counts don't add up: {tally.counts}.", hint="This is a bug; please report it.")
    journal.publish(
        slides,
        matches,
        lambda: run_record(
            RunFacts(
                command=command,
                config=config,
                thresholds={"confidence": thresholds.confidence, "outlier": thresholds.outlier},
                model=model,
                backend=choice.name,
                backend_description=choice.backend.description,
                backends_skipped=choice.skipped,
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


def _record(
    outcomes: Iterable[Outcome], journal: Journal, counts: RunCounts, observer: Observer, total: int
) -> list[Rejection]:
    """Journal every outcome and return those that failed."""
    failures: list[Rejection] = []
    observer.started("classifying", total)
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


def _rgb_decoder(config: ClassifyConfig, observer: Observer) -> RgbDecoder:
    if config.jpeg_decoder == "cpu":
        return decode_rgb
    from bloodcell_batch.gpu_jpeg import gpu_rgb_decoder  # noqa: PLC0415 - imports torch

    observer.warn("JPEGs are decoded on the GPU: damage inside a file may go unnoticed")
    return gpu_rgb_decoder()


def _thresholds(config: ClassifyConfig, model: ModelFile) -> Thresholds:
    header = model.header
    return Thresholds(
        confidence=header.review_threshold if config.min_confidence is None else config.min_confidence,
        outlier=header.outlier.threshold if config.outlier_threshold is None else config.outlier_threshold,
    )


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
