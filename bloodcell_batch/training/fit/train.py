"""`train`: read, audit, split, fit, calibrate, measure, and write one model file."""

import platform
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bloodcell_batch import __version__
from bloodcell_batch.cell_classes import CLASS_NAMES
from bloodcell_batch.config.base import Effect, fields_with
from bloodcell_batch.config.recipe import TrainConfig
from bloodcell_batch.errors import ModelFileError, OutputError, TrainingError
from bloodcell_batch.files.publishing import check_new
from bloodcell_batch.images.preprocessing import Preprocessing
from bloodcell_batch.model.file import (
    NETWORK_PREFIX,
    OUTLIER_PREFIX,
    SEEN_PREFIX,
    ModelFile,
    ModelHeader,
    default_classes,
    open_model,
    save_model,
)
from bloodcell_batch.model.network import load_inference_module
from bloodcell_batch.parallel.cpus import available_cpus
from bloodcell_batch.progress import NullObserver, Observer
from bloodcell_batch.records import Rejection
from bloodcell_batch.training.data.label_audit import audit
from bloodcell_batch.training.data.labelled import LabelledImages, load_labelled
from bloodcell_batch.training.data.sources import FREE, TRAIN, VALIDATION
from bloodcell_batch.training.data.split import Split, stratified_split
from bloodcell_batch.training.evaluation.metrics import Metrics, measure
from bloodcell_batch.training.fit.calibration import Calibration, calibrate, predict
from bloodcell_batch.training.fit.fit import fit
from bloodcell_batch.training.fit.initial_weights import weights_names, weights_path
from bloodcell_batch.training.fit.lightning_module import CellClassifier
from bloodcell_batch.training.fit.run_folder import RunFolder, is_main_process

CACHE_FACTOR = 2
"""Training images are kept at this multiple of the input size, so that magnified cells stay sharp."""

_CHECKED = 64


@dataclass(frozen=True, slots=True)
class Fitted:
    """A trained and calibrated network, the test images as `classify` sees them, and its figures on them."""

    classifier: CellClassifier
    calibration: Calibration
    test: LabelledImages
    metrics: Metrics


def train(
    config: TrainConfig, data: Path, out: Path, observer: Observer | None = None
) -> tuple[ModelFile, Metrics] | None:
    """Train on the labelled images of `data` and write the model file `out`.

    A training that was interrupted at the same `out` is continued from its last whole epoch. The figures in the
    model's header come from the test part, which neither the weights nor the epoch nor the calibration saw.

    Returns:
        The model and its figures; None in the helping processes of a multi-GPU training.

    Raises:
        InputError: no labelled images, or unusable initial weights.
        TrainingError: conflicting labels, a class with too few images, a loss that is no number, or an interrupted
            training that had another recipe or other images.
        OutputError: the model file, the log or a checkpoint can't be written.
    """
    observer = observer if observer is not None and is_main_process() else NullObserver()
    preprocessing = Preprocessing(input_size=config.input_size)
    images, rejected = read_for_training(config, data, observer)
    images, findings = audit(images, rejected, config.conflicts, observer)
    earlier = _seen_before(config)
    images = _respect(earlier, images, observer)
    fractions = (config.validation_fraction, config.test_fraction)
    split = stratified_split(images.labels, images.groups, *fractions, config.seed, images.parts)
    sizes = {"train": len(split.train), "validation": len(split.validation), "test": len(split.test)}
    observer.note("; ".join(f"{part} {size} images" for part, size in sizes.items()), **sizes)
    _warn_of_known(earlier, images, split, observer)

    folder = RunFolder(out)
    if folder.unfinished:
        folder.check_same(config, images.digests, images.labels)
        observer.note(f"continuing the training in {folder.path}")
    elif is_main_process():
        folder.begin(config, images.digests, images.labels)
        folder.write_json("audit.json", findings.as_dict())
    fitted = fit_split(config, data, images, split, observer, folder)
    if not is_main_process():
        return None
    header = _header(config, preprocessing, fitted, images, sizes)
    tensors = _tensors(fitted)
    for part, index in (("train", split.train), ("validation", split.validation)):
        tensors[SEEN_PREFIX + part] = np.union1d(images.digests[index], earlier[part])
    model = save_model(out, header, tensors)
    _check_saved(model, fitted)
    folder.end()
    return model, fitted.metrics


def fit_split(
    config: TrainConfig,
    data: Path,
    images: LabelledImages,
    split: Split,
    observer: Observer,
    folder: RunFolder | None = None,
) -> Fitted:
    """Fit on one part, calibrate on the second, measure on the third.

    Args:
        config: the recipe.
        data: source of the images.
        images: decoded at `CACHE_FACTOR` times the input size.
        split: parts of `images`.
        observer: told of every epoch.
        folder: for log and checkpoints.
    """
    preprocessing = Preprocessing(input_size=config.input_size)
    classifier = fit(config, preprocessing, images, split, observer, folder)
    network = classifier.network
    network.load_state_dict(classifier.best_state)
    network.eval()
    validation, test = (
        _as_classified(data, images, index, config, preprocessing) for index in (split.validation, split.test)
    )
    observer.note("calibrating on the validation part")
    calibration = calibrate(network, images.take(split.train), validation, preprocessing, config)
    metrics = measure(*calibration.predict(test.pixels), test.labels, calibration.rules)
    return Fitted(classifier, calibration, test, metrics)


def read_for_training(
    config: TrainConfig, data: Path, observer: Observer
) -> tuple[LabelledImages, tuple[Rejection, ...]]:
    """The images of `data` at `CACHE_FACTOR` times the input size."""
    preprocessing = Preprocessing(input_size=CACHE_FACTOR * config.input_size)
    return load_labelled(data, preprocessing, _workers(config), observer, cache=config.cache)


