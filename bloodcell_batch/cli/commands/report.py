"""`report`: one HTML file about a run."""

from pathlib import Path
from typing import Annotated

import typer

from bloodcell_batch.cli.configured import Call, configured
from bloodcell_batch.cli.options import ResultsTable
from bloodcell_batch.config.results import ReportConfig
from bloodcell_batch.progress import file_size


@configured(ReportConfig)
def report(
    call: Call[ReportConfig],
    results: ResultsTable,
    out: Annotated[Path, typer.Option(help="Page to write.", metavar="FILE.html")],
) -> None:
    """Write a report of RESULTS as one HTML file that needs no network: differentials, review queue, galleries.

    Thumbnails are made from the images, without their metadata; the size of the page is printed. For Research Use
    Only.
    """
    settings = call.settings
    call.line.begin(settings, reads=[results, *filter(None, [settings.wbc])], writes=[out])
    from bloodcell_batch.reports.report import write_html_report  # noqa: PLC0415

    observer = call.observer()
    size = write_html_report(results, out, settings, observer)
    observer.note(f"{out}: {file_size(size)}", out=str(out), bytes=size)
