"""What is settled before the first image of a run is read."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bloodcell_batch.config.classify import ClassifyConfig
from bloodcell_batch.errors import BackendError, InputError, UsageError
from bloodcell_batch.fields.vote import SlideView
from bloodcell_batch.files.storage import is_url
from bloodcell_batch.images.file_formats import suffixes_read
from bloodcell_batch.model.evidence import require_evidence
from bloodcell_batch.model.file import ModelFile, open_model
from bloodcell_batch.progress import Observer, counted
from bloodcell_batch.results.file_names import OutputPaths, as_outputs, output_paths
from bloodcell_batch.results.irreplaceable import check_outputs, check_record_is_free
from bloodcell_batch.results.journal import Journal, begun_publishing, open_journal
from bloodcell_batch.runs.finder import RunFinder, look_at_slides, marks_of
from bloodcell_batch.runs.local import Classifier, LocalClassifier, open_on_backend, roll_up_of, thresholds_of
from bloodcell_batch.runs.run_facts import input_digest, run_key
from bloodcell_batch.slides.found import ScanResult
from bloodcell_batch.slides.remarks import remarks
from bloodcell_batch.slides.rules import slide_rule
from bloodcell_batch.slides.shards import parse_shard, share_of
from bloodcell_batch.stages.embeddings import embedding_width
from bloodcell_batch.stages.recall import EarlierRows, load_earlier
from bloodcell_batch.stages.scan import left_out, scan


class Stopwatch:
    """Laps of a run, in seconds."""

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


@dataclass(frozen=True, slots=True)
class Plan:
    """A run that can begin: its files, model, classifier and outputs, and what earlier runs have left of it.

    Attributes:
        config: every option, with its default.
        found: the image files, in the order of the rows.
        input_sha256: identifies these files, SHA-256 in hex.
        model: the model file.
        finder: what looks for cells; `plan` closes it.
        views: what the images of each slide are taken for.
        classifier: what classifies, opened; `plan` closes it.
        thresholds: in use, by name.
        key: all that the rows depend on besides the images.
        paths: where the outputs go.
        journal: keeps the rows until they are published; it is locked for this run.
        earlier: rows of an earlier result, for --update.
        stopwatch: runs since the planning began.
    """

    config: ClassifyConfig
    found: ScanResult
    input_sha256: str
    model: ModelFile
    finder: RunFinder
    views: Mapping[str, SlideView]
    classifier: Classifier
    thresholds: dict[str, float]
    key: dict[str, str]
    paths: OutputPaths
    journal: Journal
    earlier: EarlierRows | None
    stopwatch: Stopwatch


@contextmanager
def plan(root: Path | str, out: str | Sequence[str], config: ClassifyConfig, observer: Observer) -> Iterator[Plan]:
    """Settle everything about a run; while the context lasts, no other run can write these outputs.

    Args:
        root: folder with the slide folders, or its URL.
        out: local path of the image table, or several for several formats, or "-" for CSV on stdout.
        config: options.
        observer: told what was found and chosen.

    Raises:
        BloodcellBatchError: the run can't begin; the text says what to do.
    """
    stopwatch = Stopwatch()
    paths = output_paths(out, config.csv_dialect, _local_embeddings(config.embeddings, as_outputs(out)[0]))
    _check_they_will_do(paths, config)
    half_published = begun_publishing(paths.journal)
    check_outputs(*paths.all(), overwrite=_replaces(config) or half_published)
    model = open_model(config.model, config.require_model_sha256)
    with (
        _open_journal(paths, as_outputs(out)[0], config, model) as journal,
        closing(RunFinder(config)) as finder,
    ):
        found = _find(root, config, observer)
        stopwatch.lap("scan")
        input_sha256 = input_digest(found)
        classifier = _open_classifier(found, model, finder, config, observer)
        stopwatch.lap("load")
        try:
            require_evidence(model, observer, force=config.force)
            _tell(model, classifier, input_sha256, observer)
            thresholds = thresholds_of(config, model).by_name()
            key = run_key(model, finder.model, classifier, thresholds, config)
            check_record_is_free(paths, key, input_sha256)
            # What a run has begun to replace may be of two runs; that one's journal has every row.
            updated = config.update and not half_published
            earlier = load_earlier(paths.images, key, observer) if updated else None
            views = look_at_slides(found.root, found.files, finder, config, observer, earlier)
            if earlier is not None:
                earlier.forget_others(views)
            stopwatch.lap("look")
            settled = Plan(
                config=config,
                found=found,
                input_sha256=input_sha256,
                model=model,
                finder=finder,
                views=views,
                classifier=classifier,
                thresholds=thresholds,
                key=key,
                paths=paths,
                journal=journal,
                earlier=earlier,
                stopwatch=stopwatch,
            )
            _resume(settled, observer)
            yield settled
        finally:
            classifier.close()


def _local_embeddings(embeddings: str | None, out: str) -> str | None:
    """Where the file of embeddings is written: beside the local `out` where both are to be uploaded."""
    if embeddings is None or not is_url(embeddings):
        return embeddings
    return str(Path(out).with_name(Path(embeddings).name))


def _open_journal(
    paths: OutputPaths, out: str, config: ClassifyConfig, model: ModelFile
) -> AbstractContextManager[Journal]:
    width = 0 if paths.embeddings is None else embedding_width(model)
    return open_journal(paths.journal, out, roll_up_of(config, model).reported, width)


def _tell(model: ModelFile, classifier: Classifier, input_sha256: str, observer: Observer) -> None:
    observer.note(
        f"model {model.header.name} ({model.sha256[:12]}) on {classifier.description}",
        model_sha256=model.sha256,
        input_sha256=input_sha256,
        backend=classifier.name,
        skipped=list(classifier.skipped),
    )


def _replaces(config: ClassifyConfig) -> bool:
    return config.overwrite or config.update


def _find(root: Path | str, config: ClassifyConfig, observer: Observer) -> ScanResult:
    rule = slide_rule(config.slide_by, config.slide_regex, config.slide_manifest)
    found = scan(root, rule, include_hidden=config.include_hidden)
    _check_found(found, observer)
    for remark in (*remarks(rule, found.files), *left_out(found.ignored)):
        observer.warn(remark)
    return found if config.shard is None else share_of(found, parse_shard(config.shard))


def _check_they_will_do(paths: OutputPaths, config: ClassifyConfig) -> None:
    """Shards run at the same time: of two that named one file of embeddings, the last would replace the other's.

    Raises:
        UsageError: stdout for what needs files, or embeddings that are not named after the shard's image table.
    """
    if paths.images is not None:
        own = f"{paths.images.stem}.embeddings.parquet"
        if config.shard is not None and paths.embeddings is not None and paths.embeddings.name != own:
            hint = f"Shards must not share a file: name it after --out, {paths.embeddings.with_name(own)}"
            raise UsageError(f"--embeddings {paths.embeddings} is not named after this shard's --out.", hint=hint)
        return
    hint = "Give --out the name of a file."
    if config.shard is not None:
        raise UsageError("--shard can't write to stdout: merge needs files.", hint=hint)
    if config.engine == "ray":
        raise UsageError("--engine ray can't write to stdout: Ray writes messages there.", hint=hint)


def _open_classifier(
    found: ScanResult,
    model: ModelFile,
    finder: RunFinder,
    config: ClassifyConfig,
    observer: Observer,
) -> Classifier:
    if config.jpeg_decoder == "gpu":
        observer.warn("--jpeg-decoder gpu is experimental: damage inside a file may go unnoticed")
    finder.open()
    if config.engine == "ray":
        try:
            from bloodcell_batch.runs.ray_cluster import RayClassifier  # noqa: PLC0415 - Ray is an extra
        except ModuleNotFoundError as error:
            hint = "Install it: pip install 'bloodcell-batch[ray]'."
            raise BackendError(f"--engine ray needs the package {error.name}.", hint=hint) from error
        return RayClassifier(found.root, found.files, model, config, observer)
    opened = open_on_backend(model, config)
    for refusal in opened.choice.refused:
        observer.warn(refusal)
    return LocalClassifier(opened, found.root, config, finder)


def _resume(settled: Plan, observer: Observer) -> None:
    """Take over what an interrupted run left, as far as it holds."""
    root, journal = settled.found.root, settled.journal
    folder = root if is_url(root) else str(Path(root).resolve())
    kept = "its row and its embedding" if journal.embedding_width else "its row"
    key = settled.key | {"the folder": folder, "what is kept of each cell": kept}
    dropped = journal.resume(key, settled.found.files, marks_of(settled.views))
    if dropped:
        observer.warn(f"an interrupted run left rows that can't be used: {dropped}")
    if dropped or not journal.resumed:
        # If that run had begun to publish, what is there now is not this run's to replace.
        check_outputs(*settled.paths.all(), overwrite=_replaces(settled.config))
    if journal.resumed:
        observer.note(
            f"going on after {counted(journal.resumed, 'file')} of an interrupted run", resumed=journal.resumed
        )


def _check_found(found: ScanResult, observer: Observer) -> None:
    for folder in found.unreadable_folders:
        observer.warn(f"the folder {folder} can't be read; its images are missing from the results", folder=folder)
    if not found.files:
        seen = f"{counted(len(found.ignored), 'file')}, and no image by name" if found.ignored else "no files"
        hint = f"Give a folder with images ({', '.join(suffixes_read())}), one folder per slide."
        raise InputError(f"No images under {found.root}: {seen}.", hint=hint)
