"""Whether one of two methods that judged the same cells is better by more than chance."""

from scipy.stats import binomtest


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """Two-sided exact p value (McNemar, Psychometrika 12:153, 1947, with the binomial distribution); 1 without any.

    Args:
        only_first: cells that the first method alone got right.
        only_second: cells that the second alone got right.
    """
    total = only_first + only_second
    return float(binomtest(only_first, total).pvalue) if total else 1.0
