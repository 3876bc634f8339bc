"""`tune`: a recipe and labelled images in, a better recipe out."""

from pathlib import Path
from typing import Annotated

import typer

from bloodcell_batch.cli.options import Log, LogFormat, Quiet, errors_as_text, option
from bloodcell_batch.config.comparison import TuneConfig
from bloodcell_batch.config.recipe import TrainConfig
from bloodcell_batch.config.resolve import resolve
from bloodcell_batch.errors import UsageError

_Config = TuneConfig


def tune(
    recipe: Annotated[Path, typer.Argument(help="Recipe of a network, a TOML file.", metavar="CONFIG")],
    data: Annotated[Path, typer.Option(help="Labelled images, as for train.", metavar="DATA")],
    out: Annotated[Path, typer.Option(help="Folder for the study, best.toml and importances.png.", metavar="DIR")],
    trials: Annotated[int | None, option(_Config, "trials", metavar="N")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="Any key of the recipe; repeatable.", metavar="KEY=VALUE")
    ] = None,
    conflicts: Annotated[str | None, option(_Config, "conflicts")] = None,
    workers: Annotated[int | None, option(_Config, "workers", metavar="THREADS")] = None,
    seed: Annotated[int | None, option(_Config, "seed", metavar="N")] = None,
    quiet: Quiet = False,
    log_format: Log = LogFormat.TEXT,
) -> None:
    """Search batch size, epochs, width, learning rate, weight decay and augmentation strength of CONFIG.

    The score is that of the validation part; the test part is never looked at. Trials that fall behind are stopped
    early. The same command continues an interrupted search, and run several times at once, in one folder, it shares
    the work. Train the result with: train DATA --config DIR/best.toml
    """
    flags = {key: value for key, value in locals().items() if key in _Config.model_fields and value is not None}
    with errors_as_text(log_format, "Run the same command again to continue; finished trials are kept."):
        settings = resolve(_Config, flags)
        config = resolve(TrainConfig, {}, recipe, setting or ())
        from bloodcell_batch.cli.console import make_observer, write_text  # noqa: PLC0415 - keeps --help fast

        try:
            from bloodcell_batch.training.fit.tuning import tune as run  # noqa: PLC0415
        except ModuleNotFoundError as error:
            hint = "pip install 'bloodcell-batch[compare]'"
            raise UsageError(f"{error.name} is not installed.", hint=hint) from error

        found = run(config, data, out, settings, make_observer(quiet=quiet, log_format=log_format))
        lines = [f"best of {found.trials} trials ({found.pruned} pruned): {found.score:.2%}"]
        write_text("\n".join([*lines, *map(str, found.files)]))
