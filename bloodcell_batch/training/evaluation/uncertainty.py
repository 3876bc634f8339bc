"""How far figures and probabilities can be trusted: reliability, risk against coverage, bootstrap intervals."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bloodcell_batch.training.evaluation.metrics import ECE_BINS

COVERAGES = (1.0, 0.99, 0.97, 0.95, 0.9, 0.8)
_CHUNK = 100
_LIMITS = (2.5, 97.5)


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Images whose top probability lies in (low, high]: how many, their mean probability, and their accuracy."""

    low: float
    high: float
    images: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """Error rate `risk` (N,) among the `coverage` (N,) surest share of the images; `area` is the mean risk."""

    coverage: NDArray[np.float64]
    risk: NDArray[np.float64]
    area: float

    def accuracy_at(self, coverage: float) -> float:
        """Accuracy among the surest `coverage` of the images, 0-1."""
        return float(1 - self.risk[self.images_at(coverage) - 1])

    def images_at(self, coverage: float) -> int:
        """Number of images in the surest `coverage`, at least one."""
        return max(1, round(coverage * len(self.risk)))


def reliability(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> tuple[ReliabilityBin, ...]:
    """The bins behind the expected calibration error; empty bins are left out."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    place = _bin_of(confidence)
    edges = np.linspace(0, 1, ECE_BINS + 1)
    return tuple(
        ReliabilityBin(
            float(edges[i]),
            float(edges[i + 1]),
            int((place == i).sum()),
            float(confidence[place == i].mean()),
            float(right[place == i].mean()),
        )
        for i in np.unique(place)
    )


def risk_coverage(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> RiskCoverage:
    """Risk against coverage when the least sure images are left out first."""
    order = np.argsort(-probabilities.max(axis=1), kind="stable")
    wrong = (probabilities.argmax(axis=1) != labels)[order]
    count = np.arange(1, len(labels) + 1)
    risk = np.cumsum(wrong) / count
    return RiskCoverage(coverage=count / len(labels), risk=risk, area=float(risk.mean()))


def bootstrap_intervals(
    probabilities: NDArray[np.float32],
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    replicates: int,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Percentile 95 % intervals of accuracy, balanced accuracy, macro F1 and ECE.

    Whole duplicate groups are drawn with replacement: copies of a cell are not independent evidence.

    Args:
        probabilities: float32 (N, C).
        labels: int64 (N,).
        groups: int64 (N,), equal for duplicates.
        replicates: number of samples; without any there are no intervals.
        seed: of the drawing.
    """
    if not replicates:
        return {}
    names, group = np.unique(groups, return_inverse=True)
    columns = _countable(probabilities, labels)
    per_group = np.zeros((len(names), columns.shape[1]))
    np.add.at(per_group, group, columns)
    rng = np.random.default_rng(seed)
    figures = []
    for start in range(0, replicates, _CHUNK):
        rows = min(_CHUNK, replicates - start)
        drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=rows)
        figures.append(_figures(drawn @ per_group, probabilities.shape[1]))
    found = np.concatenate(figures)
    low, high = np.nanpercentile(found, _LIMITS, axis=0)
    keys = ("accuracy", "balanced_accuracy", "macro_f1", "ece")
    return {key: (float(low[i]), float(high[i])) for i, key in enumerate(keys)}


def _bin_of(confidence: NDArray[np.float32]) -> NDArray[np.int64]:
    return np.clip(np.ceil(confidence * ECE_BINS).astype(np.int64) - 1, 0, ECE_BINS - 1)


def _countable(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Per image, columns whose sums over a sample give all figures: hits, true and predicted per class, then per bin
    confidence and hits."""
    classes = np.eye(probabilities.shape[1])
    top = probabilities.argmax(axis=1)
    right = (top == labels).astype(np.float64)[:, None]
    confidence = probabilities.max(axis=1)
    bins = np.eye(ECE_BINS)[_bin_of(confidence)]
    return np.hstack([classes[labels] * right, classes[labels], classes[top], bins * confidence[:, None], bins * right])


def _figures(sums: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    hits, true, predicted = (sums[:, i * count : (i + 1) * count] for i in range(3))
    confidence, right = sums[:, 3 * count : 3 * count + ECE_BINS], sums[:, 3 * count + ECE_BINS :]
    total = true.sum(axis=1)
    seen = true > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        recall = np.where(seen, hits / true, np.nan)
        f1 = np.where(seen, 2 * hits / (true + predicted), np.nan)
    ece = np.abs(confidence - right).sum(axis=1) / total
    return np.stack([hits.sum(axis=1) / total, np.nanmean(recall, axis=1), np.nanmean(f1, axis=1), ece], axis=1)
