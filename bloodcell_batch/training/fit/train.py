"""`train`: read, audit, split, fit, calibrate, measure, and write one model file."""

import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bloodcell_batch import __version__
from bloodcell_batch.config.base import Effect, fields_with
from bloodcell_batch.config.recipe import TrainConfig
from bloodcell_batch.errors import OutputError, TrainingError
from bloodcell_batch.files.publishing import check_new
from bloodcell_batch.images.preprocessing import Preprocessing
from bloodcell_batch.model.evidence import doubt
from bloodcell_batch.model.file import (
    NETWORK_PREFIX,
    OUTLIER_PREFIX,
    SEEN_PREFIX,
    ModelFile,
    ModelHeader,
    class_entries,
    save_model,
)
from bloodcell_batch.model.network import load_inference_module
from bloodcell_batch.progress import NullObserver, Observer, counted
from bloodcell_batch.training.data.labelled import LabelledImages
from bloodcell_batch.training.data.training_set import TrainingSet, read_training_set
from bloodcell_batch.training.evaluation.metrics import Metrics, measure
from bloodcell_batch.training.fit.batches import of_classes
from bloodcell_batch.training.fit.calibration import Calibration, calibrate, multiply_odds, predict
from bloodcell_batch.training.fit.fit import fit
from bloodcell_batch.training.fit.initial_weights import weights_names
from bloodcell_batch.training.fit.lightning_module import CellClassifier
from bloodcell_batch.training.fit.run_folder import RunFolder, is_main_process

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
        TrainingError: conflicting labels, a class with too few images, a loss that is not a number, or an interrupted
            training that had another recipe or other images.
        OutputError: the model file, the log or a checkpoint can't be written.
    """
    observer = observer if observer is not None and is_main_process() else NullObserver()
    training_set = read_training_set(config, data, observer)
    sizes, images = training_set.sizes, training_set.images
    observer.note("; ".join(f"{part} {size} images" for part, size in sizes.items()), **sizes)
    _warn_of_seen(training_set, observer)

    folder = RunFolder(out)
    if folder.unfinished:
        folder.check_same(config, images)
        observer.note(f"continuing the training in {folder.path}")
    elif is_main_process():
        folder.begin(config, images)
        known = {"known_to_initial_weights": training_set.known.counts().as_dict()}
        folder.write_json("audit.json", training_set.findings.as_dict() | known)
    fitted = fit_and_measure(config, training_set, observer, folder)
    if not is_main_process():
        return None
    tensors = _tensors(fitted)
    tensors |= {SEEN_PREFIX + name: value for name, value in training_set.seen_with_this().tensors().items()}
    model = save_model(out, _header(config, fitted, training_set), tensors)
    _check_saved(model, fitted)
    if why := doubt(model.header):
        observer.warn(f"the model {why}: `bloodcell-batch classify` refuses it without --force")
    folder.end()
    return model, fitted.metrics


def fit_and_measure(
    config: TrainConfig, training_set: TrainingSet, observer: Observer, folder: RunFolder | None = None
) -> Fitted:
    """Fit on the training part, calibrate on the validation part, measure on the test part.

    Args:
        config: the recipe.
        training_set: images and parts.
        observer: told of every epoch.
        folder: for log and checkpoints.
    """
    images, split = training_set.images, training_set.split
    preprocessing = Preprocessing(input_size=config.input_size)
    classifier = fit(config, training_set, observer, folder)
    network = classifier.network
    network.load_state_dict(classifier.best_state)
    if config.class_odds:
        multiply_odds(network, of_classes("class_odds", config.class_odds, images.classes))
    network.eval()
    validation, test = (training_set.as_classified(index) for index in (split.validation, split.test))
    observer.note("calibrating on the validation part")
    calibration = calibrate(network, images.take(split.train), validation, preprocessing, config)
    roll_up = calibration.roll_up
    truth = np.array(roll_up.target)[test.labels]
    metrics = measure(*calibration.predict(test.pixels), truth, roll_up.reported, calibration.rules)
    return Fitted(classifier, calibration, test, metrics)


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
        hint = "Add --resume to continue it, or --overwrite to start over."
        raise OutputError(f"An interrupted training lies in {folder.path}.", hint=hint)
    folder.end()


def _warn_of_seen(training_set: TrainingSet, observer: Observer) -> None:
    counts = training_set.tested_but_seen()
    if counts.seen:
        tested = counted(training_set.sizes["test"], "test image")
        observer.warn(
            f"the initial weights have seen {counts.seen:,} of the {tested} already ({counts.why()}): the "
            "figures below are too good. Add images that the model has never seen."
        )


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
    written = predict(load_inference_module(model), some)[0]
    if not np.allclose(written, predict(fitted.calibration.module, some)[0], atol=1e-4):
        model.path.unlink()
        hint = "This is a bug; please report it with the recipe."
        raise TrainingError("The written model predicts something else than the trained one.", hint=hint)


def _laboratories(training_set: TrainingSet) -> dict[str, dict[str, int]]:
    """Images of each laboratory that the data name, in all and in the test part."""
    sites, test = training_set.images.laboratories, training_set.split.test
    return {
        str(name): {"images": int((sites == name).sum()), "test": int((sites[test] == name).sum())}
        for name in np.unique(sites)
        if name
    }


def _header(config: TrainConfig, fitted: Fitted, training_set: TrainingSet) -> ModelHeader:
    classifier, calibration = fitted.classifier, fitted.calibration
    counts = np.bincount(training_set.images.labels, minlength=len(training_set.images.classes)).tolist()
    recipe = config.model_dump(mode="json", exclude=fields_with(TrainConfig, Effect.MACHINE))
    # Names only: a path tells about the machine, and means nothing on another.
    recipe["init_weights"] = weights_names(config.init_weights)
    recipe["teachers"] = weights_names(config.teachers)
    training = {
        "date": datetime.now(UTC).date().isoformat(),
        "labels": training_set.labels,
        "images": dict(zip(training_set.images.classes.names, counts, strict=True)),
        "laboratories": _laboratories(training_set),
        "split": training_set.sizes,
        "known_to_initial_weights": training_set.known.counts().as_dict(),
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
        classes=class_entries(training_set.images.classes),
        preprocessing=Preprocessing(input_size=config.input_size),
        temperature=calibration.temperature,
        review_threshold=calibration.rules.review_threshold,
        second_look=calibration.second_look,
        outlier=calibration.rule,
        training=training,
        metrics=fitted.metrics.as_dict(),
        licence=config.licence,
        attribution=config.attribution,
    )
