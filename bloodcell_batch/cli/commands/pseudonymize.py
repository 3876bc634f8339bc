"""`pseudonymize`: results that may leave the laboratory."""

from pathlib import Path
from typing import Annotated

import typer

from bloodcell_batch.cli.configured import Call, configured
from bloodcell_batch.cli.options import ResultsTable
from bloodcell_batch.config.results import PseudonymizeConfig
from bloodcell_batch.progress import counted


@configured(PseudonymizeConfig, config_file="")
def pseudonymize(
    call: Call[PseudonymizeConfig],
    results: ResultsTable,
    out: Annotated[Path, typer.Option(help="New image table; the other files are written beside it.", metavar="FILE")],
) -> None:
    """Write RESULTS with codes for slides, paths, hashes and reviewers, and a run record without names and paths.

    The codes are keyed (HMAC-SHA-256): the same key gives the same codes. This helps to de-identify results; it does
    not make them anonymous.
    """
    settings = call.settings
    from bloodcell_batch.reports.sharing import write_shared  # noqa: PLC0415 - keeps --help fast
    from bloodcell_batch.results.file_names import result_files  # noqa: PLC0415

    call.line.begin(settings, reads=[results], writes=result_files(out))
    call.tell(f"{out}: {counted(write_shared(results, out, settings), 'row')}")
