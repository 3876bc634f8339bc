"""Cross-validation: a recipe trained again on every fold, each image tested once by a network that never saw it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from bloodcell_batch.config.problems import first_problem
from bloodcell_batch.config.recipe import TrainConfig
from bloodcell_batch.errors import ModelFileError
from bloodcell_batch.model.file import ModelHeader
from bloodcell_batch.progress import Observer
from bloodcell_batch.training.data.labelled import LabelledImages
from bloodcell_batch.training.data.split import Split, stratified_folds, stratified_split
from bloodcell_batch.training.data.training_set import read_unsplit
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
    """Figures per fold."""

    folds: tuple[Metrics, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"folds": [found.as_dict() for found in self.folds]}

    def as_text(self) -> str:
        """A table with mean and standard deviation, a column per fold."""
        count = len(self.folds)
        lines = [f"{'fold':<24}{'mean':>9}{'sd':>8}" + "".join(f"{i + 1:>9}" for i in range(count))]
        for name, figure in _FIGURES.items():
            values = np.array([figure(found) for found in self.folds])
            each = "".join(f"{value:>9.2%}" for value in values)
            lines.append(f"{name:<24}{values.mean():>9.2%}{values.std(ddof=1):>8.2%}{each}")
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
    for test in stratified_folds(images.labels, images.groups, folds, seed):
        rest = np.setdiff1d(everything, test)
        inner = stratified_split(images.labels[rest], images.groups[rest], validation, 0.0, seed)
        checked = np.sort(rest[np.concatenate([inner.validation, inner.test])])
        yield Split(rest[inner.train], checked, test)


def cross_validate(config: TrainConfig, data: Path, folds: int, observer: Observer) -> CrossValidation:
    """Train `folds` networks by one recipe, each tested on the part of the images that it did not get.

    Duplicates stay together; the validation part of each network comes from its training images.

    Raises:
        TrainingError: conflicting labels, or a class with too few images for so many folds.
    """
    training_set = read_unsplit(config, data, observer)
    found = []
    splits = fold_splits(training_set.images, folds, config.validation_fraction, config.seed)
    for number, split in enumerate(splits, start=1):
        observer.note(f"fold {number} of {folds}: train {len(split.train)}, test {len(split.test)} images")
        metrics = fit_and_measure(config, training_set.with_split(split), observer).metrics
        observer.note(f"fold {number}: accuracy {metrics.accuracy:.2%}, balanced {metrics.balanced_accuracy:.2%}")
        found.append(metrics)
    return CrossValidation(tuple(found))
