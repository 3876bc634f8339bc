"""`merge`: the results of all shards in, one run's tables out."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from bloodcell_batch.cli.configured import Call, configured
from bloodcell_batch.cli.exit_summary import conclude
from bloodcell_batch.config.merge import MergeConfig
from bloodcell_batch.results.formats import format_names


@configured(MergeConfig)
def merge(
    call: Call[MergeConfig],
    results: Annotated[
        list[Path],
        typer.Argument(help="Image tables of all shards, with the files beside them.", metavar="SHARD_RESULTS"),
    ],
    out: Annotated[
        list[str],
        typer.Option(
            help=f"Result table, {format_names()}; the other files are written beside it, as by classify. "
            "Once for each format. Use - for CSV on stdout.",
            metavar="FILE",
        ),
    ],
) -> None:
    """Join the results of `classify --shard 0/n` to `n-1/n` into those of one run, byte for byte.

    Pictures that are in two slides are looked for over all shards. Shards of different models, options, versions or
    images are refused. Exit codes as for classify. For Research Use Only.
    """
    settings = call.settings
    from bloodcell_batch.runs.merge import merge_shards  # noqa: PLC0415

    observer = call.observer()
    result = merge_shards(results, out, settings, observer, command=sys.argv)
    conclude(result, out, observer, settings.allow_failed, as_json=False)
