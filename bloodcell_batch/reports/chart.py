"""Geometry of the bar chart of a differential; the template draws it as SVG."""

import math
from dataclasses import dataclass

from bloodcell_batch.cell_classes import ClassList
from bloodcell_batch.differential.not_excluded import none_seen
from bloodcell_batch.progress import SlideDifferential
from bloodcell_batch.reports.slide_table import Additions, range_position

_LEFT, _WIDTH, _ROW, _TOP = 150.0, 350.0, 30.0, 8.0


@dataclass(frozen=True, slots=True)
class Bar:
    """One class: positions in SVG user units, None where there is nothing to draw; `said` is all of it in words."""

    title: str
    text: str
    y: float
    value: float
    low: float
    high: float
    range_low: float | None
    range_high: float | None
    said: str


@dataclass(frozen=True, slots=True)
class Chart:
    """All bars of a slide, ticks as (position, text), and the size of the picture."""

    bars: tuple[Bar, ...]
    ticks: tuple[tuple[float, str], ...]
    left: float
    width: float
    height: float

    @property
    def said(self) -> str:
        """What the picture shows, for those who don't see it."""
        return "; ".join(bar.said for bar in self.bars)


def chart_of(slide: SlideDifferential, classes: ClassList, additions: Additions) -> Chart | None:
    """The chart of a slide; None without leukocytes."""
    if not slide.wbc_counted:
        return None
    ranges = additions.ranges.ranges if additions.ranges else {}
    ends = [ranges[name].high for name in slide.shares if name in ranges]
    highest = min(100.0, max([*ends, *(share.percent_high or 0 for share in slide.shares.values())]))
    step = 5 if highest <= 25 else 10 if highest <= 60 else 20
    top = step * math.ceil(highest / step)

    def x(percent: float) -> float:
        return round(_LEFT + _WIDTH * min(percent, top) / top, 1)

    bars = []
    for number, name in enumerate(classes.leukocytes):
        share, span = slide.shares[name], ranges.get(name)
        low, high = share.percent_low or 0.0, share.percent_high or 0.0
        shown = "withheld" if share.percent is None else f"{share.percent:.1f} %"
        title = classes.by_name[name].title.split(" (")[0]
        text = none_seen(slide, name) or f"{shown} ({low:.1f} - {high:.1f})"
        bars.append(
            Bar(
                title=title,
                text=text,
                y=_TOP + _ROW * number,
                value=x(share.percent or 0.0),
                low=x(low),
                high=x(high),
                range_low=x(span.low) if span else None,
                range_high=x(span.high) if span else None,
                said=f"{title} {text}{_against(slide, name, additions)}",
            )
        )
    ticks = tuple((x(value), f"{value} %") for value in range(0, top + 1, step))
    return Chart(tuple(bars), ticks, _LEFT, _WIDTH, _TOP + _ROW * len(classes.leukocytes) + 22)


def _against(slide: SlideDifferential, name: str, additions: Additions) -> str:
    """Where the class lies against its reference range, if it has one."""
    span = additions.ranges.ranges.get(name) if additions.ranges else None
    if span is None or additions.ranges is None:
        return ""
    position = range_position(slide, name, additions.ranges)
    return f", reference range {span.low:g} - {span.high:g}{f': {position.value}' if position else ''}"
