"""`train`: class folders in, a model file out."""

from pathlib import Path
from typing import Annotated

import typer

from bloodcell_batch.cli.options import Log, LogFormat, Quiet, errors_as_text, option
from bloodcell_batch.config.recipe import TrainConfig
from bloodcell_batch.config.resolve import resolve

_Config = TrainConfig


def train(
    data: Annotated[Path, typer.Argument(help="Folder with one folder of images per class.", metavar="DATA")],
    out: Annotated[Path, typer.Option(help="Model file to write.", metavar="FILE.safetensors")],
    config: Annotated[Path | None, typer.Option(help="Recipe, a TOML file (flags win).", metavar="FILE")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="Any key of the recipe; repeatable.", metavar="KEY=VALUE")
    ] = None,
    architecture: Annotated[str | None, option(_Config, "architecture", metavar="NAME")] = None,
    pretrained: Annotated[bool | None, option(_Config, "pretrained", "--pretrained")] = None,
    init_weights: Annotated[list[Path] | None, option(_Config, "init_weights", metavar="FILE")] = None,
    input_size: Annotated[int | None, option(_Config, "input_size", metavar="PIXELS")] = None,
    epochs: Annotated[int | None, option(_Config, "epochs", metavar="N")] = None,
    batch_size: Annotated[int | None, option(_Config, "batch_size", metavar="IMAGES")] = None,
    learning_rate: Annotated[float | None, option(_Config, "learning_rate", metavar="RATE")] = None,
    conflicts: Annotated[str | None, option(_Config, "conflicts")] = None,
    precision: Annotated[str | None, option(_Config, "precision")] = None,
    workers: Annotated[int | None, option(_Config, "workers", metavar="THREADS")] = None,
    seed: Annotated[int | None, option(_Config, "seed", metavar="N")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing model file; forget an interrupted training.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an interrupted training of the same recipe and images, exactly.")
    ] = False,
    quiet: Quiet = False,
    log_format: Log = LogFormat.TEXT,
) -> None:
    """Train a classifier on DATA, calibrate it, and write one model file.

    DATA holds the folders basophil, eosinophil, erythroblast, ig, lymphocyte, monocyte, neutrophil and platelet. The
    printed figures are of the test part, which training and calibration never see. All options of a recipe can be
    given in the TOML file; configs/default.toml is the recipe of the model in the package.
    """
    flags = {key: value for key, value in locals().items() if key in _Config.model_fields and value is not None}
    with errors_as_text(log_format, "Run it again with --resume to go on after the last whole epoch."):
        settings = resolve(_Config, flags, config, setting or ())
        from bloodcell_batch.cli.console import make_observer, write_text  # noqa: PLC0415 - keeps --help fast
        from bloodcell_batch.training.evaluation.metrics import as_text  # noqa: PLC0415
        from bloodcell_batch.training.fit.train import check_model_path  # noqa: PLC0415
        from bloodcell_batch.training.fit.train import train as run  # noqa: PLC0415

        check_model_path(out, overwrite=overwrite, resume=resume)
        result = run(settings, data, out, make_observer(quiet=quiet, log_format=log_format))
        if result is not None:
            model, metrics = result
            write_text(f"{out} (sha256 {model.sha256})\n{as_text(metrics)}")
