"""The quality table: one row per run, slide and measure, for everything that a page does not answer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from bloodcell_batch.files.names import printable
from bloodcell_batch.monitoring.history import WatchedRun
from bloodcell_batch.monitoring.judgement import JudgedPeriod, Point, Series
from bloodcell_batch.monitoring.measures import measures_of
from bloodcell_batch.results.tables import Column, schema_of, to_batch

_DIGITS = 6


@dataclass(frozen=True, slots=True)
class QualityRow:
    """A value of a run, or of one slide of it; `series` and `point` where it is in a chart."""

    run: WatchedRun
    period: int
    slide_id: str
    cells: int
    measure: str
    value: float
    series: Series | None = None
    point: Point | None = None

    def limit(self, score: float) -> float | None:
        """The value so many widened SD above the mean of the baseline."""
        value = self.series.shown(score) if self.series else None
        return None if value is None else round(value, _DIGITS)


_TEXT, _FLOAT, _INT, _BOOL = pa.string(), pa.float64(), pa.int64(), pa.bool_()


def _score(row: QualityRow) -> float | None:
    return None if row.point is None or row.point.score is None else round(row.point.score, 3)


QUALITY_COLUMNS: tuple[Column[QualityRow], ...] = (
    Column("run", _TEXT, lambda r: printable(r.run.name), "the run"),
    Column("started", _TEXT, lambda r: r.run.started.isoformat(), "when it began, UTC"),
    Column("results_id", _TEXT, lambda r: r.run.results_id, "identity of its rows"),
    Column("model_sha256", _TEXT, lambda r: r.run.record.model.sha256, "identity of its model"),
    Column("period", _INT, lambda r: r.period, "number of the baseline that it belongs to, from 1"),
    Column("slide_id", _TEXT, lambda r: printable(r.slide_id) or None, "slide; empty for the whole run"),
    Column("cells", _INT, lambda r: r.cells, "cells, classified or not"),
    Column("measure", _TEXT, lambda r: r.measure, "what was measured"),
    Column("value", _FLOAT, lambda r: round(r.value, _DIGITS), "its value"),
    Column("in_baseline", _BOOL, lambda r: r.point.baseline if r.point else None, "the limits are made from it"),
    Column("score", _FLOAT, _score, "distance from the mean, in SD as wide as the limits"),
    Column("rule", _TEXT, lambda r: r.point.rule.value if r.point and r.point.rule else None, "rule that it breaks"),
    Column("mean", _FLOAT, lambda r: r.limit(0), "of the baseline"),
    Column("low_3s", _FLOAT, lambda r: r.limit(-3), "limit of the rule 1-3s"),
    Column("low_2s", _FLOAT, lambda r: r.limit(-2), "limit of the rule 1-2s"),
    Column("high_2s", _FLOAT, lambda r: r.limit(2), "limit of the rule 1-2s"),
    Column("high_3s", _FLOAT, lambda r: r.limit(3), "limit of the rule 1-3s"),
    Column("accepted_low", _FLOAT, lambda r: _accepted(r, "low"), "of the laboratory's own range, if there is one"),
    Column("accepted_high", _FLOAT, lambda r: _accepted(r, "high"), "of the laboratory's own range, if there is one"),
)


def _accepted(row: QualityRow, side: str) -> float | None:
    value: float | None = getattr(row.series.accepted, side) if row.series and row.series.accepted else None
    return value


def quality_table(periods: Sequence[JudgedPeriod]) -> pa.RecordBatch:
    """All values of all runs, oldest first: of the whole run, then of each of its slides."""
    rows = [row for number, judged in enumerate(periods, start=1) for row in _rows(number, judged)]
    return to_batch(rows, QUALITY_COLUMNS, schema_of(QUALITY_COLUMNS))


def _rows(number: int, judged: JudgedPeriod) -> Iterator[QualityRow]:
    charted = {(one.subject, one.measure.name): one for one in judged.series}
    for place, run in enumerate(judged.period.runs):
        for slide_id, figures in (("", run.whole), *run.slides.items()):
            for measure in measures_of(run.classes):
                reading, series = figures.readings.get(measure.name), charted.get((slide_id, measure.name))
                if reading is None:
                    continue
                point = series.points[place] if series else None
                yield QualityRow(run, number, slide_id, figures.cells, measure.name, reading.value, series, point)
