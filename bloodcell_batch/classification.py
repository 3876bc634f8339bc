"""From image files to outcomes: decode, dedup, infer, interpret. The same on every machine that takes part in a run."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from bloodcell_batch.backends.contract import Backend
from bloodcell_batch.backends.ladder import Choice
from bloodcell_batch.config import ClassifyConfig
from bloodcell_batch.cpus import available_cpus
from bloodcell_batch.model_file import ModelFile
from bloodcell_batch.outlier import load_outlier_score
from bloodcell_batch.preprocessing import DecodeLimits, decode_rgb
from bloodcell_batch.records import ImageFile, Outcome
from bloodcell_batch.stages.decode import Decoder, RgbDecoder, decode_ahead, make_decoder
from bloodcell_batch.stages.dedup import DuplicateFilter
from bloodcell_batch.stages.infer import infer
from bloodcell_batch.stages.interpret import Thresholds, interpret

_MAX_WINDOW_AHEAD = 1024


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

    def classify(self, files: Sequence[ImageFile]) -> Iterator[Outcome]:
        """The outcome of every file, in order; `files` are whole slides."""

    def close(self) -> None:
        """Release what it holds; closing twice is allowed."""


@dataclass(frozen=True, slots=True)
class LocalClassifier:
    """Classifies in this process, on the backend of `choice`."""

    choice: Choice
    root: str
    model: ModelFile
    config: ClassifyConfig

    @property
    def name(self) -> str:
        """See `Classifier`."""
        return self.choice.name

    @property
    def description(self) -> str:
        """See `Classifier`."""
        return self.choice.backend.description

    @property
    def skipped(self) -> tuple[str, ...]:
        """See `Classifier`."""
        return self.choice.skipped

    def classify(self, files: Sequence[ImageFile]) -> Iterator[Outcome]:
        """See `Classifier`."""
        return classify_files(files, self.root, self.model, self.choice.backend, self.config)

    def close(self) -> None:
        """See `Classifier`."""
        self.choice.backend.close()


def classify_files(
    files: Iterable[ImageFile], root: str, model: ModelFile, backend: Backend, config: ClassifyConfig
) -> Iterator[Outcome]:
    """The outcome of every file, in order; whole slides, as duplicates are looked for within each.

    A row's numbers depend on its image, the model, the backend and the batch size, not on the files beside it.
    """
    workers = available_cpus() if config.workers is None else config.workers
    window = config.batch_size + min(config.batch_size, _MAX_WINDOW_AHEAD) + workers
    unique = DuplicateFilter(config.dedup, config.dedup_distance)
    decoded = decode_ahead(files, _decoder(root, model, config), workers, window)
    predicted = infer(unique(decoded), backend, load_outlier_score(model), config.batch_size)
    return interpret(predicted, thresholds_of(config, model))


def thresholds_of(config: ClassifyConfig, model: ModelFile) -> Thresholds:
    """The thresholds of a run: those that were given, else the model's own."""
    header = model.header
    return Thresholds(
        confidence=header.review_threshold if config.min_confidence is None else config.min_confidence,
        outlier=header.outlier.threshold if config.outlier_threshold is None else config.outlier_threshold,
    )


def _decoder(root: str, model: ModelFile, config: ClassifyConfig) -> Decoder:
    limits = DecodeLimits(max_pixels=round(config.max_megapixels * 1e6))
    return make_decoder(root, model.header.preprocessing, limits, _rgb_decoder(config))


def _rgb_decoder(config: ClassifyConfig) -> RgbDecoder:
    if config.jpeg_decoder == "cpu":
        return decode_rgb
    from bloodcell_batch.gpu_jpeg import gpu_rgb_decoder  # noqa: PLC0415 - imports torch

    return gpu_rgb_decoder()
