"""`train-finder`: fields with boxes in, a finder out."""

from pathlib import Path
from typing import Annotated

import typer

from bloodcell_batch.cli.configured import Call, configured
from bloodcell_batch.config.finder import TrainFinderConfig


@configured(
    TrainFinderConfig,
    config_file="Recipe: a TOML file, or the name of one in the program, such as finder/default; options of the "
    "command line win.",
    settable=True,
    when_interrupted="Run it again with --resume to go on after the last whole epoch.",
)
def train_finder(
    call: Call[TrainFinderConfig],
    data: Annotated[Path, typer.Argument(help="Folder that holds those of the recipe's sources.", metavar="DATA")],
    out: Annotated[Path, typer.Option(help="Finder to write.", metavar="FILE.safetensors")],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing finder; forget an interrupted training.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an interrupted training of the same recipe and fields.")
    ] = False,
) -> None:
    """Train a finder: the network that finds leukocytes, red cells and platelets in whole fields.

    The recipe says where below DATA the fields are, how their boxes are written, and which files are held out. The
    printed figures are of those, which the training never sees.
    """
    settings = call.settings
    from bloodcell_batch.training.finder.evaluate import as_text  # noqa: PLC0415 - keeps --help fast
    from bloodcell_batch.training.finder.train import check_finder_path  # noqa: PLC0415
    from bloodcell_batch.training.finder.train import train_finder as run  # noqa: PLC0415

    check_finder_path(out, overwrite=overwrite, resume=resume)
    model, figures = run(settings, data, out, call.observer())
    call.tell(f"{out} (sha256 {model.sha256})\n{as_text(figures)}")
