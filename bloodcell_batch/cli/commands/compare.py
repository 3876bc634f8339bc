"""`compare`: recipes and labelled images in, one table out."""

import functools
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from bloodcell_batch.cli.configured import Call, configured
from bloodcell_batch.config.comparison import CompareConfig
from bloodcell_batch.errors import ExitCode


@configured(CompareConfig, config_file="", when_interrupted="Run the same command again to continue.")
def compare(
    call: Call[CompareConfig],
    recipes: Annotated[
        list[Path],
        typer.Argument(
            help="Recipes: TOML files, or names such as models/resnet50 of those in the program.", metavar="CONFIG"
        ),
    ],
    data: Annotated[Path, typer.Option(help="Labelled images, as for train.", metavar="DATA")],
    out: Annotated[Path, typer.Option(help="Folder for the table, the rows and the models.", metavar="DIR")],
) -> None:
    """Train and measure each CONFIG on one split of DATA, and write one table as Parquet, Markdown and HTML.

    The split, the seed and the metrics are the same for all. Each system runs in a process of its own; one that fails
    becomes a row with the reason (exit code 1 at the end). The same command continues an interrupted comparison:
    finished rows are kept. Classical models are compared only, never saved: theirs would be pickles.
    """
    settings = call.settings
    from bloodcell_batch.cli.observers import make_observer  # noqa: PLC0415 - keeps --help fast
    from bloodcell_batch.training.comparison.compare import compare as run  # noqa: PLC0415
    from bloodcell_batch.training.comparison.report import as_text, write_comparison  # noqa: PLC0415
    from bloodcell_batch.training.comparison.system_row import FAILED  # noqa: PLC0415

    observer = functools.partial(make_observer, quiet=call.quiet, log_format=call.log_format)  # for other processes
    rows = run(recipes, data, out, settings, observer)
    write_comparison(rows, out, settings, shlex.join(["bloodcell-batch", *sys.argv[1:]]))
    call.tell(as_text(rows))
    if any(row.status == FAILED for row in rows):
        raise typer.Exit(ExitCode.ERROR)
