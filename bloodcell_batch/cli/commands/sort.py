"""`sort`: the cells of a run in folders by class."""

from pathlib import Path
from typing import Annotated

import typer

from bloodcell_batch.cli.configured import Call, configured
from bloodcell_batch.cli.options import ResultsTable
from bloodcell_batch.config.results import SortConfig


@configured(SortConfig)
def sort(
    call: Call[SortConfig],
    results: ResultsTable,
    out: Annotated[Path, typer.Argument(help="New or empty folder.", metavar="FOLDER")],
) -> None:
    """Put the cells of RESULTS into folders under FOLDER by class: hard links, or copies on another disk.

    Verified cells go into folders named after their class, from which train learns; those that only the program named
    into predicted_CLASS, and the others into unclassified. sorted.csv lists them all. Nothing is replaced, and an image
    that was changed since is left out. For Research Use Only.
    """
    settings = call.settings
    call.line.begin(settings, reads=[results], writes=[out])
    from bloodcell_batch.reports.sorting import sort_cells  # noqa: PLC0415 - keeps --help fast

    call.tell("\n".join(sort_cells(results, out, settings, call.observer()).told()))
