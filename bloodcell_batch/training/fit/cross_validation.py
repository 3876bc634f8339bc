"""Cross-validation: a recipe trained again on every fold, each image tested once by a network that never saw it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from bloodcell_batch.config.problems import first_problem
from bloodcell_batch.config.recipe import TrainConfig
from bloodcell_batch.errors import ModelFileError, TrainingError
from bloodcell_batch.model.file import ModelHeader
from bloodcell_batch.progress import Observer, counted
from bloodcell_batch.training.data.labelled import LabelledImages
from bloodcell_batch.training.data.split import Split, stratified_folds, stratified_split
from bloodcell_batch.training.data.training_set import read_unsplit
from bloodcell_batch.training.evaluation.figures_text import percent
from bloodcell_batch.training.evaluation.metrics import Metrics
from bloodcell_batch.training.fit.train import fit_and_measure

_FIGURES: dict[str, Callable[[Metrics], float]] = {
    "accuracy": lambda found: found.accuracy,
    "balanced accuracy": lambda found: found.balanced_accuracy,
    "macro F1": lambda found: found.macro_f1,
    "AUROC": lambda found: found.auroc,
    "ECE": lambda found: found.ece,
    "left for review": lambda found: found.review_share,
    "accuracy of the rest": lambda found: found.selective_accuracy,
}


@dataclass(frozen=True, slots=True)
class CrossValidation:
    """Figures per fold; `names` are "1", "2", ..., or the laboratories that were left out."""

    folds: tuple[Metrics, ...]
    names: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"folds": [{"fold": name} | found.as_dict() for name, found in zip(self.names, self.folds, strict=True)]}

    def as_text(self) -> str:
        """A table with mean and standard deviation, a column per fold; no standard deviation of a single one."""
        widths = [max(9, len(name) + 2) for name in self.names]
        heads = "".join(f"{name:>{width}}" for name, width in zip(self.names, widths, strict=True))
        lines = [f"{'fold':<24}{'mean':>9}{'sd':>8}{heads}"]
        for name, figure in _FIGURES.items():
            values = np.array([figure(found) for found in self.folds])
            each = "".join(f"{percent(value):>{width}}" for value, width in zip(values, widths, strict=True))
            spread = percent(values.std(ddof=1)) if len(values) > 1 else ""
            lines.append(f"{name:<24}{percent(values.mean()):>9}{spread:>8}{each}")
        return "\n".join(lines) + "\n"


def recipe_of(header: ModelHeader) -> TrainConfig:
    """The recipe in a model file, without the weights it started from: those may have seen the test images.

    Raises:
        ModelFileError: the file carries no recipe, or one of another release.
    """
    recipe = dict(header.training.get("recipe", {}))
    for key in ("init_weights", "teachers"):
        recipe.pop(key, None)
    try:
        return TrainConfig.model_validate(recipe)
    except ValidationError as error:
        hint = "Train a model with this release first, or give a recipe of this release with --recipe."
        problem = first_problem(error, "the recipe")
        raise ModelFileError(f"The recipe of {header.name} can't be used here: {problem}.", hint=hint) from error


def fold_splits(images: LabelledImages, folds: int, validation: float, seed: int) -> Iterator[Split]:
    """Splits that test every image once; duplicates stay together, `validation` is a share of the rest.

    Raises:
        TrainingError: a class has too few images for so many folds.
    """
    everything = np.arange(len(images))
    for test in stratified_folds(images.labels, images.classes, images.groups, folds, seed):
        rest = np.setdiff1d(everything, test)
        inner = stratified_split(images.labels[rest], images.classes, images.groups[rest], validation, 0.0, seed)
        checked = np.sort(rest[np.concatenate([inner.validation, inner.test])])
        yield Split(rest[inner.train], checked, test)


def laboratory_splits(
    images: LabelledImages, validation: float, seed: int, observer: Observer
) -> Iterator[tuple[str, Split]]:
    """Splits that each test one laboratory and train on the others, with its name.

    Copies of its images at other laboratories train nothing. A laboratory without which a class would have too few
    images to train on is never left out; `observer` is told.

    Raises:
        TrainingError: no laboratory can be left out.
    """
    names = np.unique(images.laboratories)
    if len(names) < 2:
        hint = (
            "Add the column laboratory to the manifest, or give a folder per laboratory with its class folders inside."
        )
        raise TrainingError("The images are all of one laboratory: none can be left out.", hint=hint)
    tested = 0
    for name in names.tolist():
        here = images.laboratories == name
        rest = np.flatnonzero(~np.isin(images.groups, images.groups[here]))
        try:
            inner = stratified_split(
                images.labels[rest], images.classes, images.groups[rest], validation, 0.0, seed, images.parts[rest]
            )
        except TrainingError as error:
            observer.warn(f"{name} can't be left out: {error}")
            continue
        tested += 1
        checked = np.sort(rest[np.concatenate([inner.validation, inner.test])])
        yield str(name), Split(rest[inner.train], checked, np.flatnonzero(here))
    if not tested:
        hint = "At least one laboratory's classes must all be found, ten images of each, at the others."
        raise TrainingError("No laboratory can be left out.", hint=hint)


def cross_validate(config: TrainConfig, data: Path, folds: int | None, observer: Observer) -> CrossValidation:
    """Train networks by one recipe, each tested on the part of the images that it did not get.

    Duplicates stay together; the validation part of each network comes from its training images.

    Args:
        config: the recipe.
        data: see `open_source`.
        folds: number of parts; None leaves out one laboratory at a time.
        observer: told of every epoch.

    Raises:
        TrainingError: conflicting labels, a class with too few images for so many folds, or no laboratory that can be
            left out.
    """
    training_set = read_unsplit(config, data, observer)
    known = training_set.known.counts()
    if known.seen:
        told = (
            f"the initial weights have seen {known.seen:,} of the {counted(len(training_set.images), 'image')} already"
        )
        observer.warn(f"{told} ({known.why()}): the figures below are too good. Start from other weights.")
    found: dict[str, Metrics] = {}
    images, validation, seed = training_set.images, config.validation_fraction, config.seed
    splits = (
        laboratory_splits(images, validation, seed, observer)
        if folds is None
        else ((str(i), split) for i, split in enumerate(fold_splits(images, folds, validation, seed), start=1))
    )
    for name, split in splits:
        observer.note(f"fold {name}: train {len(split.train)}, test {len(split.test)} images")
        metrics = fit_and_measure(config, training_set.with_split(split), observer).metrics
        observer.note(f"fold {name}: accuracy {metrics.accuracy:.2%}, balanced {metrics.balanced_accuracy:.2%}")
        found[name] = metrics
    return CrossValidation(tuple(found.values()), tuple(found))
