"""`train`: class folders in, a model file out."""

from pathlib import Path
from typing import Annotated

import typer

from bloodcell_batch.cli.configured import Call, configured
from bloodcell_batch.config.recipe import TrainConfig


@configured(
    TrainConfig,
    config_file="Recipe: a TOML file, or the name of one in the program, such as finetune; options of the "
    "command line win.",
    settable=True,
    when_interrupted="Run it again with --resume to go on after the last whole epoch.",
)
def train(
    call: Call[TrainConfig],
    data: Annotated[
        Path,
        typer.Argument(
            help="Labelled images: a folder with one folder per class, a manifest (path, label), or results with "
            "verified labels.",
            metavar="DATA",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Model file to write.", metavar="FILE.safetensors")],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing model file; forget an interrupted training.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an interrupted training of the same recipe and images, exactly.")
    ] = False,
) -> None:
    """Train a classifier on DATA, calibrate it, and write one model file.

    The classes are those that the data have by known names, or those in the table `classes` of the recipe. The printed
    figures are of the test part, which training and calibration never see. A TOML file can give every key of a recipe;
    --config default is the recipe of the model in the package.
    """
    settings = call.settings
    from bloodcell_batch.cell_classes import rolled_up  # noqa: PLC0415 - keeps --help fast
    from bloodcell_batch.training.evaluation.figures_text import as_text  # noqa: PLC0415
    from bloodcell_batch.training.fit.train import check_model_path  # noqa: PLC0415
    from bloodcell_batch.training.fit.train import train as run  # noqa: PLC0415

    check_model_path(out, overwrite=overwrite, resume=resume)
    result = run(settings, data, out, call.observer())
    if result is not None:
        model, metrics = result
        classes = rolled_up(model.header.class_list).reported
        call.tell(f"{out} (sha256 {model.sha256})\n{as_text(metrics, classes)}")
