"""`verify`: the files of a finished run in, everything that is not as the run left it out."""

from pathlib import Path
from typing import Annotated

import typer

from bloodcell_batch.cli.configured import Call, configured
from bloodcell_batch.config.results import VerifyConfig
from bloodcell_batch.errors import ExitCode


@configured(VerifyConfig)
def verify(
    call: Call[VerifyConfig],
    results: Annotated[
        Path | None,
        typer.Argument(
            help="Table that classify (or review import) wrote; its run record is beside it.", metavar="[RESULTS]"
        ),
    ] = None,
) -> None:
    """Check that the files of a finished run are as it left them, and that every number follows from the rows.

    Looks at every row, counts every slide again, and compares the SHA-256 of the tables, of the run record, of the
    model and (with --images) of every image. With --audit-log also the chain of its lines. Prints one finding a line.
    Exit codes: 0 verified; 1 not.
    """
    settings = call.settings
    from bloodcell_batch.cli.streams import write_text  # noqa: PLC0415 - keeps --help fast
    from bloodcell_batch.files.names import one_line  # noqa: PLC0415
    from bloodcell_batch.verification.verify import verify as check  # noqa: PLC0415

    found = check(results, settings, call.observer())
    # A path may hold line ends and control codes; a finding stays one line. Findings are what was asked for.
    (call.tell if found.verified else write_text)(
        "\n".join(map(one_line, found.as_lines(str(results or settings.audit_log))))
    )
    if not found.verified:
        raise typer.Exit(ExitCode.ERROR)
