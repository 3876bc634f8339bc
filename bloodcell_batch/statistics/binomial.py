"""Exact limits and tests of a share."""


def clopper_pearson(count: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact binomial confidence limits of `count` out of `total`, as shares in 0-1.

    The limits that Rümke's tables give for differential counts (Clopper & Pearson, Biometrika 26:404, 1934). They
    cover the sampling of cells only, not the classifier's errors.

    Raises:
        ValueError: `count` is not in 0..`total`, or `total` is 0.
    """
    if not 0 <= count <= total or total == 0:
        raise ValueError(f"no share: {count} of {total}")
    from scipy.special import betaincinv  # noqa: PLC0415 - a sixth of a second, which many commands can do without

    tail = (1 - confidence) / 2
    low = 0.0 if count == 0 else float(betaincinv(count, total - count + 1, tail))
    high = 1.0 if count == total else float(betaincinv(count + 1, total - count, 1 - tail))
    return low, high


def chance_of_at_least(count: int, total: int, share: float) -> float:
    """Probability of `count` successes or more in `total` trials that each succeed with the probability `share`: the
    one-sided exact binomial test.

    Raises:
        ValueError: `count` is not in 0..`total`, or `share` not in 0-1.
    """
    if not 0 <= count <= total or not 0 <= share <= 1:
        raise ValueError(f"no binomial: {count} of {total} at {share}")
    from scipy.special import betainc  # noqa: PLC0415 - see above

    return 1.0 if count == 0 else float(betainc(count, total - count + 1, share))
