"""`evaluate`: a model file and labelled images in, figures out."""

from pathlib import Path
from typing import Annotated

import typer

from bloodcell_batch.backends import BACKEND_NAMES
from bloodcell_batch.commands.options import Log, LogFormat, Quiet, errors_as_text, option
from bloodcell_batch.config import EvaluateConfig, resolve

_Config = EvaluateConfig


def evaluate(
    data: Annotated[Path, typer.Argument(help="Folder with one folder of images per class.", metavar="DATA")],
    model: Annotated[
        Path | None, typer.Option(help="Model file; the one shipped with the package if not given.", metavar="FILE")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with the options below.", metavar="FILE")] = None,
    out: Annotated[Path | None, typer.Option(help="Also write the figures to this JSON file.", metavar="FILE")] = None,
    part: Annotated[str | None, option(_Config, "part")] = None,
    backend: Annotated[str | None, option(_Config, "backend", metavar="|".join(BACKEND_NAMES))] = None,
    batch_size: Annotated[int | None, option(_Config, "batch_size", metavar="IMAGES")] = None,
    workers: Annotated[int | None, option(_Config, "workers", metavar="THREADS")] = None,
    quiet: Quiet = False,
    log_format: Log = LogFormat.TEXT,
) -> None:
    """Measure a model on labelled images, through the same decoder and backend as `classify`.

    The model file remembers which images it was trained and calibrated on; by default these are left out.
    """
    flags = {key: value for key, value in locals().items() if key in _Config.model_fields and value is not None}
    with errors_as_text(log_format):
        settings = resolve(_Config, flags, config)
        from bloodcell_batch.console import make_observer, write_text  # noqa: PLC0415 - keeps --help fast
        from bloodcell_batch.model_file import open_model  # noqa: PLC0415
        from bloodcell_batch.training.evaluation import evaluate as run  # noqa: PLC0415
        from bloodcell_batch.training.evaluation import write_report  # noqa: PLC0415
        from bloodcell_batch.training.metrics import as_text  # noqa: PLC0415

        report = run(open_model(model), data, settings, make_observer(quiet=quiet, log_format=log_format))
        write_text(as_text(report.metrics))
        if out is not None:
            write_report(report, out)