def check_model_path(out: Path, *, overwrite: bool, resume: bool) -> None:
    """Fail before the training begins, not after it. With `overwrite`, an interrupted training is forgotten.

    Raises:
        OutputError: wrong suffix, no such folder, no write access, the file exists and `overwrite` is off, or an
            interrupted training lies there and neither `overwrite` nor `resume` says what to do with it.
    """
    check_new(out, overwrite=overwrite, suffix=".safetensors")
    folder = RunFolder(out)
    if not folder.unfinished or resume:
        return
    if not overwrite:
        hint = "Add --resume to continue it, or --overwrite to start anew."
        raise OutputError(f"An interrupted training lies in {folder.path}.", hint=hint)
    folder.end()


def _seen_before(config: TrainConfig) -> dict[str, NDArray[np.uint64]]:
    """Digests of the images that the initial weights were trained and calibrated on, as far as they are known."""
    nothing = np.empty(0, dtype=np.uint64)
    seen = {"train": nothing, "validation": nothing}
    for path in config.init_weights:
        try:
            known = open_model(weights_path(path)).load_tensors(SEEN_PREFIX)
        except ModelFileError:
            continue  # bare weights carry no such list; `read_weights` says whether they can be read at all
        seen = {part: np.union1d(digests, known.get(part, nothing)) for part, digests in seen.items()}
    return seen


def _respect(earlier: dict[str, NDArray[np.uint64]], images: LabelledImages, observer: Observer) -> LabelledImages:
    """Keep images that the initial weights know out of the parts that must be new to them."""
    parts = images.parts.copy()
    for part, code in (("validation", VALIDATION), ("train", TRAIN)):
        known = np.isin(images.groups, images.groups[np.isin(images.digests, earlier[part])])
        parts[known & (parts == FREE)] = code
    taken = int((parts != images.parts).sum())
    if taken:
        observer.note(f"{taken} images are known to the initial weights and stay in the parts that they had")
    return replace(images, parts=parts)


def _warn_of_known(
    earlier: dict[str, NDArray[np.uint64]], images: LabelledImages, split: Split, observer: Observer
) -> None:
    seen = np.concatenate([earlier["train"], earlier["validation"]])
    known = int(np.isin(images.digests[split.test], seen).sum())
    if known:
        observer.warn(
            f"{known} of the {len(split.test)} test images were already seen by the initial weights: the figures below "
            "are too good. Add images that the model has never seen."
        )


def _as_classified(
    data: Path, images: LabelledImages, index: NDArray[np.int64], config: TrainConfig, preprocessing: Preprocessing
) -> LabelledImages:
    """The images at `index` decoded again straight to the network's size, exactly as `classify` does it."""
    wanted = images.take(index)
    # A cache is shared by the next training, which may test other images.
    only = None if config.cache else frozenset(wanted.paths)
    fresh, _ = load_labelled(data, preprocessing, _workers(config), NullObserver(), only=only, cache=config.cache)
    order = {path: i for i, path in enumerate(fresh.paths)}
    return fresh.take(np.array([order[path] for path in wanted.paths], dtype=np.int64))


def _workers(config: TrainConfig) -> int:
    return available_cpus() if config.workers is None else config.workers


def _tensors(fitted: Fitted) -> dict[str, NDArray[Any]]:
    state = fitted.classifier.network.state_dict()
    weights = {NETWORK_PREFIX + name: value.numpy() for name, value in state.items()}
    return weights | {OUTLIER_PREFIX + name: value for name, value in fitted.calibration.outlier.tensors().items()}


def _check_saved(model: ModelFile, fitted: Fitted) -> None:
    """Make sure that what was written predicts what was measured.

    Raises:
        TrainingError: it does not; the file is removed.
    """
    some = fitted.test.pixels[:_CHECKED]
    written, _ = predict(load_inference_module(model), some)
    if not np.allclose(written, fitted.calibration.predict(some)[0], atol=1e-4):
        model.path.unlink()
        hint = "This is a bug; please report it with the recipe."
        raise TrainingError("The written model predicts something else than the trained one.", hint=hint)


def _header(
    config: TrainConfig,
    preprocessing: Preprocessing,
    fitted: Fitted,
    images: LabelledImages,
    sizes: dict[str, int],
) -> ModelHeader:
    classifier, calibration = fitted.classifier, fitted.calibration
    counts = np.bincount(images.labels, minlength=len(CLASS_NAMES)).tolist()
    recipe = config.model_dump(mode="json", exclude=fields_with(TrainConfig, Effect.MACHINE))
    # Names only: a path tells about the machine, and means nothing on another.
    recipe["init_weights"] = weights_names(config.init_weights)
    recipe["teachers"] = weights_names(config.teachers)
    training = {
        "date": datetime.now(UTC).date().isoformat(),
        "images": dict(zip(CLASS_NAMES, counts, strict=True)),
        "split": sizes,
        "best_epoch": classifier.best_epoch,
        "best_validation_score": classifier.best_score,
        "recipe": recipe,
        "software": {
            "bloodcell-batch": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }
    return ModelHeader(
        name=config.name,
        architecture=config.architecture,
        classes=default_classes(),
        preprocessing=preprocessing,
        temperature=calibration.temperature,
        review_threshold=calibration.rules.review_threshold,
        outlier=calibration.rule,
        training=training,
        metrics=fitted.metrics.as_dict(),
        licence=config.licence,
        attribution=config.attribution,
    )
