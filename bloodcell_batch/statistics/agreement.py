"""Agreement of two labellings of the same cells."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ClassAgreement:
    """Cells that the program, the person, and both called by one name."""

    preclassified: int
    verified: int
    both: int


@dataclass(frozen=True, slots=True)
class Agreement:
    """Over the cells that have both labels; `kappa` is None where chance alone would agree on everything."""

    cells: int
    agreed: int
    kappa: float | None
    per_class: dict[str, ClassAgreement]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def agreement(pairs: Iterable[tuple[str, str]]) -> Agreement:
    """Agreement of (preclassification, verified label) pairs."""
    table = Counter(pairs)
    before, after = Counter[str](), Counter[str]()
    for (program, person), count in table.items():
        before[program] += count
        after[person] += count
    names = sorted({*before, *after})
    return Agreement(
        cells=table.total(),
        agreed=sum(table[name, name] for name in names),
        kappa=cohens_kappa(table),
        per_class={name: ClassAgreement(before[name], after[name], table[name, name]) for name in names},
    )


def cohens_kappa(table: Counter[tuple[str, str]]) -> float | None:
    """Cohen's kappa of a contingency table (Cohen, Educ. Psychol. Meas. 20:37, 1960); None where it is undefined."""
    total = table.total()
    if not total:
        return None
    first, second = Counter[str](), Counter[str]()
    for (one, other), count in table.items():
        first[one] += count
        second[other] += count
    by_chance = sum(first[name] * second[name] for name in first) / total**2
    observed = sum(count for (one, other), count in table.items() if one == other) / total
    return None if by_chance == 1 else (observed - by_chance) / (1 - by_chance)
