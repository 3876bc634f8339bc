"""`differential`: per-slide differentials of a result table, with a laboratory's own targets and ranges."""

from pathlib import Path
from typing import Annotated

import typer

from bloodcell_batch.cli.audit_option import audited
from bloodcell_batch.cli.options import LogFormat, ResultsTable, errors_as_text, option
from bloodcell_batch.config.resolve import resolve
from bloodcell_batch.config.results import DifferentialConfig
from bloodcell_batch.results.formats import STDOUT, format_names

_Config = DifferentialConfig


def differential(
    results: ResultsTable,
    out: Annotated[
        str, typer.Option(help=f"Table to write, {format_names()}; CSV on stdout if not given.", metavar="FILE")
    ] = "-",
    config: Annotated[Path | None, typer.Option(help="TOML file with the options below.", metavar="FILE")] = None,
    min_wbc: Annotated[int | None, option(_Config, "min_wbc", metavar="100|200|400")] = None,
    reference_ranges: Annotated[Path | None, option(_Config, "reference_ranges", metavar="FILE")] = None,
    adjust: Annotated[bool | None, option(_Config, "adjust", "--adjust")] = None,
    model: Annotated[Path | None, option(_Config, "model", metavar="FILE")] = None,
    csv_dialect: Annotated[str | None, option(_Config, "csv_dialect")] = None,
    pseudonymize: Annotated[Path | None, option(_Config, "pseudonymize", metavar="KEYFILE")] = None,
    audit_log: Annotated[Path | None, option(_Config, "audit_log", metavar="FILE")] = None,
    overwrite: Annotated[bool | None, option(_Config, "overwrite", "--overwrite")] = None,
) -> None:
    """Write the differential of every slide of RESULTS, counted anew; verified labels count where there are any.

    The limits of the percentages cover the sampling of cells. --adjust adds a second estimate beside the first, never
    in its place. Reference ranges come from your file only. For Research Use Only.
    """
    flags = {key: value for key, value in locals().items() if key in _Config.model_fields and value is not None}
    with errors_as_text(LogFormat.TEXT), audited(audit_log, config) as line:
        settings = resolve(_Config, flags, config)
        line.begin(settings, reads=[results], writes=[*([] if out == STDOUT else [Path(out)])])
        from bloodcell_batch.reports.differential import write_differential  # noqa: PLC0415 - keeps --help fast

        write_differential(results, out, settings)
