"""`diff`: what changed between two results of the same images."""

from pathlib import Path
from typing import Annotated

import typer

from bloodcell_batch.cli.configured import Call, configured
from bloodcell_batch.config.results import DiffConfig
from bloodcell_batch.errors import ExitCode
from bloodcell_batch.results.formats import format_names

_TABLE = "Table that classify wrote, with its run record beside it."


@configured(DiffConfig)
def diff(
    call: Call[DiffConfig],
    first: Annotated[Path, typer.Argument(help=_TABLE, metavar="A")],
    second: Annotated[Path, typer.Argument(help="Another one of the same images, by another model, say.", metavar="B")],
    out: Annotated[
        list[Path] | None,
        typer.Option(
            help=f"Page to write, NAME.html, or table of the changed cells, {format_names()}. Once for each.",
            metavar="FILE",
        ),
    ] = None,
) -> None:
    """Compare two results of the same images, A and B, cell by cell and slide by slide; verified labels come first.

    Tells cells with another status, another label or another confidence, and slides whose differential changed beyond
    counting error: McNemar's exact test of each class, with Holm's correction for all of them. Exit code 0 if no cell
    changed, 3 if one did. For Research Use Only.
    """
    settings, outs = call.settings, out or []
    call.line.begin(settings, reads=[first, second], writes=outs)
    from bloodcell_batch.cli.streams import write_text  # noqa: PLC0415 - keeps --help fast
    from bloodcell_batch.comparing.diff import write_diff  # noqa: PLC0415
    from bloodcell_batch.results.tables import import_arrow_without_pandas  # noqa: PLC0415

    import_arrow_without_pandas()
    observer = call.observer()
    found = write_diff(first, second, outs, settings, observer)
    (call.tell if outs else write_text)("\n".join(found.told()))
    if outs:
        observer.note(f"written to {' and '.join(map(str, outs))}", out=[str(one) for one in outs])
    raise typer.Exit(ExitCode.DIFFERENT if found.differs else ExitCode.COMPLETE)
