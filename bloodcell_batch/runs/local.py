"""From image files to outcomes: decode, find, dedup, infer, interpret, overlap; the same on every machine of a run."""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice
from typing import Protocol

from threadpoolctl import threadpool_limits

from bloodcell_batch.backends.contract import BackendOptions
from bloodcell_batch.backends.selection import Choice, open_backend
from bloodcell_batch.cell_classes import RollUp, rolled_up
from bloodcell_batch.config.classify import ClassifyConfig
from bloodcell_batch.fields.vote import SlideView
from bloodcell_batch.files.storage import open_fetch
from bloodcell_batch.images.decoding import decode_rgb
from bloodcell_batch.images.guards import DecodeLimits
from bloodcell_batch.model.file import ModelFile
from bloodcell_batch.model.outlier_score import OutlierScore, load_outlier_score
from bloodcell_batch.parallel.cpus import available_cpus
from bloodcell_batch.records import ImageFile, KnownImage, LoadedImage, Outcome, Rejection
from bloodcell_batch.results.journal import Journal
from bloodcell_batch.results.record_entries import BackendEntry
from bloodcell_batch.results.stored_rows import as_known
from bloodcell_batch.runs.finder import RunFinder
from bloodcell_batch.stages.decode import (
    Finding,
    RgbDecoder,
    as_decoder,
    decode_ahead,
    described,
    make_loader,
    read_file,
)
from bloodcell_batch.stages.dedup import DuplicateFilter
from bloodcell_batch.stages.find import cells_of, finding
from bloodcell_batch.stages.infer import infer
from bloodcell_batch.stages.interpret import Thresholds, interpret
from bloodcell_batch.stages.overlap import once_each
from bloodcell_batch.stages.recall import EarlierRows, recall, unless_unchanged

_MAX_WINDOW_AHEAD = 1024

Outcomes = Generator[Outcome, None, None]
"""When it is closed, the backend is at rest."""


class Classifier(Protocol):
    """Classifies the images of a run, wherever."""

    @property
    def name(self) -> str:
        """Of the backend, as on the command line."""

    @property
    def description(self) -> str:
        """Runtime, device and precision."""

    @property
    def skipped(self) -> tuple[str, ...]:
        """Why each better backend is not used."""

    @property
    def finder_backend(self) -> BackendEntry:
        """What runs the finder; rows depend on its description."""

    def classify(
        self,
        files: Sequence[ImageFile],
        journal: Journal,
        earlier: EarlierRows | None,
        views: Mapping[str, SlideView],
    ) -> Outcomes:
        """The outcome of every file, in order; `files` are whole slides, whose images are what `views` says.

        Those that the journal has are taken from there, and unchanged ones from `earlier`.
        """

    def close(self) -> None:
        """Release what it holds; closing twice is allowed."""


@dataclass(frozen=True, slots=True)
class OpenedModel:
    """A model on its backend, with all that rows are computed from; opened once in each process that classifies."""

    model: ModelFile
    choice: Choice
    outlier_score: OutlierScore
    roll_up: RollUp


def open_on_backend(model: ModelFile, config: ClassifyConfig, threads: int | None = None) -> OpenedModel:
    """Open the backend that `config` asks for; it may use `threads`, all that there are if None.

    Raises:
        UsageError, BackendError, ModelFileError: it can't run here, or the model file is damaged.
    """
    options = BackendOptions(config.precision, config.batch_size, config.plan, views=config.views, threads=threads)
    outlier_score = load_outlier_score(model)
    choice = open_backend(model, config.backend, options)
    return OpenedModel(model, choice, outlier_score, roll_up_of(config, model))


