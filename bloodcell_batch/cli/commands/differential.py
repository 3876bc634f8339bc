"""`differential`: per-slide differentials of a result table, with a laboratory's own targets and ranges."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from bloodcell_batch.cli.configured import Call, configured
from bloodcell_batch.cli.exit_summary import tell_alerts
from bloodcell_batch.cli.options import ResultsTable
from bloodcell_batch.config.results import DifferentialConfig
from bloodcell_batch.results.formats import STDOUT, format_names


@configured(DifferentialConfig)
def differential(
    call: Call[DifferentialConfig],
    results: ResultsTable,
    out: Annotated[
        str | None,
        typer.Option(
            help=f"Table to write, {format_names()}, or - for CSV on stdout. If not given, a terminal "
            "shows a table, and a pipe or a file gets CSV.",
            metavar="FILE",
        ),
    ] = None,
) -> None:
    """Show or write the differential of every slide of RESULTS, counted again; verified labels come first.

    The limits of the percentages cover the sampling of cells and every class that the unclassified cells could be, not
    confusions among the classified ones. Reference ranges come from your file only. For Research Use Only.
    """
    settings = call.settings
    call.line.begin(
        settings,
        reads=[results, *filter(None, [settings.wbc])],
        writes=[] if out in {None, STDOUT} else [Path(str(out))],
    )
    from bloodcell_batch.cli.live_display import print_slides  # noqa: PLC0415 - keeps --help fast
    from bloodcell_batch.reports.differential import write_differential  # noqa: PLC0415

    shown = out is None and settings.csv_dialect == "plain" and sys.stdout is not None and sys.stdout.isatty()
    found = write_differential(results, None if shown else out or STDOUT, settings)
    observer = call.observer()
    if shown:
        print_slides(found.slides, found.absolute)
    elif out in {None, STDOUT}:
        return  # a program reads it
    else:
        observer.slides(found.slides)
    tell_alerts(found.slides, observer)
    for remark in found.remarks:
        observer.note(remark)
    if not shown:
        observer.note(f"written to {out}", out=str(out))
