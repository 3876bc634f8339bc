"""`benchmark`: what this machine can do, and how much of it `classify` reaches."""

from pathlib import Path
from typing import Annotated

import typer

from bloodcell_batch.cli.configured import Call, configured
from bloodcell_batch.config.benchmark import BenchmarkConfig


@configured(BenchmarkConfig, config_file="")
def benchmark(
    call: Call[BenchmarkConfig],
    folder: Annotated[
        Path | None, typer.Argument(help="Folder with images; pictures are drawn if left out.", metavar="[DIR]")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write benchmark.json and benchmark.png to this folder.", metavar="FOLDER")
    ] = None,
) -> None:
    """Measure the parts of a run, the whole run and a plain PyTorch script on this machine, on the same images.

    Prints how fast each part is alone, the ceiling that follows from the parts, and the share of it that classify
    reaches. Other programs that run at the same time disturb the figures.
    """
    settings = call.settings
    from bloodcell_batch.benchmark.measure import measure  # noqa: PLC0415 - keeps --help fast
    from bloodcell_batch.benchmark.report import as_text, check_folder, write_report  # noqa: PLC0415
    from bloodcell_batch.cli.streams import write_text  # noqa: PLC0415

    if out is not None:
        check_folder(out, overwrite=settings.overwrite)
    found = measure(folder, settings, settings.model, call.observer())
    try:  # neither a full disk nor a closed stdout costs the figures in both places
        if out is not None:
            write_report(found, out)
    finally:
        (write_text if out is None else call.tell)(as_text(found))
