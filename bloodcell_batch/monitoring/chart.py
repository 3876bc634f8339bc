"""Geometry of a Levey-Jennings chart over all periods; the template draws it as SVG."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from bloodcell_batch.monitoring.judgement import JudgedPeriod, Point, Series

WIDTH, HEIGHT = 560.0, 190.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 8.0, 92.0, 12.0, 22.0
_FARTHEST = 6.0
"""What lies farther off than so many widened SD is drawn there: the rest would be a flat line."""
_SCORES = (-3, -2, -1, 0, 1, 2, 3)
_LABEL_HEIGHT = 13.0


@dataclass(frozen=True, slots=True)
class Mark:
    """A value to draw: its place in SVG user units, its kind (plain, baseline, warning, rejected), and its text."""

    x: float
    y: float
    kind: str
    rule: str
    text: str
    clipped: bool


@dataclass(frozen=True, slots=True)
class Line:
    """A limit of one period: from `x` to `end`, with the score it stands for ("mean", "+3s") and its value."""

    x: float
    end: float
    y: float
    score: str
    value: str
    kind: str


@dataclass(frozen=True, slots=True)
class Chart:
    """One measure of one subject over all runs.

    Attributes:
        lines: limits, and accepted ranges.
        paths: one line through the values of each period, as the `d` of an SVG path.
        marks: the values, rejected ones last.
        shades: x and width of each baseline.
        breaks: x where another model begins.
        dates: x, text and anchor of the dates under the chart.
        summary: the chart in words, for those who can't see it.
    """

    title: str
    subject: str
    name: str
    state: str
    lines: tuple[Line, ...]
    paths: tuple[str, ...]
    marks: tuple[Mark, ...]
    shades: tuple[tuple[float, float], ...]
    breaks: tuple[float, ...]
    dates: tuple[tuple[float, str, str], ...]
    summary: str
    first_rejected: Mark | None
    width: float = WIDTH
    height: float = HEIGHT
    top: float = _TOP
    bottom: float = HEIGHT - _BOTTOM
    right: float = WIDTH - _RIGHT


class _Axes:
    """From runs and values to places."""

    def __init__(self, runs: int, low: float, high: float) -> None:
        self._runs, self._low = runs, low
        self._span = (high - low) or 1.0
        self._step = (WIDTH - _LEFT - _RIGHT) / max(runs, 1)

    def x(self, place: float) -> float:
        """The middle of a run's column; whole numbers plus or minus a half are its edges."""
        return round(_LEFT + self._step * (place + 0.5), 1)

    def y(self, value: float) -> float:
        return round(_TOP + (HEIGHT - _TOP - _BOTTOM) * (1 - (value - self._low) / self._span), 1)


def charts_of(periods: Sequence[JudgedPeriod]) -> list[Chart]:
    """The charts, those of the whole runs first; a measure that only some periods have gets one, too."""
    found: dict[tuple[str, str], dict[int, Series]] = {}
    for number, judged in enumerate(periods):
        for one in judged.series:
            found.setdefault((one.subject, one.measure.name), {})[number] = one
    return [_chart(periods, parts) for _, parts in sorted(found.items(), key=lambda entry: entry[0][0] != "")]


def _chart(periods: Sequence[JudgedPeriod], parts: dict[int, Series]) -> Chart:
    runs = [run for judged in periods for run in judged.period.runs]
    starts = [sum(len(judged.period.runs) for judged in periods[:number]) for number in range(len(periods))]
    series = next(iter(parts.values()))
    low, high = _extent(parts.values())
    axes = _Axes(len(runs), low, high)
    marks: list[Mark] = []
    paths = []
    lines: list[Line] = []
    shades = []
    for number, one in parts.items():
        start, judged = starts[number], periods[number]
        last = start + len(one.points) - 1
        of_period = [_mark(axes, start + place, point, one, (low, high)) for place, point in _read(one.points)]
        marks += of_period
        paths.append("M" + "L".join(f"{mark.x} {mark.y}" for mark in of_period))
        lines += _lines(axes, one, start, last, newest=number == max(parts))
        if one.limits is not None:
            left = axes.x(start - 0.5)
            shades.append((left, round(axes.x(start + judged.period.baseline - 0.5) - left, 1)))
    first = next((mark for mark in marks if mark.kind == "rejected"), None)
    marks.sort(key=lambda mark: mark.kind == "rejected")
    rules = [point.rule for one in parts.values() for point in one.points if point.rule]
    state = "rejected" if any(rule.rejects for rule in rules) else "warning" if rules else ""
    return Chart(
        title=series.measure.title,
        subject=series.subject,
        name=series.measure.name,
        state=state,
        lines=tuple(lines),
        paths=tuple(paths),
        marks=tuple(marks),
        shades=tuple(shades),
        breaks=tuple(axes.x(start - 0.5) for start in starts[1:]),
        dates=_dates(axes, [run.started.strftime("%Y-%m-%d") for run in runs]),
        summary=_summary(parts[max(parts)]),
        first_rejected=first,
    )


