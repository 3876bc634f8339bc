"""`tune`: a recipe and labelled images in, a better recipe out."""

from pathlib import Path
from typing import Annotated

import typer

from bloodcell_batch.cli.configured import Call, configured
from bloodcell_batch.cli.options import Settings
from bloodcell_batch.config.comparison import TuneConfig
from bloodcell_batch.config.recipe import TrainConfig
from bloodcell_batch.config.resolve import resolve
from bloodcell_batch.errors import UsageError
from bloodcell_batch.progress import counted


@configured(
    TuneConfig, config_file="", when_interrupted="Run the same command again to continue; finished trials are kept."
)
def tune(
    call: Call[TuneConfig],
    recipe: Annotated[
        Path,
        typer.Argument(help="Recipe of a network: a TOML file, or the name of one in the program.", metavar="CONFIG"),
    ],
    data: Annotated[Path, typer.Option(help="Labelled images, as for train.", metavar="DATA")],
    out: Annotated[Path, typer.Option(help="Folder for the study, best.toml and importances.png.", metavar="DIR")],
    setting: Settings = None,
) -> None:
    """Search batch size, epochs, width, learning rate, weight decay and augmentation strength of CONFIG.

    The score is that of the validation part; the test part is never looked at. Trials that fall behind are stopped
    early. The same command continues an interrupted search, and run several times at once, in one folder, it shares
    the work. Train the result with: train DATA --config DIR/best.toml
    """
    settings = call.settings
    config = resolve(TrainConfig, {}, recipe, setting or ())
    try:
        from bloodcell_batch.training.fit.tuning import tune as run  # noqa: PLC0415 - keeps --help fast
    except ModuleNotFoundError as error:
        hint = "pip install 'bloodcell-batch[compare]'"
        raise UsageError(f"{error.name} is not installed.", hint=hint) from error

    found = run(config, data, out, settings, call.observer())
    lines = [f"best of {counted(found.trials, 'trial')} ({found.pruned} pruned): {found.score:.2%}"]
    call.tell("\n".join([*lines, *map(str, found.files)]))
