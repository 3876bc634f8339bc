"""`report`: one HTML file about a run."""

from pathlib import Path
from typing import Annotated

import typer

from bloodcell_batch.cli.audit_option import audited
from bloodcell_batch.cli.options import Log, LogFormat, Quiet, ResultsTable, errors_as_text, option
from bloodcell_batch.config.resolve import resolve
from bloodcell_batch.config.results import ReportConfig

_Config = ReportConfig


def report(
    results: ResultsTable,
    out: Annotated[Path, typer.Option(help="Page to write.", metavar="FILE.html")],
    config: Annotated[Path | None, typer.Option(help="TOML file with the options below.", metavar="FILE")] = None,
    images: Annotated[Path | None, option(_Config, "images", metavar="FOLDER")] = None,
    gallery: Annotated[int | None, option(_Config, "gallery", metavar="CELLS")] = None,
    queue: Annotated[int | None, option(_Config, "queue", metavar="CELLS")] = None,
    thumbnail: Annotated[int | None, option(_Config, "thumbnail", metavar="PIXELS")] = None,
    min_wbc: Annotated[int | None, option(_Config, "min_wbc", metavar="100|200|400")] = None,
    reference_ranges: Annotated[Path | None, option(_Config, "reference_ranges", metavar="FILE")] = None,
    adjust: Annotated[bool | None, option(_Config, "adjust", "--adjust")] = None,
    model: Annotated[Path | None, option(_Config, "model", metavar="FILE")] = None,
    pseudonymize: Annotated[Path | None, option(_Config, "pseudonymize", metavar="KEYFILE")] = None,
    audit_log: Annotated[Path | None, option(_Config, "audit_log", metavar="FILE")] = None,
    overwrite: Annotated[bool | None, option(_Config, "overwrite", "--overwrite")] = None,
    quiet: Quiet = False,
    log_format: Log = LogFormat.TEXT,
) -> None:
    """Write a report of RESULTS as one HTML file that needs no network: differentials, review queue, galleries.

    Thumbnails are made from the images, without their metadata; the size of the page is printed. For Research Use
    Only.
    """
    flags = {key: value for key, value in locals().items() if key in _Config.model_fields and value is not None}
    with errors_as_text(log_format), audited(audit_log, config) as line:
        settings = resolve(_Config, flags, config)
        line.begin(settings, reads=[results], writes=[out])
        from bloodcell_batch.cli.console import make_observer  # noqa: PLC0415 - keeps --help fast
        from bloodcell_batch.reports.report import write_html_report  # noqa: PLC0415

        observer = make_observer(quiet=quiet, log_format=log_format)
        size = write_html_report(results, out, settings, observer)
        observer.note(f"{out}: {size / 1e6:.1f} MB", out=str(out), bytes=size)
