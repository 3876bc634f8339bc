"""Figures of merit of predictions against labels."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torchmetrics.functional.classification import multiclass_calibration_error, multiclass_confusion_matrix

from bloodcell_batch.cell_classes import ClassList
from bloodcell_batch.statistics.binomial import clopper_pearson

ECE_BINS = 15


@dataclass(frozen=True, slots=True)
class Rules:
    """The two decisions of the interpret stage."""

    review_threshold: float
    outlier_threshold: float


@dataclass(frozen=True, slots=True)
class ClassMetrics:
    """Figures of one class; shares in 0-1. `recall_low` and `recall_high` are the exact 95 % limits of the recall."""

    images: int
    precision: float
    recall: float
    f1: float
    recall_low: float
    recall_high: float
    auroc: float


@dataclass(frozen=True, slots=True)
class Metrics:
    """Figures of one set of images; shares in 0-1.

    `accuracy` to `brier` count every image; `review_share` is the share that `classify` would leave unclassified,
    `outlier_share` the part of it that the outlier score flags, and `selective_accuracy` the accuracy of the rest.
    `auroc` is the mean over the classes, each against all others. `confusion` has true classes as rows.
    """

    images: int
    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    auroc: float
    ece: float
    negative_log_likelihood: float
    brier: float
    review_share: float
    outlier_share: float
    selective_accuracy: float
    per_class: dict[str, ClassMetrics]
    confusion: list[list[int]]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what can't be computed is None, as JSON has no NaN."""
        values: dict[str, Any] = without_nan(asdict(self))
        return values


def measure(
    probabilities: NDArray[np.float32],
    scores: NDArray[np.float32],
    labels: NDArray[np.int64],
    classes: ClassList,
    rules: Rules,
) -> Metrics:
    """Figures from probabilities (N, C), outlier scores (N,) and labels (N,) into `classes`.

    The expected calibration error (ECE) has 15 equal-width bins and the L1 norm (Guo et al., 2017). Classes without
    images have NaN figures and stay outside the averages.
    """
    guess, truth = torch.from_numpy(probabilities), torch.from_numpy(labels)
    confusion = multiclass_confusion_matrix(guess, truth, num_classes=len(classes)).numpy()
    hits, true, predicted = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        recall = hits / true
        precision = np.where(true > 0, hits / np.maximum(predicted, 1), np.nan)
        f1 = 2 * hits / (true + predicted)
    top = probabilities.argmax(axis=1)
    flagged = scores > rules.outlier_threshold
    kept = (probabilities.max(axis=1) >= rules.review_threshold) & ~flagged
    target = np.eye(len(classes), dtype=np.float64)[labels]
    areas = [auroc(probabilities[:, i], labels == i) for i in range(len(classes))]
    return Metrics(
        images=len(labels),
        accuracy=float((top == labels).mean()),
        balanced_accuracy=float(np.nanmean(recall)),
        macro_f1=float(np.nanmean(np.where(true > 0, f1, np.nan))),
        auroc=float(np.mean([area for area in areas if not np.isnan(area)] or [np.nan])),
        ece=float(multiclass_calibration_error(guess, truth, num_classes=len(classes), n_bins=ECE_BINS)),
        negative_log_likelihood=float(-np.log(np.maximum(probabilities[target > 0], 1e-12)).mean()),
        brier=float(np.square(probabilities - target).sum(axis=1).mean()),
        review_share=float(1 - kept.mean()),
        outlier_share=float(flagged.mean()),
        selective_accuracy=float((top[kept] == labels[kept]).mean()) if kept.any() else float("nan"),
        per_class={
            name: ClassMetrics(
                int(true[i]),
                float(precision[i]),
                float(recall[i]),
                float(f1[i]),
                *_recall_limits(int(hits[i]), int(true[i])),
                areas[i],
            )
            for i, name in enumerate(classes.names)
        },
        confusion=confusion.tolist(),
    )


def auroc(scores: NDArray[np.float32], positive: NDArray[np.bool_]) -> float:
    """Area under the ROC curve of scores (N,), ties counted half; NaN if there is nothing to tell apart."""
    ours, others = int(positive.sum()), int((~positive).sum())
    if not ours or not others:
        return float("nan")
    return float((rankdata(scores)[positive].sum() - ours * (ours + 1) / 2) / (ours * others))


def _recall_limits(hits: int, images: int) -> tuple[float, float]:
    return clopper_pearson(hits, images) if images else (float("nan"), float("nan"))


def without_nan(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """The same value with None for every NaN."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and np.isnan(value) else value
