"""`verify`: the files of a finished run in, everything that is not as the run left it out."""

from pathlib import Path
from typing import Annotated

import typer

from bloodcell_batch.cli.options import Log, LogFormat, Quiet, errors_as_text, option
from bloodcell_batch.config.resolve import resolve
from bloodcell_batch.config.results import VerifyConfig
from bloodcell_batch.errors import ExitCode

_Config = VerifyConfig


def verify(
    results: Annotated[
        Path | None,
        typer.Argument(help="Table that classify (or review import) wrote; its run record is beside it."),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with the options below.", metavar="FILE")] = None,
    images: Annotated[Path | None, option(_Config, "images", metavar="FOLDER")] = None,
    model: Annotated[Path | None, option(_Config, "model", metavar="FILE")] = None,
    audit_log: Annotated[Path | None, option(_Config, "audit_log", metavar="FILE")] = None,
    max_findings: Annotated[int | None, option(_Config, "max_findings", metavar="FINDINGS")] = None,
    quiet: Quiet = False,
    log_format: Log = LogFormat.TEXT,
) -> None:
    """Check that the files of a finished run are as it left them, and that every number follows from the rows.

    Looks at every row, counts every slide anew, and compares the SHA-256 of the tables, of the run record, of the
    model and (with --images) of every image. With --audit-log also the chain of its lines. One finding a line. Exit
    codes: 0 verified; 1 not.
    """
    flags = {key: value for key, value in locals().items() if key in _Config.model_fields and value is not None}
    with errors_as_text(log_format):
        settings = resolve(_Config, flags, config)
        from bloodcell_batch.cli.console import make_observer, one_line, write_text  # noqa: PLC0415 - keeps --help fast
        from bloodcell_batch.verification.verify import verify as check  # noqa: PLC0415

        found = check(results, settings, make_observer(quiet=quiet, log_format=log_format))
        # A path may hold line ends and control codes; a finding stays one line.
        write_text("\n".join(map(one_line, found.as_lines(str(results or settings.audit_log)))))
        if not found.verified:
            raise typer.Exit(ExitCode.ERROR)
