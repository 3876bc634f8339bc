"""One row of a comparison: a system trained on the common split, and everything that is measured of it."""

import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from bloodcell_batch.backends.contract import Backend
from bloodcell_batch.backends.selection import open_backend
from bloodcell_batch.cell_classes import ClassList
from bloodcell_batch.config.comparison import ClassicalConfig, CompareConfig
from bloodcell_batch.config.recipe import TrainConfig
from bloodcell_batch.errors import TrainingError
from bloodcell_batch.images.preprocessing import Preprocessing
from bloodcell_batch.model.file import NETWORK_PREFIX, open_model
from bloodcell_batch.model.outlier_score import load_outlier_score
from bloodcell_batch.parallel.cpus import available_cpus
from bloodcell_batch.progress import NullObserver, Observer, counted
from bloodcell_batch.training.comparison.classical import fit_classical
from bloodcell_batch.training.comparison.systems import System
from bloodcell_batch.training.comparison.working_time import WorkingTime
from bloodcell_batch.training.data.label_audit import audit
from bloodcell_batch.training.data.labelled import LabelledImages, load_labelled
from bloodcell_batch.training.data.split import Split, split_of
from bloodcell_batch.training.data.training_set import seen_by_initial_weights, split_around
from bloodcell_batch.training.evaluation.metrics import Metrics, Rules, measure, without_nan
from bloodcell_batch.training.fit.cross_validation import cross_validate, fold_splits
from bloodcell_batch.training.fit.run_folder import RunFolder
from bloodcell_batch.training.fit.train import train

FINISHED, FAILED, NOT_RUN = "finished", "failed", "not run"
_BATCH = 256


