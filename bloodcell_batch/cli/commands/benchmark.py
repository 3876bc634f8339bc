"""`benchmark`: what this machine can do, and how much of it `classify` reaches."""

from pathlib import Path
from typing import Annotated

import typer

from bloodcell_batch.backends import BACKEND_NAMES
from bloodcell_batch.cli.options import Log, LogFormat, Quiet, errors_as_text, option
from bloodcell_batch.config.benchmark import BenchmarkConfig
from bloodcell_batch.config.resolve import resolve

_Config = BenchmarkConfig


def benchmark(
    folder: Annotated[
        Path | None, typer.Argument(help="Folder with images; pictures are drawn if left out.", metavar="[DIR]")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write benchmark.json and benchmark.png to this folder.", metavar="FOLDER")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="Model file; the one shipped with the package if not given.", metavar="FILE")
    ] = None,
    images: Annotated[int | None, option(_Config, "images", metavar="N")] = None,
    size: Annotated[str | None, option(_Config, "size", metavar="WxH")] = None,
    backend: Annotated[str | None, option(_Config, "backend", metavar="|".join(BACKEND_NAMES))] = None,
    precision: Annotated[str | None, option(_Config, "precision")] = None,
    batch_size: Annotated[int | None, option(_Config, "batch_size", metavar="IMAGES")] = None,
    batch_sizes: Annotated[list[int] | None, option(_Config, "batch_sizes", metavar="IMAGES")] = None,
    workers: Annotated[int | None, option(_Config, "workers", metavar="THREADS")] = None,
    rounds: Annotated[int | None, option(_Config, "rounds", metavar="N")] = None,
    seconds: Annotated[float | None, option(_Config, "seconds", metavar="SECONDS")] = None,
    plain_images: Annotated[int | None, option(_Config, "plain_images", metavar="N")] = None,
    growth: Annotated[list[int] | None, option(_Config, "growth", metavar="IMAGES")] = None,
    overwrite: Annotated[bool | None, option(_Config, "overwrite", "--overwrite")] = None,
    quiet: Quiet = False,
    log_format: Log = LogFormat.TEXT,
) -> None:
    """Measure the parts of a run, the whole run and a plain PyTorch script on this machine, on the same images.

    Prints how fast each part is alone, the ceiling that follows from the parts, and the share of it that classify
    reaches. Other programs that run at the same time disturb the figures.
    """
    flags = {key: value for key, value in locals().items() if key in _Config.model_fields and value is not None}
    with errors_as_text(log_format):
        settings = resolve(_Config, flags)
        from bloodcell_batch.benchmark.measure import measure  # noqa: PLC0415 - keeps --help fast
        from bloodcell_batch.benchmark.report import as_text, check_folder, write_report  # noqa: PLC0415
        from bloodcell_batch.cli.console import make_observer, write_text  # noqa: PLC0415

        if out is not None:
            check_folder(out, overwrite=settings.overwrite)
        found = measure(folder, settings, model, make_observer(quiet=quiet, log_format=log_format))
        write_text(as_text(found))
        if out is not None:
            write_report(found, out)
