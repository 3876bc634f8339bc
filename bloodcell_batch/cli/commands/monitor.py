"""`monitor`: runs over weeks, and the first one that left the baseline."""

from pathlib import Path
from typing import Annotated

import typer

from bloodcell_batch.cli.configured import Call, configured
from bloodcell_batch.config.results import MonitorConfig
from bloodcell_batch.errors import ExitCode
from bloodcell_batch.progress import counted
from bloodcell_batch.results.formats import format_names


@configured(MonitorConfig)
def monitor(
    call: Call[MonitorConfig],
    runs: Annotated[
        list[Path],
        typer.Argument(
            help="Tables that classify wrote, each with its run record beside it, in any order.", metavar="RUN..."
        ),
    ],
    out: Annotated[
        list[Path],
        typer.Option(
            help=f"Page to write, NAME.html, or table, {format_names()}. Once for each.",
            metavar="FILE",
        ),
    ],
) -> None:
    """Watch RUNs over weeks: review share, class mix, confidence, brightness and more as Levey-Jennings charts.

    Rules 1-2s (a warning), 1-3s and 2-2s are named when they fire, with limits from a baseline that allow for the
    number of measures. A new model, other classes or other thresholds begin a new baseline. Exit code 3 if a rule
    rejects a run of the newest one. For Research Use Only.
    """
    settings = call.settings
    call.line.begin(settings, reads=runs, writes=out)
    from bloodcell_batch.monitoring.monitor import write_quality  # noqa: PLC0415 - keeps --help fast
    from bloodcell_batch.results.tables import import_arrow_without_pandas  # noqa: PLC0415

    import_arrow_without_pandas()
    observer = call.observer()
    quality = write_quality(runs, out, settings, observer)
    for remark in quality.remarks.rejected:
        observer.warn(remark, state="rejected")
    for remark in quality.remarks.warnings:
        observer.warn(remark)
    for remark in quality.remarks.notes:
        observer.note(remark)
    judged = "in control" if quality.in_control else "not in control"
    newest = quality.periods[-1]
    judged = "not judged yet" if newest.width is None else judged
    watched = sum(len(one.period.runs) for one in quality.periods)
    told = f"{counted(watched, 'run')}, {counted(newest.measures, 'measure')}: {judged}"
    observer.note(f"{told}; written to {' and '.join(map(str, out))}", state=judged, out=[str(one) for one in out])
    if not quality.in_control:
        raise typer.Exit(ExitCode.OUT_OF_CONTROL)
