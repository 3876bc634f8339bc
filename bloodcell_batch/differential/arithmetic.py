"""Clinical arithmetic of the differential count: pure functions of counts.

The denominator is the leukocytes: all classes of a model with that role. Nucleated red cells are
reported per 100 of these, platelets stay outside. An unclassified cell may be any of them or no cell at all, so the
limits are the widest of all that the unclassified cells could be.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bloodcell_batch.progress import ClassShare
from bloodcell_batch.statistics.binomial import clopper_pearson

MAX_UNCLASSIFIED = 0.1
"""Share of the cells that could be leukocytes which may be unclassified before percentages are withheld."""

_ADEQUACY = ((400, "≥400"), (200, "200-399"), (100, "100-199"), (0, "<100"))


@dataclass(frozen=True, slots=True)
class Rate:
    """A number per 100 leukocytes with its 95 % limits; None where there is none."""

    value: float | None
    low: float | None
    high: float | None


def leukocyte_shares(
    counts: Mapping[str, int], leukocytes: Sequence[str], unclassified: int = 0
) -> dict[str, ClassShare]:
    """Count, percentage and 95 % limits of each of the classes `leukocytes`.

    With `k` of `n` leukocytes in a class and `u` unclassified cells, the share in the sample lies between `k / (n + u)`
    (all are other leukocytes) and `(k + u) / (n + u)` (all are of this class). The limits are the lower exact limit of
    the one and the upper exact limit of the other. They enclose the exact limits of whatever the unclassified cells
    truly are, and so cover the sampling of cells and any choice of the cells that were left out. They don't cover
    confusions among the cells that have a class.

    Returns:
        Shares by class. The percentage is of the leukocytes that have a class and None without any; limits are None
        only where there is no unclassified cell either.
    """
    total = sum(counts.get(name, 0) for name in leukocytes)
    most = total + unclassified
    shares: dict[str, ClassShare] = {}
    for name in leukocytes:
        count = counts.get(name, 0)
        if most == 0:
            shares[name] = ClassShare(count, None, None, None)
            continue
        low, high = clopper_pearson(count, most)[0], clopper_pearson(count + unclassified, most)[1]
        shares[name] = ClassShare(count, 100 * count / total if total else None, 100 * low, 100 * high)
    return shares


def nrbc_per_100_wbc(erythroblasts: int, wbc: int, unclassified: int = 0) -> Rate:
    """Nucleated red cells per 100 leukocytes, with limits.

    The limits are those of the share of nucleated red cells among both kinds, as odds: exact, and as for the classes
    the widest of all that the unclassified cells could be. Without a leukocyte there is neither value nor upper limit.
    """
    both = erythroblasts + wbc + unclassified
    if both == 0:
        return Rate(None, None, None)
    low = _odds(clopper_pearson(erythroblasts, both)[0])
    high = _odds(clopper_pearson(erythroblasts + unclassified, both)[1])
    value = 100 * erythroblasts / wbc if wbc else None
    return Rate(value, 100 * low, 100 * high if wbc and math.isfinite(high) else None)


def too_many_unclassified(wbc: int, unclassified: int, largest_share: float) -> bool:
    """True when more than `largest_share` (0-1) of the cells that could be leukocytes are unclassified."""
    return unclassified > largest_share * (wbc + unclassified)


def cells_to_review(wbc: int, unclassified: int, largest_share: float) -> int:
    """How many unclassified cells a person must name at least, whatever they turn out to be, so that not too many
    are left; 0 if that is so already."""
    # Enough even if none of them is a leukocyte: unclassified - n <= largest_share * (wbc + unclassified - n).
    return next(n for n in range(unclassified + 1) if not too_many_unclassified(wbc, unclassified - n, largest_share))


def adequacy(wbc: int) -> str:
    """The band of the leukocyte count: `<100`, `100-199`, `200-399` or `≥400`."""
    return next(name for least, name in _ADEQUACY if wbc >= least)


def _odds(share: float) -> float:
    return share / (1 - share) if share < 1 else math.inf
