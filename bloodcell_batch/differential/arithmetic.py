"""Clinical arithmetic of the differential count: pure functions of counts.

The denominator is `wbc = basophil + eosinophil + neutrophil + lymphocyte + monocyte + ig`. Nucleated red cells are
reported per 100 of these, platelets and everything unclassified stay outside.
"""

from collections.abc import Mapping

from bloodcell_batch.cell_classes import LEUKOCYTES
from bloodcell_batch.records import ClassShare
from bloodcell_batch.statistics.binomial import clopper_pearson

DENOMINATOR = "wbc = " + " + ".join(LEUKOCYTES)
_ADEQUACY = ((400, "≥400"), (200, "200-399"), (100, "100-199"), (0, "<100"))


def leukocyte_shares(counts: Mapping[str, int]) -> dict[str, ClassShare]:
    """Count, percentage and 95 % limits per leukocyte class; percentages are None when no leukocyte was counted."""
    total = sum(counts.get(name, 0) for name in LEUKOCYTES)
    shares: dict[str, ClassShare] = {}
    for name in LEUKOCYTES:
        count = counts.get(name, 0)
        if total == 0:
            shares[name] = ClassShare(count, None, None, None)
            continue
        low, high = clopper_pearson(count, total)
        shares[name] = ClassShare(count, 100 * count / total, 100 * low, 100 * high)
    return shares


def nrbc_per_100_wbc(erythroblasts: int, wbc: int) -> float | None:
    """Nucleated red cells per 100 leukocytes; None when no leukocyte was counted."""
    return 100 * erythroblasts / wbc if wbc else None


def adequacy(wbc: int) -> str:
    """The band of the leukocyte count: `<100`, `100-199`, `200-399` or `≥400`."""
    return next(name for least, name in _ADEQUACY if wbc >= least)
