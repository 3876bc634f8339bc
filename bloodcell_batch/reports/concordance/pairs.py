"""What is compared: one class of one slide, and one class over all slides."""

from dataclasses import dataclass

from bloodcell_batch.statistics.method_comparison import BlandAltman, PassingBablok


@dataclass(frozen=True, slots=True)
class Pair:
    """One class of one slide: our percentage with its exact limits, and theirs."""

    slide_id: str
    ours: float
    low: float
    high: float
    theirs: float
    within: bool


@dataclass(frozen=True, slots=True)
class ClassComparison:
    """One class over all slides; what can't be computed is None. Differences are ours minus theirs, in percentage
    points; `kappa` is of below, within and above the reference range, where there is one."""

    pairs: tuple[Pair, ...]
    within_limits: int
    difference: BlandAltman | None
    pearson_r: float | None
    regression: PassingBablok | None
    kappa: float | None