@dataclass(frozen=True, slots=True)
class LocalClassifier:
    """Classifies in this process the files under `root`, with a model that was opened for the run."""

    opened: OpenedModel
    root: str
    config: ClassifyConfig
    finder: RunFinder

    @property
    def name(self) -> str:
        """See `Classifier`."""
        return self.opened.choice.name

    @property
    def description(self) -> str:
        """See `Classifier`."""
        return self.opened.choice.backend.description

    @property
    def skipped(self) -> tuple[str, ...]:
        """See `Classifier`."""
        return self.opened.choice.skipped

    @property
    def finder_backend(self) -> BackendEntry:
        """See `Classifier`."""
        return self.finder.backend

    def classify(
        self,
        files: Sequence[ImageFile],
        journal: Journal,
        earlier: EarlierRows | None,
        views: Mapping[str, SlideView],
    ) -> Outcomes:
        """See `Classifier`."""
        known = (as_known(rows, rows[0].file) for rows in journal.outcomes(files))
        rest = islice(files, journal.resumed, None)
        find = finding(views, self.finder.look, self.finder.check, self.opened.model.header.preprocessing)
        return classify_files(rest, self.root, self.opened, self.config, find, known, earlier)

    def close(self) -> None:
        """See `Classifier`."""
        self.opened.choice.backend.close()


def classify_files(
    files: Iterable[ImageFile],
    root: str,
    opened: OpenedModel,
    config: ClassifyConfig,
    find: Finding | None = None,
    known: Iterable[KnownImage | Rejection] = (),
    earlier: EarlierRows | None = None,
) -> Outcomes:
    """The outcome of every file, in order; whole slides, as duplicates are looked for within each.

    A row's numbers depend on its image, the model, the backend and the batch size, not on the files beside it.

    Args:
        files: image files under `root`, a folder or a URL.
        root: see there.
        opened: the model on its backend.
        config: options.
        find: what each image shows; a single cell if None.
        known: what is known of the files before them.
        earlier: what is known of some of them, if they have not changed.
    """
    workers = available_cpus() if config.workers is None else config.workers
    window = config.batch_size + min(config.batch_size, _MAX_WINDOW_AHEAD) + workers
    preprocessing = opened.model.header.preprocessing
    unique = DuplicateFilter(config.dedup, config.dedup_distance, 3 * preprocessing.input_size**2)
    limits = DecodeLimits(max_pixels=round(config.max_megapixels * 1e6))
    load = make_loader(root, preprocessing, limits, _rgb_decoder(config), find)
    either: Callable[[ImageFile], LoadedImage | KnownImage | Rejection] = load
    if earlier is not None:
        fetch = open_fetch(root)
        files = earlier.passing(files)
        either = unless_unchanged(load, lambda file: read_file(fetch, file, limits), earlier)
    decoded = described(decode_ahead(files, either, workers, window, config.file_timeout))
    fresh = cells_of(recall(unique(chain(known, decoded)), as_decoder(load)))
    predicted = infer(
        fresh,
        opened.choice.backend,
        opened.outlier_score,
        opened.roll_up,
        config.batch_size,
        embeddings=config.embeddings is not None,
    )
    # The small matrix products of hash and outlier score gain nothing from threads of their own, which would only get
    # in the way of those that decode: a tenth of the whole run.
    with threadpool_limits(limits=1, user_api="blas"), closing(predicted):
        decided = interpret(predicted, thresholds_of(config, opened.model), opened.roll_up.reported)
        yield from once_each(decided) if config.dedup == "near" else decided


def roll_up_of(config: ClassifyConfig, model: ModelFile) -> RollUp:
    """How the model's outputs become the classes of a run with these options."""
    return rolled_up(model.header.class_list, subclasses=config.subclasses)


def thresholds_of(config: ClassifyConfig, model: ModelFile) -> Thresholds:
    """The thresholds of a run: those that were given, else the model's own."""
    header = model.header
    return Thresholds(
        confidence=header.review_threshold if config.min_confidence is None else config.min_confidence,
        outlier=header.outlier.threshold if config.outlier_threshold is None else config.outlier_threshold,
    )


def _rgb_decoder(config: ClassifyConfig) -> RgbDecoder:
    if config.jpeg_decoder == "cpu":
        return decode_rgb
    from bloodcell_batch.images.gpu_jpeg import gpu_rgb_decoder  # noqa: PLC0415 - imports torch

    return gpu_rgb_decoder()
