"""The page of `monitor`."""

from collections.abc import Sequence
from datetime import UTC, datetime

from bloodcell_batch.config.results import MonitorConfig
from bloodcell_batch.monitoring.chart import charts_of
from bloodcell_batch.monitoring.judgement import JudgedPeriod
from bloodcell_batch.monitoring.measures import measures_of
from bloodcell_batch.monitoring.remarks import Remarks
from bloodcell_batch.reports.templates import render


def quality_page(periods: Sequence[JudgedPeriod], remarks: Remarks, config: MonitorConfig) -> str:
    """The page as text."""
    newest = periods[-1]
    charts = charts_of(periods)
    rules = {
        (finding.run.name, finding.subject, finding.measure.name): finding.rule
        for judged in periods
        for finding in judged.findings
    }
    return render(
        "quality.html.j2",
        periods=periods,
        newest=newest,
        run=newest.period.runs[-1],
        runs=sum(len(judged.period.runs) for judged in periods),
        remarks=remarks,
        charts=charts,
        controls=config.control,
        baseline=config.baseline,
        measures=measures_of(newest.period.runs[0].classes),
        rules=rules,
        facts=_facts(periods),
    )


def _facts(periods: Sequence[JudgedPeriod]) -> list[tuple[str, str]]:
    record = periods[-1].period.runs[-1].record
    width = periods[-1].width
    return [
        ("Page written", datetime.now(UTC).isoformat(timespec="seconds")),
        ("Program", f"bloodcell-batch {record.bloodcell_batch}"),
        ("Model", f"{record.model.name} ({record.model.architecture}), SHA-256 {record.model.sha256}"),
        ("Backend", record.backend.description),
        ("Left for review", ", ".join(f"{name} {value:g}" for name, value in record.thresholds.items())),
        ("Measures judged at once", str(periods[-1].measures)),
        ("Width of the limits", "no baseline yet" if width is None else f"{width:.2f} times 1, 2 and 3 SD"),
    ]
