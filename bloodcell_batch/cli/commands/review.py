"""`review export`, `review import`, `review agree`: people verify, and the differentials follow."""

import re
from pathlib import Path
from typing import Annotated

import typer

from bloodcell_batch.cli.configured import Call, configured
from bloodcell_batch.cli.help_pages import Command, Group
from bloodcell_batch.cli.options import ResultsTable
from bloodcell_batch.config.results import ReviewAgreeConfig, ReviewExportConfig, ReviewImportConfig
from bloodcell_batch.progress import counted, file_size

review = typer.Typer(
    cls=Group, no_args_is_help=True, help="Let a person verify cells, and count again with their labels."
)


@review.command("export", cls=Command)
@configured(ReviewExportConfig)
def review_export(
    call: Call[ReviewExportConfig],
    results: ResultsTable,
    out: Annotated[Path, typer.Option(help="Page, workbook or table to write.", metavar="FILE.html|.xlsx|.csv")],
) -> None:
    """Write the cells for review with their pictures, preclassification and empty columns for the person.

    The HTML page is filled in from the keyboard or with the mouse, without a server, and gives a CSV file to import.

    --sample with --blind measures the accuracy; --for-adaptation chooses the cells that teach a model most.
    """
    settings = call.settings
    call.line.begin(settings, reads=[results], writes=[out])
    from bloodcell_batch.reports.review.export import export_review  # noqa: PLC0415

    observer = call.observer()
    count = export_review(results, out, settings, observer)
    observer.note(
        f"{out}: {counted(count, 'cell')} for review, {file_size(out.stat().st_size)}", out=str(out), cells=count
    )


@review.command("import", cls=Command)
@configured(ReviewImportConfig)
def review_import(
    call: Call[ReviewImportConfig],
    results: ResultsTable,
    filled: Annotated[Path, typer.Argument(help="The review, filled in: .csv or .xlsx.", metavar="REVIEW")],
    out: Annotated[
        Path | None,
        typer.Option(
            help="New table; NAME.verified.* beside RESULTS if not given.", metavar="FILE", show_default=False
        ),
    ] = None,
) -> None:
    """Write new results in which verified labels count: tables, agreement (Cohen's kappa), who and when.

    RESULTS stay as they are. A review of another run, with unknown labels or names, or unfinished is refused whole.
    """
    settings = call.settings
    from bloodcell_batch.reports.review.importing import import_review, summary  # noqa: PLC0415
    from bloodcell_batch.results.file_names import result_files  # noqa: PLC0415

    target = out or _next_name(results)
    call.line.begin(settings, reads=[results, filled], writes=result_files(target))
    call.tell(summary(import_review(results, filled, target, settings), target))


@review.command("agree", cls=Command)
@configured(ReviewAgreeConfig)
def review_agree(
    call: Call[ReviewAgreeConfig],
    results: ResultsTable,
    first: Annotated[Path, typer.Argument(help="What one person filled in: .csv or .xlsx.", metavar="FIRST")],
    second: Annotated[Path, typer.Argument(help="What another filled in, of the same cells.", metavar="SECOND")],
    out: Annotated[
        Path | None,
        typer.Option(
            help="List of the cells on which they disagree, to settle and import.",
            metavar="FILE.html|.xlsx|.csv",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Compare what two people said of the same cells: agreement and Cohen's kappa with limits, per class, and of each
    with the program.

    --out writes the disagreements to be settled. The file has the other cells too, filled in: importing it imports all.
    """
    settings = call.settings
    call.line.begin(settings, reads=[results, first, second], writes=[out] if out else [])
    from bloodcell_batch.cli.streams import write_text  # noqa: PLC0415 - keeps --help fast
    from bloodcell_batch.reports.review.readers import agreement_summary, compare_readers  # noqa: PLC0415

    found = compare_readers(results, (first, second), out, settings, call.observer())
    write_text(agreement_summary(found, out))


def _next_name(results: Path) -> Path:
    """NAME.verified for the first review of a table, NAME.verified2 for the next."""
    found = re.fullmatch(r"(.*)\.verified(\d*)", results.stem)
    name = f"{found[1]}.verified{int(found[2] or 1) + 1}" if found else f"{results.stem}.verified"
    return results.with_name(name + results.suffix)
