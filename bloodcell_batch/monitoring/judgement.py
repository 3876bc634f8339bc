"""Every figure against its baseline: limits, scores, and the rules that fire."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bloodcell_batch.monitoring.control import AcceptedRange, Ranges, range_of
from bloodcell_batch.monitoring.history import Figures, WatchedRun
from bloodcell_batch.monitoring.measures import Measure, Reading, measures_of
from bloodcell_batch.monitoring.periods import Period
from bloodcell_batch.statistics.control_chart import FEWEST_RUNS, Limits, Rule, limits_of, rules_broken, strangers

_FEW = 2  # a run with fewer cells than one part in so many of the smallest baseline run says too little
_WHOLE = ""


@dataclass(frozen=True, slots=True)
class Point:
    """One run in one chart: its reading, None where there was nothing to measure; its score in widened SD, None where
    there is no baseline; the rule that it breaks; whether it is of the baseline, or has too few cells to be judged."""

    run: WatchedRun
    reading: Reading | None
    score: float | None
    rule: Rule | None
    baseline: bool
    few: bool


@dataclass(frozen=True, slots=True)
class Series:
    """One measure of one subject in one period.

    Attributes:
        subject: a control slide, or empty for all slides of a run together.
        limits: on the measure's own scale; None without a baseline.
        accepted: the laboratory's own range, which then judges instead of the limits.
    """

    measure: Measure
    subject: str
    points: tuple[Point, ...]
    limits: Limits | None
    accepted: AcceptedRange | None

    def shown(self, score: float) -> float | None:
        """The value that lies so many widened SD above the mean."""
        return None if self.limits is None else self.measure.scale.shown(self.limits.at(score))


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that fired: in which run, of what, and how, in words."""

    run: WatchedRun
    subject: str
    measure: Measure
    rule: Rule
    text: str


@dataclass(frozen=True, slots=True)
class JudgedPeriod:
    """A period with all of its series.

    Attributes:
        measures: how many are judged at once: the limits allow for that.
        strange: runs of the baseline that lie outside of the others, with what is strange.
    """

    period: Period
    series: tuple[Series, ...]
    measures: int
    width: float | None
    findings: tuple[Finding, ...]
    strange: tuple[tuple[WatchedRun, str], ...]

    @property
    def rejections(self) -> tuple[Finding, ...]:
        """The findings that reject a run."""
        return tuple(finding for finding in self.findings if finding.rule.rejects)


@dataclass(frozen=True, slots=True)
class _Strand:
    """A series before it is judged."""

    measure: Measure
    subject: str
    figures: tuple[Figures | None, ...]
    accepted: AcceptedRange | None

    @property
    def readings(self) -> list[Reading | None]:
        return [None if one is None else one.readings.get(self.measure.name) for one in self.figures]

    def baseline(self, runs: int) -> list[Reading]:
        return [reading for reading in self.readings[:runs] if reading is not None]


def judge(period: Period, controls: Sequence[str], ranges: Ranges) -> JudgedPeriod:
    """Compare the runs of a period with its baseline, and its control slides with theirs or with accepted ranges."""
    measures = measures_of(period.runs[0].classes)
    strands = [
        _Strand(measure, subject, tuple(_figures(run, subject) for run in period.runs), accepted)
        for subject in (_WHOLE, *controls)
        for measure in measures
        if subject == _WHOLE or measure.name != "images_per_second"
        for accepted in [range_of(ranges, subject, measure.name) if subject else None]
    ]
    judged = sum(_has_limits(strand, period) and strand.measure.judged and not strand.accepted for strand in strands)
    series = tuple(_series(strand, period, max(judged, 1)) for strand in strands)
    series = tuple(one for one in series if any(point.reading for point in one.points))
    findings = sorted(
        (finding for one in series for finding in _findings(one)), key=lambda found: period.runs.index(found.run)
    )
    width = next((one.limits.width for one in series if one.limits), None)
    strange = [pair for strand in strands for pair in _strange(strand, period, max(judged, 1))]
    return JudgedPeriod(period, series, judged, width, tuple(findings), tuple(strange))


def _figures(run: WatchedRun, subject: str) -> Figures | None:
    return run.slides.get(subject) if subject else run.whole


def _has_limits(strand: _Strand, period: Period) -> bool:
    return len(strand.baseline(period.baseline)) >= FEWEST_RUNS


def _limits(strand: _Strand, period: Period, judged: int) -> Limits | None:
    if not _has_limits(strand, period):
        return None
    readings, scale = strand.baseline(period.baseline), strand.measure.scale
    return limits_of([scale.scaled(one) for one in readings], judged, scale.least_sd(readings))


def _series(strand: _Strand, period: Period, judged: int) -> Series:
    limits, scale = _limits(strand, period, judged), strand.measure.scale
    fewest = min((one.cells for one in strand.figures[: period.baseline] if one), default=0) / _FEW
    scores = [
        None if limits is None or reading is None else limits.score(scale.scaled(reading))
        for reading in strand.readings
    ]
    few = [one is not None and one.cells < fewest for one in strand.figures]
    compared = [None if place < period.baseline or few[place] else score for place, score in enumerate(scores)]
    if strand.accepted:
        rules = [Rule.RANGE if one and not strand.accepted.holds(one.value) else None for one in strand.readings]
    else:
        rules = rules_broken(compared) if strand.measure.judged else [None] * len(scores)
    points = tuple(
        Point(run, reading, score, rule, place < period.baseline, few[place])
        for place, (run, reading, score, rule) in enumerate(
            zip(period.runs, strand.readings, scores, rules, strict=True)
        )
    )
    return Series(strand.measure, strand.subject, points, limits, strand.accepted)


def _findings(series: Series) -> list[Finding]:
    return [
        Finding(point.run, series.subject, series.measure, point.rule, finding_text(series, point))
        for point in series.points
        if point.rule and point.reading
    ]


def finding_text(series: Series, point: Point) -> str:
    """What a point is, in words: value, and what it should be."""
    measure, reading = series.measure, point.reading
    if reading is None:
        return ""
    said = measure.title[0].lower() + measure.title[1:]
    said = f"{said} of control slide {series.subject}" if series.subject else said
    value = measure.text(reading.value)
    if series.accepted:
        return f"{said} {value}, accepted {measure.text(series.accepted.low)} to {measure.text(series.accepted.high)}"
    low, mean, high = (series.shown(score) for score in (-3, 0, 3))
    if low is None or mean is None or high is None:
        return f"{said} {value}"
    return f"{said} {value}, baseline {measure.text(mean)} (3s: {measure.text(low)} to {measure.text(high)})"


def _strange(strand: _Strand, period: Period, judged: int) -> list[tuple[WatchedRun, str]]:
    if not _has_limits(strand, period) or not strand.measure.judged or strand.accepted:
        return []
    scaled: Callable[[Reading], float] = strand.measure.scale.scaled
    pairs = [
        (run, one) for run, one in zip(period.runs[: period.baseline], strand.readings, strict=False) if one is not None
    ]
    readings = [reading for _, reading in pairs]
    places = strangers([scaled(one) for one in readings], judged, strand.measure.scale.least_sd(readings))
    about = f" of control slide {strand.subject}" if strand.subject else ""
    title = strand.measure.title[0].lower() + strand.measure.title[1:]
    return [(pairs[place][0], f"{title}{about} {strand.measure.text(readings[place].value)}") for place in places]
