"""Figures of merit for people: no percentage without its count and its 95 % limits."""

from collections.abc import Mapping

import numpy as np

from bloodcell_batch.cell_classes import ClassList
from bloodcell_batch.statistics.binomial import clopper_pearson
from bloodcell_batch.training.evaluation.metrics import ECE_BINS, Metrics

NOTHING = "-"
Limits = tuple[float, float]


def percent(value: float, form: str = ".2%") -> str:
    """A share as a percentage; a dash for what can't be computed."""
    return NOTHING if np.isnan(value) else format(value, form)


def share_of(share: float, total: int, limits: Limits | None = None) -> str:
    """`97.22% (350 of 360; 95 % limits 94.93-98.66%)`, exact limits if none are given; a dash where `total` is 0."""
    if not total or np.isnan(share):
        return NOTHING
    count = round(share * total)
    return f"{share:.2%} ({count:,} of {total:,}; 95 % limits {_span(limits or clopper_pearson(count, total))})"


def as_text(metrics: Metrics, classes: ClassList, intervals: Mapping[str, Limits] | None = None) -> str:
    """The figures as a plain table, the confusion matrix below; `intervals` are those of `bootstrap_intervals`."""
    found = intervals or {}
    rest = metrics.images - round(metrics.review_share * metrics.images)

    def mean(key: str, value: float) -> str:
        return f"{percent(value)}" + (f" (95 % limits {_span(found[key])})" if key in found else "")

    width = _name_width(classes)
    lines = [
        f"images                {metrics.images:,}",
        f"accuracy              {share_of(metrics.accuracy, metrics.images, found.get('accuracy'))}",
        f"balanced accuracy     {mean('balanced_accuracy', metrics.balanced_accuracy)}",
        f"macro F1              {mean('macro_f1', metrics.macro_f1)}",
        f"AUROC                 {percent(metrics.auroc, '.4f')}",
        f"ECE ({ECE_BINS} bins)         {mean('ece', metrics.ece)}",
        f"left for review       {share_of(metrics.review_share, metrics.images)}",
        f"accuracy of the rest  {share_of(metrics.selective_accuracy, rest)}",
        "",
        f"{'class':<{width}}{'images':>8}{'recall':>9}{'95 % limits':>16}{'precision':>11}{'F1':>9}",
    ]
    for name in classes.reading_order:
        row = metrics.per_class[name]
        limits = f"{row.recall_low:.1%}-{row.recall_high:.1%}"
        shares = f"{row.recall:>9.2%}{limits:>16}{percent(row.precision):>11}{percent(row.f1):>9}" if row.images else ""
        lines.append(f"{name:<{width}}{row.images:>8,}{shares}")
    return "\n".join([*lines, "", *_confusion(metrics, classes)]) + "\n"


def _confusion(metrics: Metrics, classes: ClassList) -> list[str]:
    places = [list(metrics.per_class).index(name) for name in classes.reading_order]
    width = max(len(f"{count:,}") for row in metrics.confusion for count in row)
    titles = [classes.by_name[name].short for name in classes.reading_order]
    width, first = 1 + max(width, *map(len, titles)), _name_width(classes)
    lines = ["rows: true class, columns: predicted", " " * first + "".join(f"{title:>{width}}" for title in titles)]
    for name, row in zip(classes.reading_order, places, strict=True):
        lines.append(f"{name:<{first}}" + "".join(f"{metrics.confusion[row][column]:>{width},}" for column in places))
    return lines


def _name_width(classes: ClassList) -> int:
    """Of the first column: no name touches its figures."""
    return max([14, *(len(name) + 1 for name in classes.names)])


def _span(limits: Limits) -> str:
    return f"{100 * limits[0]:.2f}-{limits[1]:.2%}"
