"""A second estimate of the differential: corrected for the errors that the classifier is known to make.

With `C[t, p]` the probability that a cell of class `t` is called `p`, the expected shares of the labels are
`sum_t share[t] * C[t, p]`. The shares that make the observed labels most likely are found by expectation
maximisation, which can't leave the range 0-1. `C` comes from the confusion matrix in the model file, that is, from
images like those of the training: on another laboratory's images the true errors are others.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bloodcell_batch.cell_classes import CLASS_NAMES, LEUKOCYTES
from bloodcell_batch.errors import ModelFileError
from bloodcell_batch.model.file import ModelFile

LABEL = "second estimate, corrected for classifier errors seen on the model's own test images"
_DRAWS = 1000
_STEPS = 200
_PRIOR = 1 / len(CLASS_NAMES)  # one pseudo-image per row: a class pair never confused is unlikely, not impossible
_LEUKOCYTE = np.array([name in LEUKOCYTES for name in CLASS_NAMES])

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class AdjustedShare:
    """Adjusted percent of leukocytes, with 95 % limits that cover the sampling of the slide's cells and of the test
    images behind the confusion matrix."""

    percent: float
    low: float
    high: float


def confusion_of(model: ModelFile) -> NDArray[np.int64]:
    """The model's confusion matrix on its test images: rows are the true classes, in `CLASS_NAMES` order.

    Raises:
        ModelFileError: the file has none, or it has a class without test images.
    """
    matrix = np.array(model.header.metrics.get("confusion", []), dtype=np.int64)
    expected = (len(CLASS_NAMES), len(CLASS_NAMES))
    if matrix.shape != expected or (matrix < 0).any() or (matrix.sum(axis=1) == 0).any():
        message = f"{model.path} has no confusion matrix of all {len(CLASS_NAMES)} classes."
        raise ModelFileError(message, hint="Use a model trained with test images of every class, or leave it out.")
    return matrix


def most_likely_shares(counts: Floats, confusion: Floats) -> Floats:
    """True shares per class that make the observed labels most likely.

    Args:
        counts: observed labels, shape (..., classes).
        confusion: probabilities of the labels given the true class, shape (..., classes, classes), rows sum to 1.

    Returns:
        Shares that sum to 1, shape (..., classes).
    """
    observed = counts / counts.sum(axis=-1, keepdims=True)
    shares = (observed + _PRIOR / counts.sum(axis=-1, keepdims=True)) / (1 + 1 / counts.sum(axis=-1, keepdims=True))
    for _ in range(_STEPS):
        expected = np.einsum("...t,...tp->...p", shares, confusion)
        ratio = np.divide(observed, expected, out=np.zeros_like(observed), where=observed > 0)
        shares = shares * np.einsum("...p,...tp->...t", ratio, confusion)
    result: Floats = shares / shares.sum(axis=-1, keepdims=True)
    return result


def adjusted_shares(labels: Mapping[str, int], confusion: NDArray[np.int64]) -> dict[str, AdjustedShare]:
    """Adjusted percentages per leukocyte class; empty when no leukocyte was counted.

    The limits are percentiles of 1,000 draws (fixed seed): confusion rows from their Dirichlet posterior, labels from
    the multinomial of the slide.

    Args:
        labels: cells per class, all eight classes.
        confusion: counts, rows are the true classes.
    """
    counts = np.array([labels.get(name, 0) for name in CLASS_NAMES], dtype=np.float64)
    if not counts[_LEUKOCYTE].sum():
        return {}
    rng = np.random.default_rng(0)
    smoothed = confusion + _PRIOR
    point = _percent(most_likely_shares(counts, smoothed / smoothed.sum(axis=1, keepdims=True)))
    matrices = np.stack([rng.dirichlet(row, _DRAWS) for row in smoothed], axis=1)
    total = int(counts.sum())
    drawn = rng.multinomial(total, counts / total, _DRAWS).astype(np.float64)
    sample = _percent(most_likely_shares(drawn, matrices))
    low, high = np.nanpercentile(sample, (2.5, 97.5), axis=0)
    return {
        name: AdjustedShare(float(point[i]), float(low[i]), float(high[i]))
        for i, name in enumerate(CLASS_NAMES)
        if name in LEUKOCYTES
    }


def _percent(shares: Floats) -> Floats:
    leukocytes = (shares * _LEUKOCYTE).sum(axis=-1, keepdims=True)
    result: Floats = np.divide(100 * shares, leukocytes, out=np.full_like(shares, np.nan), where=leukocytes > 0)
    return result
