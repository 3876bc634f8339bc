"""`merge`: the results of all shards in, one run's tables out."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from bloodcell_batch.cli.exit_summary import conclude
from bloodcell_batch.cli.options import Log, LogFormat, Quiet, errors_as_text, option
from bloodcell_batch.config.merge import MergeConfig
from bloodcell_batch.config.resolve import resolve
from bloodcell_batch.results.formats import format_names

_Config = MergeConfig


def merge(
    results: Annotated[
        list[Path],
        typer.Argument(help="Image tables of all shards, with the files beside them.", metavar="SHARD_RESULTS"),
    ],
    out: Annotated[
        str,
        typer.Option(
            help=f"Result table, {format_names()}; the other files are written beside it, as by classify. "
            "Use - for CSV on stdout.",
            metavar="FILE",
        ),
    ],
    config: Annotated[Path | None, typer.Option(help="TOML file with the options below.", metavar="FILE")] = None,
    csv_dialect: Annotated[str | None, option(_Config, "csv_dialect")] = None,
    overwrite: Annotated[bool | None, option(_Config, "overwrite", "--overwrite")] = None,
    allow_failed: Annotated[int | None, option(_Config, "allow_failed", metavar="FILES")] = None,
    quiet: Quiet = False,
    log_format: Log = LogFormat.TEXT,
) -> None:
    """Join the results of `classify --shard 0/n` to `n-1/n` into those of one run, byte for byte.

    Pictures that are in two slides are looked for over all shards. Shards of different models, options, versions or
    images are refused. Exit codes as for classify. For Research Use Only.
    """
    flags = {key: value for key, value in locals().items() if key in _Config.model_fields and value is not None}
    with errors_as_text(log_format):
        settings = resolve(_Config, flags, config)
        from bloodcell_batch.cli.console import make_observer  # noqa: PLC0415 - keeps --help fast
        from bloodcell_batch.runs.merge import merge_shards  # noqa: PLC0415

        observer = make_observer(quiet=quiet, log_format=log_format)
        result = merge_shards(results, out, settings, observer, command=sys.argv)
        conclude(result, out, observer, settings.allow_failed, as_json=False)