@dataclass(frozen=True, slots=True)
class Row:
    """Figures of one system; shares in 0-1, None where there is nothing to say.

    `precision`, `recall` and `f1` are means over the classes; `images_per_second` is of the test images in memory,
    through the backend for networks, features included for classical ones; `training_s` counts every run of an
    interrupted training, decoding and calibration included; `confusion` has true classes as rows,
    both in the order of `classes`.
    """

    name: str
    status: str
    reason: str = ""
    kind: str = ""
    architecture: str = ""
    input_size: int | None = None
    epochs: int | None = None
    images_train: int | None = None
    images_validation: int | None = None
    images_test: int | None = None
    accuracy: float | None = None
    balanced_accuracy: float | None = None
    precision: float | None = None
    recall: float | None = None
    f1: float | None = None
    auroc: float | None = None
    ece: float | None = None
    parameters: int | None = None
    size_bytes: int | None = None
    training_s: float | None = None
    images_per_second: float | None = None
    backend: str = ""
    peak_memory_bytes: int | None = None
    folds_accuracy: float | None = None
    folds_sd: float | None = None
    seed: int = 0
    classes: tuple[str, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The row that `as_dict` gave."""
        known = {field.name for field in fields(cls)}
        row = {key: value for key, value in values.items() if key in known}
        confusion = tuple(tuple(line) for line in row["confusion"])
        return cls(**row | {"confusion": confusion, "classes": tuple(row.get("classes", ()))})

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values: dict[str, Any] = without_nan(asdict(self))
        return values


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row is made: the images, the model file, the working time, the cache of decoded images."""

    data: Path
    model: Path
    clock: Path
    cache: Path


def blank(name: str, system: System, options: CompareConfig, status: str, reason: str = "") -> Row:
    """What is known of a system without running it."""
    if isinstance(system, TrainConfig):
        kind, architecture, epochs = "network", system.architecture, system.epochs
    else:
        kind, architecture, epochs = "classical", f"{'+'.join(system.features)} {system.classifier}", None
    return Row(name, status, reason, kind, architecture, system.input_size, epochs, seed=options.seed)


def run_system(name: str, system: System, place: Place, options: CompareConfig, observer: Observer) -> Row:
    """Train and measure one system.

    Raises:
        TrainingError: the data or the recipe can't give a model, or its weights know images of the test part.
        BackendError: the backend can't run the network.
    """
    clock = WorkingTime(observer, place.clock)
    row = blank(name, system, options, FINISHED)
    row = (
        _network(row, system, place, options, clock)
        if isinstance(system, TrainConfig)
        else _classical(row, system, place, options, clock)
    )
    if options.folds:
        accuracy = _fold_accuracies(system, place, options, observer)
        row = replace(row, folds_accuracy=float(np.mean(accuracy)), folds_sd=float(np.std(accuracy, ddof=1)))
    return replace(row, peak_memory_bytes=peak_memory())


def _network(row: Row, config: TrainConfig, place: Place, options: CompareConfig, clock: WorkingTime) -> Row:
    config = config.model_copy(update={"cache": place.cache})
    images, split = _images(place, config.input_size, options)
    _check_split(config, images, split)
    if not place.model.exists() or RunFolder(place.model).unfinished:
        train(config, place.data, place.model, clock)
    seconds = clock.stop()
    model = open_model(place.model)
    test = images.take(split.test)
    choice = open_backend(model, options.backend)
    try:
        probabilities, features, rate = _timed(choice.backend, test.pixels)
    finally:
        choice.backend.close()
    rules = Rules(model.header.review_threshold, model.header.outlier.threshold)
    metrics = measure(probabilities, load_outlier_score(model)(features), test.labels, test.classes, rules)
    tensors = model.load_tensors(NETWORK_PREFIX)
    return replace(
        _with_figures(row, metrics, split, test.classes),
        parameters=sum(int(tensor.size) for tensor in tensors.values() if tensor.dtype.kind == "f"),
        size_bytes=place.model.stat().st_size,
        training_s=seconds,
        images_per_second=rate,
        backend=choice.backend.description,
    )


def _classical(row: Row, config: ClassicalConfig, place: Place, options: CompareConfig, clock: WorkingTime) -> Row:
    images, split = _images(place, config.input_size, options)
    clock.note(f"fitting {config.classifier} on {len(split.train)} images")
    model = fit_classical(config, images.take(split.train), images.take(split.validation))
    seconds = clock.stop()
    test = images.take(split.test)
    start = time.perf_counter()
    probabilities = model.predict(test.pixels)
    rate = len(test) / (time.perf_counter() - start)
    scores = np.zeros(len(test), dtype=np.float32)
    metrics = measure(probabilities, scores, test.labels, test.classes, model.rules)
    return replace(
        _with_figures(row, metrics, split, test.classes),
        size_bytes=model.size_bytes,
        training_s=seconds,
        images_per_second=rate,
        backend="scikit-learn",
    )


def _with_figures(row: Row, metrics: Metrics, split: Split, classes: ClassList) -> Row:
    places = [classes.names.index(name) for name in classes.reading_order]
    return replace(
        row,
        images_train=len(split.train),
        images_validation=len(split.validation),
        images_test=len(split.test),
        accuracy=metrics.accuracy,
        balanced_accuracy=metrics.balanced_accuracy,
        precision=float(np.nanmean([figures.precision for figures in metrics.per_class.values()])),
        recall=metrics.balanced_accuracy,
        f1=metrics.macro_f1,
        auroc=metrics.auroc,
        ece=metrics.ece,
        classes=classes.reading_order,
        confusion=tuple(tuple(metrics.confusion[row][column] for column in places) for row in places),
    )


def _images(place: Place, side: int, options: CompareConfig) -> tuple[LabelledImages, Split]:
    """The images at a size, and the split that `train` makes of them, too."""
    workers = available_cpus() if options.workers is None else options.workers
    found = load_labelled(place.data, Preprocessing(input_size=side), workers, NullObserver(), cache=place.cache)
    images, _ = audit(*found, options.conflicts, NullObserver())
    fractions = (options.validation_fraction, options.test_fraction)
    return images, split_of(images, images.parts, *fractions, options.seed)


def _check_split(config: TrainConfig, images: LabelledImages, split: Split) -> None:
    """The rows of a table must be of the same test images, which no system has seen.

    Raises:
        TrainingError: the initial weights know some of them, or so many others that `train` would need some of them.
    """
    known = seen_by_initial_weights(config, NullObserver()).recognise(images.digests, images.hashes)
    hint = "Start from weights that have seen none of these images, or leave this system out."
    tested = known.counts(split.test)
    if tested.seen:
        told = f"The initial weights know {tested.seen:,} of the comparison's {counted(len(split.test), 'test image')}"
        raise TrainingError(f"{told}: {tested.why()}.", hint=hint)
    _, own = split_around(known, images, config)
    lost = len(np.setdiff1d(split.test, own.test))
    if lost:
        counts = known.counts()
        told = f"The initial weights know {counted(counts.seen, 'image')} of other parts ({counts.why()})"
        raise TrainingError(f"{told}: {lost:,} of the comparison's test images would be trained on.", hint=hint)


def _timed(backend: Backend, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
    """Probabilities, features, and images per second after one batch to warm up."""
    backend.infer(pixels[:_BATCH])
    start = time.perf_counter()
    parts = [backend.infer(pixels[first : first + _BATCH]) for first in range(0, len(pixels), _BATCH)]
    rate = len(pixels) / (time.perf_counter() - start)
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts]), rate


def _fold_accuracies(system: System, place: Place, options: CompareConfig, observer: Observer) -> list[float]:
    if isinstance(system, TrainConfig):
        found = cross_validate(system.model_copy(update={"cache": place.cache}), place.data, options.folds, observer)
        return [metrics.accuracy for metrics in found.folds]
    return list(_classical_folds(system, place, options))


def _classical_folds(config: ClassicalConfig, place: Place, options: CompareConfig) -> Iterator[float]:
    images, _ = _images(place, config.input_size, options)
    for split in fold_splits(images, options.folds, options.validation_fraction, options.seed):
        model = fit_classical(config, images.take(split.train), images.take(split.validation))
        guess = model.predict(images.pixels[split.test]).argmax(axis=1)
        yield float((guess == images.labels[split.test]).mean())


def peak_memory() -> int | None:
    """Most memory that this process has had so far, in bytes: that of the GPU if it used one; None where unknown."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated()
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ModuleNotFoundError:
        return None
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024
