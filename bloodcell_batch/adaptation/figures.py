"""Before and after: what an adaptation changes, on cells that the judging network did not learn."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bloodcell_batch.cell_classes import ClassList
from bloodcell_batch.statistics.binomial import clopper_pearson
from bloodcell_batch.statistics.mcnemar import mcnemar_exact
from bloodcell_batch.training.evaluation.metrics import Rules, without_nan

_MORE_THAN_CHANCE = 0.05


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one network says of every cell: `right` bool (N,), and `kept` bool (N,), false where the cell would be left
    for review."""

    right: NDArray[np.bool_]
    kept: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Shares:
    """Shares in 0-1: cells that are right, cells left for review, and right ones of the rest (NaN without any)."""

    accuracy: float
    review_share: float
    selective_accuracy: float


@dataclass(frozen=True, slots=True)
class ClassChange:
    """Of one class: its cells, those that were and are right, and exact 95 % limits of the share that is right."""

    cells: int
    right_before: int
    right_after: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Change:
    """Figures of the laboratory's cells. `gained` are the cells that only the new model has right, `lost` those that
    only the old one has; `p_value` is McNemar's exact one."""

    before: Shares
    after: Shares
    per_class: dict[str, ClassChange]
    gained: int
    lost: int
    p_value: float

    @property
    def is_better(self) -> bool:
        """More cells are right; or as many, and fewer are left for review."""
        if self.after.accuracy != self.before.accuracy:
            return self.after.accuracy > self.before.accuracy
        return self.after.review_share < self.before.review_share

    @property
    def is_more_than_chance(self) -> bool:
        """Whether chance alone would make such a difference in fewer than one of 20 laboratories."""
        return self.p_value < _MORE_THAN_CHANCE

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        plain: dict[str, Any] = without_nan(asdict(self))
        return plain


def judged(
    probabilities: NDArray[np.float32], scores: NDArray[np.float32], truth: NDArray[np.int64], rules: Rules
) -> Judgement:
    """Judgement of cells with probabilities (N, C), outlier scores (N,) and classes (N,)."""
    kept = (probabilities.max(axis=1) >= rules.review_threshold) & (scores <= rules.outlier_threshold)
    return Judgement(probabilities.argmax(axis=1) == truth, kept)


def change_of(before: Judgement, after: list[Judgement], truth: NDArray[np.int64], classes: ClassList) -> Change:
    """Compare a model with an adapted one.

    Args:
        before: of the model as it was.
        after: one for each repeat of the cross-validation; figures are means over them. A cell counts as gained or not
            lost only if more than half of them have it right.
        truth: int64 (N,) into `classes`.
        classes: those that are reported.
    """
    right = np.mean([judgement.right for judgement in after], axis=0)
    mostly = right > 0.5
    gained, lost = int((mostly & ~before.right).sum()), int((~mostly & before.right).sum())
    per_class = {}
    for name in classes.reading_order:
        members = truth == classes.names.index(name)
        if members.any():
            cells, hits = int(members.sum()), float(right[members].sum())
            # Rounded down: half a cell more than there is would be no lower limit.
            low, high = clopper_pearson(int(hits), cells)
            per_class[name] = ClassChange(cells, int(before.right[members].sum()), hits, low, high)
    return Change(
        before=_shares([before]),
        after=_shares(after),
        per_class=per_class,
        gained=gained,
        lost=lost,
        p_value=mcnemar_exact(gained, lost),
    )


def _shares(judgements: list[Judgement]) -> Shares:
    right = np.concatenate([judgement.right for judgement in judgements])
    kept = np.concatenate([judgement.kept for judgement in judgements])
    return Shares(
        accuracy=float(right.mean()),
        review_share=float(1 - kept.mean()),
        selective_accuracy=float(right[kept].mean()) if kept.any() else float("nan"),
    )


def change_as_text(change: Change) -> str:
    """The figures as a plain table for people."""
    rows = (
        ("accuracy", "accuracy"),
        ("left for review", "review_share"),
        ("accuracy of the rest", "selective_accuracy"),
    )
    lines = [f"{'':<22}{'before':>9}{'after':>9}"]
    lines += [
        f"{title:<22}{_percent(getattr(change.before, name)):>9}{_percent(getattr(change.after, name)):>9}"
        for title, name in rows
    ]
    width = max([22, *(len(name) + 1 for name in change.per_class)])
    lines += ["", f"{'class':<{width}}{'before':>9}{'after':>9}{'95 % limits':>19}{'cells':>7}"]
    for name, row in change.per_class.items():
        limits = f"{row.low:.1%} - {row.high:.1%}"
        before, after = _percent(row.right_before / row.cells), _percent(row.right_after / row.cells)
        lines.append(f"{name:<{width}}{before:>9}{after:>9}{limits:>19}{row.cells:>7}")
    meaning = "more than chance" if change.is_more_than_chance else "may be chance"
    told = f"{change.gained} cells are right only now, {change.lost} were right only before"
    lines += ["", f"{told}: {meaning} (McNemar, exact, p = {change.p_value:.2g})."]
    return "\n".join(lines)


def _percent(share: float) -> str:
    return "-" if np.isnan(share) else f"{share:.1%}"
