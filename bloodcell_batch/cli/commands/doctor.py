"""`doctor`: what this machine has, and what `auto` would use."""

from pathlib import Path
from typing import Annotated

import typer

from bloodcell_batch.cli.options import LogFormat, errors_as_text


def doctor(
    model: Annotated[
        Path | None, typer.Option(help="Model file; the one shipped with the package if not given.", metavar="FILE")
    ] = None,
    folder: Annotated[
        Path, typer.Option(help="Folder whose write access is checked.", show_default="current folder", metavar="DIR")
    ] = Path(),
) -> None:
    """Show versions, devices, the backend that `auto` picks and why better ones are skipped, and the model's hash.

    Exits with 0 when `classify` can run here, with 1 or 4 when it can't.
    """
    with errors_as_text(LogFormat.TEXT):
        from bloodcell_batch.cli.console import write_text  # noqa: PLC0415 - keeps --help fast
        from bloodcell_batch.cli.diagnosis import examine  # noqa: PLC0415

        for line in examine(model, folder):
            write_text(line)
