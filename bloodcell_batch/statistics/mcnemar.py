"""Whether one of two methods that judged the same cells is better by more than chance."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr
from scipy.stats import binomtest


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """Two-sided exact p value (McNemar, Psychometrika 12:153, 1947, with the binomial distribution); 1 without any.

    Args:
        only_first: cells that the first method alone got right.
        only_second: cells that the second alone got right.
    """
    total = only_first + only_second
    return float(binomtest(only_first, total).pvalue) if total else 1.0


def mcnemar_exact_each(only_first: NDArray[np.int64], only_second: NDArray[np.int64]) -> NDArray[np.float64]:
    """`mcnemar_exact` of many pairs of counts at once, of any one shape."""
    total = only_first + only_second
    # At a share of a half both tails are alike, so that the two-sided value is twice the smaller one.
    return np.minimum(1.0, 2 * bdtr(np.minimum(only_first, only_second), total, 0.5))
