"""`pseudonymize`: results that may leave the laboratory."""

from pathlib import Path
from typing import Annotated

import typer

from bloodcell_batch.cli.audit_option import audited
from bloodcell_batch.cli.options import LogFormat, ResultsTable, errors_as_text, option
from bloodcell_batch.config.resolve import resolve
from bloodcell_batch.config.results import PseudonymizeConfig

_Config = PseudonymizeConfig


def pseudonymize(
    results: ResultsTable,
    key: Annotated[Path, option(_Config, "key", metavar="KEYFILE")],
    out: Annotated[Path, typer.Option(help="New image table; the other files are written beside it.", metavar="FILE")],
    audit_log: Annotated[Path | None, option(_Config, "audit_log", metavar="FILE")] = None,
    overwrite: Annotated[bool | None, option(_Config, "overwrite", "--overwrite")] = None,
) -> None:
    """Write RESULTS with codes for slides, paths, hashes and reviewers, and a run record without names and paths.

    The codes are keyed (HMAC-SHA-256): the same key gives the same codes. This helps to de-identify results; it does
    not make them anonymous.
    """
    with errors_as_text(LogFormat.TEXT), audited(audit_log, None) as line:
        settings = resolve(_Config, {"key": key, "audit_log": audit_log, "overwrite": overwrite})
        from bloodcell_batch.cli.console import write_text  # noqa: PLC0415 - keeps --help fast
        from bloodcell_batch.results.file_names import result_files  # noqa: PLC0415
        from bloodcell_batch.results.sharing import write_shared  # noqa: PLC0415

        line.begin(settings, reads=[results], writes=result_files(out))
        write_text(f"{out}: {write_shared(results, out, settings)} rows")
