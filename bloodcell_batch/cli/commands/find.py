"""`find`: fields in, a picture of every leukocyte out."""

from pathlib import Path
from typing import Annotated

import typer

from bloodcell_batch.cli.configured import Call, configured
from bloodcell_batch.config.finder import FindConfig
from bloodcell_batch.errors import ExitCode


@configured(FindConfig)
def find(
    call: Call[FindConfig],
    folder: Annotated[Path, typer.Argument(help="Folder of fields, one folder per slide.", metavar="FOLDER")],
    out: Annotated[Path, typer.Option(help="New or empty folder for the pictures and tables.", metavar="FOLDER")],
) -> None:
    """Cut every leukocyte out of the fields in FOLDER.

    Writes one PNG per cell, 4.5 red cells wide with the cell in the middle, into a folder per slide; cells.csv with a
    row per picture (where it was, how sure the finder is, whether the border cuts it); and fields.csv with a row per
    image (its scale, its counts, or why it failed). Where nothing tells the scale, cells are listed and not cut out.
    """
    settings = call.settings
    from bloodcell_batch.runs.find import find_in_folder  # noqa: PLC0415 - keeps --help fast

    totals = find_in_folder(folder, out, settings, call.observer())
    call.tell(totals.as_text())
    if totals.failed > settings.allow_failed:
        raise typer.Exit(ExitCode.COMPLETE_WITH_FAILED_FILES)
