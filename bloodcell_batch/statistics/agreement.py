"""Agreement of two labellings of the same cells."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bloodcell_batch.statistics.binomial import clopper_pearson

Limits = tuple[float, float]


@dataclass(frozen=True, slots=True)
class ClassAgreement:
    """Cells that the first, the second, and both called by one name."""

    first: int
    second: int
    both: int


@dataclass(frozen=True, slots=True)
class Agreement:
    """Over the cells that have both labels. `limits` are the exact 95 % limits of the share (0-1) that agrees, None
    without cells; `kappa` with its limits is None where chance alone would agree on everything."""

    cells: int
    agreed: int
    limits: Limits | None
    kappa: float | None
    kappa_limits: Limits | None
    per_class: dict[str, ClassAgreement]


def agreement(pairs: Iterable[tuple[str, str]], order: Sequence[str] = ()) -> Agreement:
    """Agreement of pairs of labels, the first one's and the second one's; `per_class` has those of `order` first."""
    table = Counter(pairs)
    first, second = _margins(table)
    names = [*(name for name in order if first[name] or second[name]), *sorted({*first, *second} - {*order})]
    cells, agreed = table.total(), sum(table[name, name] for name in names)
    limits = clopper_pearson(agreed, cells) if cells else None
    return Agreement(
        cells=cells,
        agreed=agreed,
        limits=limits,
        kappa=cohens_kappa(table),
        kappa_limits=_kappa_limits(table, limits) if limits else None,
        per_class={name: ClassAgreement(first[name], second[name], table[name, name]) for name in names},
    )


def cohens_kappa(table: Counter[tuple[str, str]]) -> float | None:
    """Cohen's kappa of a contingency table (Cohen, Educ. Psychol. Meas. 20:37, 1960); None where it is undefined."""
    if not table.total():
        return None
    by_chance = _by_chance(table)
    observed = sum(count for (one, other), count in table.items() if one == other) / table.total()
    return None if by_chance == 1 else (observed - by_chance) / (1 - by_chance)


def _kappa_limits(table: Counter[tuple[str, str]], limits: Limits) -> Limits | None:
    """Kappa of the exact limits of the agreement, with the agreement by chance as it was found."""
    by_chance = _by_chance(table)
    if by_chance == 1:
        return None
    low, high = ((share - by_chance) / (1 - by_chance) for share in limits)
    return max(low, -1.0), high  # kappa itself is never lower


def _margins(table: Counter[tuple[str, str]]) -> tuple[Counter[str], Counter[str]]:
    first, second = Counter[str](), Counter[str]()
    for (one, other), count in table.items():
        first[one] += count
        second[other] += count
    return first, second


def _by_chance(table: Counter[tuple[str, str]]) -> float:
    first, second = _margins(table)
    return sum(first[name] * second[name] for name in first) / table.total() ** 2
