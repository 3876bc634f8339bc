"""`differential`: per-slide differentials of a result table, with a laboratory's own targets and ranges."""

from pathlib import Path
from typing import Annotated

import typer

from bloodcell_batch.cli.configured import Call, configured
from bloodcell_batch.cli.options import ResultsTable
from bloodcell_batch.config.results import DifferentialConfig
from bloodcell_batch.results.formats import STDOUT, format_names


@configured(DifferentialConfig)
def differential(
    call: Call[DifferentialConfig],
    results: ResultsTable,
    out: Annotated[
        str, typer.Option(help=f"Table to write, {format_names()}; CSV on stdout if not given.", metavar="FILE")
    ] = "-",
) -> None:
    """Write the differential of every slide of RESULTS, counted again; verified labels count where there are any.

    The limits of the percentages cover the sampling of cells and every class that the unclassified cells could be, not
    confusions among the classified ones. Reference ranges come from your file only. For Research Use Only.
    """
    settings = call.settings
    call.line.begin(settings, reads=[results], writes=[*([] if out == STDOUT else [Path(out)])])
    from bloodcell_batch.reports.differential import write_differential  # noqa: PLC0415 - keeps --help fast

    write_differential(results, out, settings)
