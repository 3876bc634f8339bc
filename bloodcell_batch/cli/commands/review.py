"""`review export` and `review import`: a person verifies, and the differentials follow."""

import re
from pathlib import Path
from typing import Annotated

import typer

from bloodcell_batch.cli.audit_option import audited
from bloodcell_batch.cli.options import Log, LogFormat, Quiet, ResultsTable, errors_as_text, option
from bloodcell_batch.config.resolve import resolve
from bloodcell_batch.config.results import ReviewExportConfig, ReviewImportConfig

review = typer.Typer(no_args_is_help=True, help="Let a person verify cells, and count anew with what they say.")


@review.command("export")
def review_export(
    results: ResultsTable,
    out: Annotated[Path, typer.Option(help="Page, workbook or table to write.", metavar="FILE.html|.xlsx|.csv")],
    config: Annotated[Path | None, typer.Option(help="TOML file with the options below.", metavar="FILE")] = None,
    cells: Annotated[str | None, option(ReviewExportConfig, "cells")] = None,
    images: Annotated[Path | None, option(ReviewExportConfig, "images", metavar="FOLDER")] = None,
    thumbnail: Annotated[int | None, option(ReviewExportConfig, "thumbnail", metavar="PIXELS")] = None,
    pseudonymize: Annotated[Path | None, option(ReviewExportConfig, "pseudonymize", metavar="KEYFILE")] = None,
    audit_log: Annotated[Path | None, option(ReviewExportConfig, "audit_log", metavar="FILE")] = None,
    overwrite: Annotated[bool | None, option(ReviewExportConfig, "overwrite", "--overwrite")] = None,
    quiet: Quiet = False,
    log_format: Log = LogFormat.TEXT,
) -> None:
    """Write the cells for review with their pictures, preclassification and empty columns for the person.

    The HTML page is filled in with the mouse or the keys 1-8, without a server, and gives a CSV file to import.
    """
    flags = {k: v for k, v in locals().items() if k in ReviewExportConfig.model_fields and v is not None}
    with errors_as_text(log_format), audited(audit_log, config) as line:
        settings = resolve(ReviewExportConfig, flags, config)
        line.begin(settings, reads=[results], writes=[out])
        from bloodcell_batch.cli.console import make_observer  # noqa: PLC0415 - keeps --help fast
        from bloodcell_batch.reports.review.export import export_review  # noqa: PLC0415

        observer = make_observer(quiet=quiet, log_format=log_format)
        count = export_review(results, out, settings, observer)
        observer.note(f"{out}: {count} cells for review, {out.stat().st_size / 1e6:.1f} MB", out=str(out), cells=count)


@review.command("import")
def review_import(
    results: ResultsTable,
    filled: Annotated[Path, typer.Argument(help="The review, filled in: .csv or .xlsx.", metavar="REVIEW")],
    out: Annotated[
        Path | None,
        typer.Option(
            help="New table; NAME.verified.* beside RESULTS if not given.", metavar="FILE", show_default=False
        ),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with the options below.", metavar="FILE")] = None,
    by: Annotated[str | None, option(ReviewImportConfig, "by", metavar="NAME")] = None,
    partial: Annotated[bool | None, option(ReviewImportConfig, "partial", "--partial")] = None,
    pseudonymize: Annotated[Path | None, option(ReviewImportConfig, "pseudonymize", metavar="KEYFILE")] = None,
    audit_log: Annotated[Path | None, option(ReviewImportConfig, "audit_log", metavar="FILE")] = None,
    overwrite: Annotated[bool | None, option(ReviewImportConfig, "overwrite", "--overwrite")] = None,
) -> None:
    """Write new results in which verified labels count: tables, agreement (Cohen's kappa), who and when.

    RESULTS stay as they are. A review of another run, with unknown labels or names, or unfinished is refused whole.
    """
    flags = {k: v for k, v in locals().items() if k in ReviewImportConfig.model_fields and v is not None}
    with errors_as_text(LogFormat.TEXT), audited(audit_log, config) as line:
        settings = resolve(ReviewImportConfig, flags, config)
        from bloodcell_batch.cli.console import write_text  # noqa: PLC0415 - keeps --help fast
        from bloodcell_batch.reports.review.importing import import_review, summary  # noqa: PLC0415
        from bloodcell_batch.results.file_names import result_files  # noqa: PLC0415

        target = out or _next_name(results)
        line.begin(settings, reads=[results, filled], writes=result_files(target))
        write_text(summary(import_review(results, filled, target, settings), target))


def _next_name(results: Path) -> Path:
    """NAME.verified for the first review of a table, NAME.verified2 for the next."""
    found = re.fullmatch(r"(.*)\.verified(\d*)", results.stem)
    name = f"{found[1]}.verified{int(found[2] or 1) + 1}" if found else f"{results.stem}.verified"
    return results.with_name(name + results.suffix)
