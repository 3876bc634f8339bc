"""`monitor`: the quality of many runs over time, as a page and as a table."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bloodcell_batch.config.results import MonitorConfig
from bloodcell_batch.errors import InputError, UsageError, did_you_mean
from bloodcell_batch.files.publishing import publish_files, text_writer
from bloodcell_batch.monitoring.control import read_ranges
from bloodcell_batch.monitoring.history import WatchedRun, read_history
from bloodcell_batch.monitoring.judgement import JudgedPeriod, judge
from bloodcell_batch.monitoring.measures import measures_of
from bloodcell_batch.monitoring.page import quality_page
from bloodcell_batch.monitoring.periods import Baseline, periods_of
from bloodcell_batch.monitoring.remarks import Remarks, remarks_of
from bloodcell_batch.monitoring.table import quality_table
from bloodcell_batch.progress import Observer
from bloodcell_batch.results.formats import OUTPUT_FORMATS, format_names
from bloodcell_batch.results.irreplaceable import check_outputs

_PAGES = {".html", ".htm"}
Writer = Callable[[Path], object]


@dataclass(frozen=True, slots=True)
class Quality:
    """What was found, and what there is to say about it."""

    periods: tuple[JudgedPeriod, ...]
    remarks: Remarks

    @property
    def in_control(self) -> bool:
        """False if a rule rejects a run of the newest period."""
        return not self.periods[-1].rejections


def write_quality(tables: Sequence[Path], outs: Sequence[Path], config: MonitorConfig, observer: Observer) -> Quality:
    """Write the page and the tables in `outs` about the runs whose image tables are given.

    Raises:
        BloodcellBatchError: nothing was written; the text says what to do.
    """
    for out in outs:
        if out.suffix.lower() not in {*_PAGES, *OUTPUT_FORMATS}:
            hint = f"Use NAME.html for the page, or {format_names()} for the table."
            raise UsageError(f"--out {out} is neither a page nor a table.", hint=hint)
        for table in tables:
            check_outputs(out, overwrite=config.overwrite, about=table)
    if len(set(outs)) < len(outs):
        raise UsageError(f"--out {outs[0]} is there twice.", hint="Give each output once.")
    quality = watch(tables, config, observer)
    publish_files({out: _writer(out, quality, config) for out in outs})
    return quality


def watch(tables: Sequence[Path], config: MonitorConfig, observer: Observer) -> Quality:
    """Read runs, and judge them by their baselines.

    Raises:
        InputError: a run can't be read, is there twice, or a control slide is in none of them.
    """
    runs = read_history(tables, observer)
    _check_controls(runs, config.control)
    measures = measures_of(runs[-1].classes)
    ranges = {} if config.control_ranges is None else read_ranges(config.control_ranges, config.control, measures)
    until = config.baseline_until
    baseline = Baseline(until=until) if until else Baseline(config.baseline_runs or Baseline().runs)
    judged = tuple(judge(period, config.control, ranges) for period in periods_of(runs, baseline))
    return Quality(judged, remarks_of(judged, config.control))


def _check_controls(runs: Sequence[WatchedRun], controls: Sequence[str]) -> None:
    known = {slide for run in runs for slide in run.slides}
    for control in controls:
        if control not in known:
            near = did_you_mean(control, known) or "."
            raise InputError(f"No run has a slide {control!r}{near}", hint="Spell --control as in the column slide_id.")


def _writer(out: Path, quality: Quality, config: MonitorConfig) -> Writer:
    if out.suffix.lower() in _PAGES:
        return text_writer(quality_page(quality.periods, quality.remarks, config))
    batch = quality_table(quality.periods)
    write = OUTPUT_FORMATS[out.suffix.lower()].write
    return lambda fresh: write(fresh, batch.schema, [batch])
