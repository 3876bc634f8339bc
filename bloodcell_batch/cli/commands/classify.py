"""`classify`: slide folders in, tables out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bloodcell_batch.backends import BACKEND_NAMES
from bloodcell_batch.cli.audit_option import audited
from bloodcell_batch.cli.exit_summary import conclude
from bloodcell_batch.cli.options import (
    Log,
    LogFormat,
    ProgressDisplay,
    Quiet,
    ShowProgress,
    errors_as_text,
    option,
)
from bloodcell_batch.config.classify import ClassifyConfig
from bloodcell_batch.config.resolve import resolve
from bloodcell_batch.errors import UsageError
from bloodcell_batch.results.formats import STDOUT, format_names

if TYPE_CHECKING:
    from bloodcell_batch.progress import Observer
    from bloodcell_batch.runs.pipeline import RunResult

_Config = ClassifyConfig

Folder = Annotated[
    str,
    typer.Argument(
        help="Folder with one folder of images per slide, or its URL, such as s3://bucket/slides.", metavar="FOLDER"
    ),
]
Out = Annotated[
    str,
    typer.Option(
        help=f"Result table, {format_names()}; NAME.slides.* and NAME.run.json are written beside it "
        "(a workbook holds all of it). It may be a URL. "
        "Use - for CSV on stdout.",
        metavar="FILE",
    ),
]
ConfigFile = Annotated[
    Path | None, typer.Option(help="TOML file with any of the options below (flags win).", metavar="FILE")
]
JsonSummary = Annotated[bool, typer.Option("--json-summary", help="Print one line of JSON with the outcome to stdout.")]


def classify(
    folder: Folder,
    out: Out,
    config: ConfigFile = None,
    model: Annotated[Path | None, option(_Config, "model", metavar="FILE")] = None,
    require_model_sha256: Annotated[str | None, option(_Config, "require_model_sha256", metavar="HEX")] = None,
    backend: Annotated[str | None, option(_Config, "backend", metavar="|".join(BACKEND_NAMES))] = None,
    precision: Annotated[str | None, option(_Config, "precision")] = None,
    plan: Annotated[Path | None, option(_Config, "plan", metavar="FILE")] = None,
    batch_size: Annotated[int | None, option(_Config, "batch_size", metavar="IMAGES")] = None,
    views: Annotated[int | None, option(_Config, "views", metavar="1|2|4|8")] = None,
    workers: Annotated[int | None, option(_Config, "workers", metavar="THREADS")] = None,
    slide_by: Annotated[str | None, option(_Config, "slide_by")] = None,
    slide_regex: Annotated[str | None, option(_Config, "slide_regex", metavar="REGEX")] = None,
    slide_manifest: Annotated[Path | None, option(_Config, "slide_manifest", metavar="FILE")] = None,
    dedup: Annotated[str | None, option(_Config, "dedup")] = None,
    dedup_distance: Annotated[int | None, option(_Config, "dedup_distance", metavar="BITS")] = None,
    jpeg_decoder: Annotated[str | None, option(_Config, "jpeg_decoder")] = None,
    max_megapixels: Annotated[float | None, option(_Config, "max_megapixels", metavar="MP")] = None,
    min_confidence: Annotated[float | None, option(_Config, "min_confidence", metavar="PROBABILITY")] = None,
    outlier_threshold: Annotated[float | None, option(_Config, "outlier_threshold", metavar="SCORE")] = None,
    shard: Annotated[str | None, option(_Config, "shard", metavar="I/N")] = None,
    engine: Annotated[str | None, option(_Config, "engine")] = None,
    ray_address: Annotated[str | None, option(_Config, "ray_address", metavar="ADDRESS")] = None,
    csv_dialect: Annotated[str | None, option(_Config, "csv_dialect")] = None,
    file_timeout: Annotated[float | None, option(_Config, "file_timeout", metavar="SECONDS")] = None,
    audit_log: Annotated[Path | None, option(_Config, "audit_log", metavar="FILE")] = None,
    overwrite: Annotated[bool | None, option(_Config, "overwrite", "--overwrite")] = None,
    update: Annotated[bool | None, option(_Config, "update", "--update")] = None,
    allow_failed: Annotated[int | None, option(_Config, "allow_failed", metavar="FILES")] = None,
    json_summary: JsonSummary = False,
    progress: ShowProgress = ProgressDisplay.AUTO,
    quiet: Quiet = False,
    log_format: Log = LogFormat.TEXT,
) -> None:
    """Classify the cells of every slide under FOLDER and write per-image and per-slide tables.

    The same command after an interruption goes on where it stopped.

    Exit codes: 0 complete; 1 error; 2 wrong usage; 3 complete, but some files failed; 4 backend refused; 5 another
    run is writing this output; 130 and 143 interrupted. For Research Use Only.
    """
    flags = {key: value for key, value in locals().items() if key in _Config.model_fields and value is not None}
    with (
        errors_as_text(log_format, "Run the same command again: it goes on where it stopped."),
        audited(audit_log, config) as line,
    ):
        settings = resolve(_Config, flags, config)
        if json_summary and out == STDOUT:
            raise UsageError("--json-summary and --out - both need stdout.", hint="Give --out the name of a file.")
        from bloodcell_batch.cli.console import make_observer  # noqa: PLC0415
        from bloodcell_batch.integrity.audit_log import AuditObserver  # noqa: PLC0415 - keeps --help fast
        from bloodcell_batch.results.file_names import output_paths  # noqa: PLC0415

        line.begin(settings, writes=output_paths(out, settings.csv_dialect).all())
        observer = AuditObserver(make_observer(quiet=quiet, log_format=log_format, progress=progress), line)
        result = _run(folder, out, settings, observer)
        conclude(result, out, observer, settings.allow_failed, as_json=json_summary)


def _run(folder: str, out: str, settings: ClassifyConfig, observer: Observer) -> RunResult:
    from bloodcell_batch.results.tables import spare_pandas  # noqa: PLC0415
    from bloodcell_batch.runs.pipeline import classify_slides  # noqa: PLC0415 - keeps --help fast

    spare_pandas()
    return classify_slides(folder, out, settings, observer, command=sys.argv)
