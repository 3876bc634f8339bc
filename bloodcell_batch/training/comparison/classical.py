"""Random forest, gradient boosting, support vector machine, and their vote: classifiers on features of images.

They are compared, not shipped: scikit-learn stores its models as pickles, which this package neither writes nor loads.
"""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bloodcell_batch.config.comparison import ClassicalConfig
from bloodcell_batch.errors import UsageError
from bloodcell_batch.model.architectures import EXTRA_HINT
from bloodcell_batch.parallel.cpus import available_cpus
from bloodcell_batch.training.augmentation.oversampling import smote, smote_on_pixels
from bloodcell_batch.training.comparison.classical_features import features_of
from bloodcell_batch.training.data.labelled import LabelledImages
from bloodcell_batch.training.evaluation.metrics import Rules
from bloodcell_batch.training.fit.calibration import fit_temperature, review_threshold

_REVIEW_ERROR, _REVIEW_SHARE = 0.002, 0.02


def _random_forest(config: ClassicalConfig) -> Any:  # noqa: ANN401 - scikit-learn has no types
    from sklearn.ensemble import RandomForestClassifier  # noqa: PLC0415 - an extra

    return RandomForestClassifier(config.trees, random_state=config.seed, n_jobs=available_cpus())


def _gradient_boosting(config: ClassicalConfig) -> Any:  # noqa: ANN401
    from sklearn.ensemble import HistGradientBoostingClassifier  # noqa: PLC0415

    return HistGradientBoostingClassifier(max_iter=config.rounds, early_stopping=False, random_state=config.seed)


def _svm(config: ClassicalConfig) -> Any:  # noqa: ANN401
    from sklearn.calibration import CalibratedClassifierCV  # noqa: PLC0415
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415
    from sklearn.svm import SVC  # noqa: PLC0415

    machine = make_pipeline(StandardScaler(), SVC(C=config.svm_c, random_state=config.seed))
    # Platt scaling: a support vector machine has no probabilities of its own.
    return CalibratedClassifierCV(machine, ensemble=False, cv=3)


def _voting(config: ClassicalConfig) -> Any:  # noqa: ANN401
    from sklearn.ensemble import VotingClassifier  # noqa: PLC0415

    voters = [(name, CLASSIFIERS[name](config)) for name in ("random_forest", "gradient_boosting", "svm")]
    return VotingClassifier(voters, voting="soft")


CLASSIFIERS: dict[str, Callable[[ClassicalConfig], Any]] = {
    "random_forest": _random_forest,
    "gradient_boosting": _gradient_boosting,
    "svm": _svm,
    "voting": _voting,
}


@dataclass(frozen=True, slots=True)
class ClassicalModel:
    """A fitted classifier, its temperature, and the review threshold; no outlier score."""

    config: ClassicalConfig
    classifier: Any
    temperature: float
    rules: Rules

    def predict(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities (N, C) of images uint8 (N, S, S, 3)."""
        logits = _logits(self.classifier, features_of(pixels, self.config.features))
        return torch.softmax(logits / self.temperature, dim=1).numpy()

    @property
    def size_bytes(self) -> int:
        """Bytes that the classifier would take in scikit-learn's own format; nothing is stored or loaded."""
        return len(pickle.dumps(self.classifier))


def fit_classical(config: ClassicalConfig, training: LabelledImages, validation: LabelledImages) -> ClassicalModel:
    """Fit on one part; temperature and review threshold on the other, as for networks.

    Args:
        config: the recipe.
        training: images at the recipe's size.
        validation: images at the same size.

    Raises:
        UsageError: scikit-learn, scikit-image or imbalanced-learn is not installed.
        TrainingError: too few images for SMOTE.
    """
    if config.smote == "pixels":
        training = smote_on_pixels(training, config.seed)
    features, labels = features_of(training.pixels, config.features), training.labels
    if config.smote == "features":
        features, labels = smote(features, labels, training.classes, config.seed)
    try:
        classifier = CLASSIFIERS[config.classifier](config)
    except ModuleNotFoundError as error:
        raise UsageError("scikit-learn is not installed.", hint=EXTRA_HINT) from error
    classifier.fit(features, labels)
    logits = _logits(classifier, features_of(validation.pixels, config.features))
    temperature = fit_temperature(logits, torch.from_numpy(validation.labels))
    probabilities = torch.softmax(logits / temperature, dim=1).numpy()
    review = review_threshold(probabilities, validation.labels, _REVIEW_ERROR, _REVIEW_SHARE)
    return ClassicalModel(config, classifier, temperature, Rules(review, float("inf")))


def _logits(classifier: Any, features: NDArray[np.float32]) -> torch.Tensor:  # noqa: ANN401
    return torch.from_numpy(classifier.predict_proba(features).astype(np.float32)).clamp_min(1e-12).log()
