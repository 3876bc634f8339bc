"""`adapt`: a laboratory's own labelled cells in, its own model out."""

from pathlib import Path
from typing import Annotated

import typer

from bloodcell_batch.cli.configured import Call, configured
from bloodcell_batch.config.adapt import AdaptConfig
from bloodcell_batch.errors import ExitCode


@configured(AdaptConfig, when_interrupted="Run the same command again: it goes on where it stopped.")
def adapt(
    call: Call[AdaptConfig],
    labelled: Annotated[
        Path,
        typer.Argument(
            help="Labelled cells: a folder with one folder of images per class, a .csv, .xlsx or .parquet manifest "
            "(path, label, maybe slide_id), or a reviewed result table.",
            metavar="LABELLED",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Model file to write.", metavar="FILE.safetensors")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing model file.")] = False,
) -> None:
    """Make a model your laboratory's own with some of its labelled cells, if that makes it better.

    At least five cells of each of two classes are needed; twenty of each make a good model. Classes that you don't
    have are kept. The figures come from repeated cross-validation, with cells of one slide kept together, on the cells
    that were given; a model that is not better than before is not written (exit code 1) without --force.

    The same command after an interruption goes on where it stopped.
    """
    settings = call.settings
    from bloodcell_batch.adaptation.adapt import adapt as run  # noqa: PLC0415 - keeps --help fast
    from bloodcell_batch.adaptation.adapt import check_output  # noqa: PLC0415

    check_output(out, overwrite=overwrite)
    call.line.begin(settings, writes=[out])
    result = run(settings, labelled, out, call.observer())
    written = f"\n{out} (sha256 {result.model.sha256})\n" if result.model else ""
    call.tell(f"{result.as_text()}{written}")
    if result.model is None:
        raise typer.Exit(ExitCode.ERROR)