def _read(points: Sequence[Point]) -> Iterator[tuple[int, Point]]:
    return ((place, point) for place, point in enumerate(points) if point.reading is not None)


def _extent(parts: Iterable[Series]) -> tuple[float, float]:
    """Lowest and highest value that is drawn: all of them, and the limits, but nothing that lies too far off."""
    lows, highs = [], []
    for one in parts:
        values = [point.reading.value for _, point in _read(one.points) if point.reading]
        if one.accepted:
            values += [one.accepted.low, one.accepted.high]
        low, high = min(values), max(values)
        if one.limits is not None and not one.accepted:
            shown, at = one.measure.scale.shown, one.limits.at
            low, high = max(low, shown(at(-_FARTHEST))), min(high, shown(at(_FARTHEST)))
            low, high = min(low, shown(at(-3.3))), max(high, shown(at(3.3)))
        lows.append(low)
        highs.append(high)
    return min(lows), max(highs)


def _mark(axes: _Axes, place: int, point: Point, series: Series, extent: tuple[float, float]) -> Mark:
    value = point.reading.value if point.reading else 0.0
    drawn = min(max(value, extent[0]), extent[1])
    kind = "baseline" if point.baseline else "plain"
    if point.rule:
        kind = "rejected" if point.rule.rejects else "warning"
    few = ", too few cells to judge" if point.few else ""
    rule = f", {point.rule.value}" if point.rule else ""
    text = f"{point.run.name}, {point.run.day}: {series.measure.text(value)}{rule}{few}"
    return Mark(axes.x(place), axes.y(drawn), kind, point.rule.value if point.rule else "", text, drawn != value)


def _lines(axes: _Axes, series: Series, start: int, last: int, *, newest: bool) -> list[Line]:
    x, end = axes.x(start - 0.5), axes.x(last + 0.5)
    text = series.measure.text
    found = []
    if series.accepted:
        ends = (series.accepted.low, series.accepted.high)
        named = "accepted" if newest else ""
        return [Line(x, end, axes.y(value), named, text(value), "limit3") for value in ends]
    mean = series.shown(0)
    for score in _SCORES:
        value = series.shown(score)
        if value is None:
            continue
        named = "mean" if score == 0 else f"{score:+d}s"
        apart = mean is None or abs(axes.y(value) - axes.y(mean)) >= _LABEL_HEIGHT  # or the two texts cover each other
        shown = newest and (score == 0 or (abs(score) == 3 and apart))
        found.append(Line(x, end, axes.y(value), named if shown else "", text(value), f"limit{abs(score)}"))
    return found


def _dates(axes: _Axes, days: Sequence[str]) -> tuple[tuple[float, str, str], ...]:
    last = len(days) - 1
    if last == 0:
        return ((axes.x(0), days[0], "middle"),)
    middle = ((axes.x(last // 2), days[last // 2], "middle"),) if last > 3 else ()
    return ((axes.x(-0.5), days[0], "start"), *middle, (axes.x(last + 0.5), days[last], "end"))


def _summary(series: Series) -> str:
    """The newest period of a chart in words."""
    points = [point for point in series.points if point.reading is not None]
    newest = points[-1]
    fired = [point for point in points if point.rule is not None]
    text, measure = series.measure.text, series.measure
    value = text(newest.reading.value) if newest.reading else ""
    parts = [f"{measure.title} of {len(points)} runs; newest {value}"]
    low, mean, high = (series.shown(score) for score in (-3, 0, 3))
    if series.accepted:
        parts.append(f"accepted {text(series.accepted.low)} to {text(series.accepted.high)}")
    elif low is not None and mean is not None and high is not None:
        parts.append(f"baseline mean {text(mean)}, 3s limits {text(low)} to {text(high)}")
    else:
        parts.append("no baseline yet")
    rejected = sum(point.rule.rejects for point in fired if point.rule)
    parts.append(f"{rejected} rejected, {len(fired) - rejected} warnings" if fired else "no rule fired")
    return "; ".join(parts)
