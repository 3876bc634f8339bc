"""Statistics that compare two methods measuring the same thing on the same slides: pure functions of numbers."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, pearsonr

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class BlandAltman:
    """Mean difference and its 95 % limits of agreement (mean +- 1.96 SD; Bland & Altman, Lancet 1986;1:307)."""

    bias: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class PassingBablok:
    """Slope and intercept with 95 % limits (Passing & Bablok, J. Clin. Chem. Clin. Biochem. 21:709, 1983)."""

    slope: float
    slope_low: float
    slope_high: float
    intercept: float
    intercept_low: float
    intercept_high: float


def bland_altman(x: Floats, y: Floats) -> BlandAltman | None:
    """Differences `y - x`; None with fewer than two pairs."""
    if len(x) < 2:
        return None
    difference = y - x
    bias, spread = float(difference.mean()), 1.96 * float(difference.std(ddof=1))
    return BlandAltman(bias, bias - spread, bias + spread)


def pearson(x: Floats, y: Floats) -> float | None:
    """Pearson's r; None with fewer than three pairs or where one side is constant."""
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(pearsonr(x, y).statistic)


def passing_bablok(x: Floats, y: Floats, confidence: float = 0.95) -> PassingBablok | None:
    """Regression of `y` on `x` where both have errors; None where there are too few different values.

    Ties in both coordinates and slopes of exactly -1 are left out, as in the original paper.
    """
    first, second = np.triu_indices(len(x), 1)
    dx, dy = x[first] - x[second], y[first] - y[second]
    keep = (dx != 0) | (dy != 0)
    dx, dy = dx[keep], dy[keep]
    slopes = np.where(dx == 0, np.copysign(np.inf, dy), np.divide(dy, dx, out=np.zeros_like(dy), where=dx != 0))
    slopes = np.sort(slopes[slopes != -1])
    count, offset = len(slopes), int((slopes < -1).sum())
    spread = norm.ppf((1 + confidence) / 2) * math.sqrt(len(x) * (len(x) - 1) * (2 * len(x) + 5) / 18)
    lower = round((count - spread) / 2)
    low, high = lower + offset - 1, count - lower + offset  # ranks count from 1, positions from 0
    if len(x) < 3 or not 0 <= low <= high < count:
        return None
    middle = (count - 1) // 2 + offset
    slope = slopes[middle] if count % 2 else (slopes[middle] + slopes[middle + 1]) / 2
    if not np.isfinite([slope, slopes[low], slopes[high]]).all():
        return None
    return PassingBablok(
        slope=float(slope),
        slope_low=float(slopes[low]),
        slope_high=float(slopes[high]),
        intercept=float(np.median(y - slope * x)),
        intercept_low=float(np.median(y - slopes[high] * x)),
        intercept_high=float(np.median(y - slopes[low] * x)),
    )
