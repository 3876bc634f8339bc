"""`classify`: slide folders in, tables out."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from bloodcell_batch.cli.configured import Call, configured
from bloodcell_batch.cli.exit_summary import conclude
from bloodcell_batch.cli.options import ProgressDisplay, ShowProgress, TableOut
from bloodcell_batch.config.base import Panel
from bloodcell_batch.config.classify import ClassifyConfig
from bloodcell_batch.errors import UsageError
from bloodcell_batch.results.formats import STDOUT

if TYPE_CHECKING:
    from bloodcell_batch.progress import Observer
    from bloodcell_batch.runs.pipeline import RunResult

Folder = Annotated[
    str,
    typer.Argument(
        help="Folder with one folder of images per slide, or its URL, such as s3://bucket/slides.", metavar="FOLDER"
    ),
]
JsonSummary = Annotated[
    bool,
    typer.Option(
        "--json-summary",
        help="Print one line of JSON with the outcome to stdout.",
        rich_help_panel=Panel.SCHEDULERS.value,
    ),
]


@configured(ClassifyConfig, when_interrupted="Run the same command again: it goes on where it stopped.")
def classify(
    call: Call[ClassifyConfig],
    folder: Folder,
    out: TableOut,
    json_summary: JsonSummary = False,
    progress: ShowProgress = ProgressDisplay.AUTO,
) -> None:
    """Classify the cells of every slide under FOLDER and write per-image and per-slide tables.

    The same command after an interruption goes on where it stopped.

    Exit codes: 0 complete; 1 error; 2 wrong usage; 3 complete, but some files failed; 4 backend or model refused; 5
    another run is writing this output; 130 and 143 interrupted. For Research Use Only.
    """
    settings = call.settings
    if json_summary and STDOUT in out:
        raise UsageError("--json-summary and --out - both need stdout.", hint="Give --out the name of a file.")
    from bloodcell_batch.integrity.audit_log import AuditObserver  # noqa: PLC0415 - keeps --help fast
    from bloodcell_batch.results.file_names import output_paths  # noqa: PLC0415

    call.line.begin(settings, writes=output_paths(out, settings.csv_dialect, settings.embeddings).all())
    observer = AuditObserver(call.observer(progress), call.line)
    result = _run(folder, out, settings, observer)
    conclude(result, out, observer, settings.allow_failed, as_json=json_summary)


def _run(folder: str, out: list[str], settings: ClassifyConfig, observer: Observer) -> RunResult:
    from bloodcell_batch.results.tables import import_arrow_without_pandas  # noqa: PLC0415
    from bloodcell_batch.runs.pipeline import classify_slides  # noqa: PLC0415 - keeps --help fast

    import_arrow_without_pandas()
    return classify_slides(folder, out, settings, observer, command=sys.argv)
