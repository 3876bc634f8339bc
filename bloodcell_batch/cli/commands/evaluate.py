"""`evaluate`: a model file and labelled images in, figures out."""

from pathlib import Path
from typing import Annotated

import typer

from bloodcell_batch.backends import BACKEND_NAMES
from bloodcell_batch.cli.audit_option import audited
from bloodcell_batch.cli.options import Log, LogFormat, Quiet, errors_as_text, option
from bloodcell_batch.config.evaluate import EvaluateConfig
from bloodcell_batch.config.recipe import TrainConfig
from bloodcell_batch.config.resolve import resolve
from bloodcell_batch.errors import UsageError
from bloodcell_batch.progress import Observer

_Config = EvaluateConfig


def evaluate(
    paths: Annotated[
        list[Path],
        typer.Argument(
            help="Model file (the one shipped with the package if left out), then the labelled images: a folder with "
            "one folder per class, a .csv or .parquet manifest (path, label), or a MedMNIST .npz file.",
            metavar="[MODEL] DATA",
        ),
    ],
    model: Annotated[Path | None, typer.Option(help="Model file, in place of MODEL.", metavar="FILE")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with the options below.", metavar="FILE")] = None,
    out: Annotated[Path | None, typer.Option(help="Also write the figures to this JSON file.", metavar="FILE")] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Write evaluation.json, evaluation.md and pictures to this folder.", metavar="FOLDER"),
    ] = None,
    part: Annotated[str | None, option(_Config, "part")] = None,
    mapping: Annotated[
        list[str] | None,
        typer.Option("--map", help="Another laboratory's label; OURS may be 'ignore'.", metavar="OTHER=OURS"),
    ] = None,
    corruptions: Annotated[bool | None, option(_Config, "corruptions", "--corruptions")] = None,
    corruption_images: Annotated[int | None, option(_Config, "corruption_images", metavar="IMAGES")] = None,
    folds: Annotated[
        int | None,
        typer.Option(help="Cross-validate instead: train the recipe anew for every fold.", min=2, metavar="N"),
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option(help="Recipe for --folds, a TOML file; the model's own if not given.", metavar="FILE")
    ] = None,
    bootstrap: Annotated[int | None, option(_Config, "bootstrap", metavar="SAMPLES")] = None,
    require_model_sha256: Annotated[str | None, option(_Config, "require_model_sha256", metavar="HEX")] = None,
    backend: Annotated[str | None, option(_Config, "backend", metavar="|".join(BACKEND_NAMES))] = None,
    precision: Annotated[str | None, option(_Config, "precision")] = None,
    plan: Annotated[Path | None, option(_Config, "plan", metavar="FILE")] = None,
    batch_size: Annotated[int | None, option(_Config, "batch_size", metavar="IMAGES")] = None,
    views: Annotated[int | None, option(_Config, "views", metavar="1|2|4|8")] = None,
    workers: Annotated[int | None, option(_Config, "workers", metavar="THREADS")] = None,
    audit_log: Annotated[Path | None, option(_Config, "audit_log", metavar="FILE")] = None,
    quiet: Quiet = False,
    log_format: Log = LogFormat.TEXT,
) -> None:
    """Measure a model on labelled images, through the same decoder and backend as `classify`.

    The model file remembers which images it was trained and calibrated on; by default these are left out.
    """
    flags = {key: value for key, value in locals().items() if key in _Config.model_fields and value is not None}
    with errors_as_text(log_format), audited(audit_log, config) as line:
        settings = resolve(_Config, flags, config)
        chosen, data = _model_and_data(paths, settings.model)
        line.begin(settings, writes=[path for path in (out, report and report / "evaluation.json") if path])
        settings = _with_classes(settings, mapping or [])
        from bloodcell_batch.cli.console import make_observer  # noqa: PLC0415 - keeps --help fast

        observer = make_observer(quiet=quiet, log_format=log_format)
        if folds is None:
            _measure(chosen, data, settings, (out, report), observer)
        else:
            _cross_validate(recipe or (chosen, settings.require_model_sha256), data, folds, out, observer)


def _measure(
    model: Path | None,
    data: Path,
    settings: EvaluateConfig,
    places: tuple[Path | None, Path | None],
    observer: Observer,
) -> None:
    from bloodcell_batch.cli.console import write_text  # noqa: PLC0415 - keeps --help fast
    from bloodcell_batch.model.file import open_model  # noqa: PLC0415
    from bloodcell_batch.training.evaluation.evaluate import evaluate as run  # noqa: PLC0415
    from bloodcell_batch.training.evaluation.report import summary, write_json, write_report  # noqa: PLC0415

    found = run(open_model(model, settings.require_model_sha256), data, settings, observer)
    write_text(summary(found))
    out, report = places
    if out is not None:
        write_json(found, out)
    if report is not None:
        write_report(found, report)


def _cross_validate(
    template: Path | tuple[Path | None, str | None], data: Path, folds: int, out: Path | None, observer: Observer
) -> None:
    """Train `template` anew for every fold: a recipe, or that of a model file (with the SHA-256 it must have)."""
    from bloodcell_batch.cli.console import write_text  # noqa: PLC0415 - keeps --help fast
    from bloodcell_batch.model.file import open_model  # noqa: PLC0415
    from bloodcell_batch.training.evaluation.report import write_content  # noqa: PLC0415
    from bloodcell_batch.training.fit.cross_validation import cross_validate, recipe_of  # noqa: PLC0415

    if isinstance(template, Path):
        config = resolve(TrainConfig, {}, template)
    else:
        config = recipe_of(open_model(*template).header)
    found = cross_validate(config, data, folds, observer)
    write_text(found.as_text())
    if out is not None:
        write_content(found.as_dict(), out)


def _model_and_data(paths: list[Path], model: Path | None) -> tuple[Path | None, Path]:
    if len(paths) > 2 or (len(paths) == 2 and model is not None):
        hint = "evaluate [MODEL] DATA, or evaluate DATA --model MODEL."
        raise UsageError("Give one model and one source of labelled images.", hint=hint)
    return (paths[0] if len(paths) == 2 else model), paths[-1]


def _with_classes(settings: EvaluateConfig, mapping: list[str]) -> EvaluateConfig:
    pairs = [entry.partition("=") for entry in mapping]
    wrong = [entry for entry, (other, _, ours) in zip(mapping, pairs, strict=True) if not other or not ours]
    if wrong:
        raise UsageError(f"--map {wrong[0]!r} is not OTHER=OURS.", hint="For example: --map NGS=neutrophil")
    given = {other: ours for other, _, ours in pairs}
    return settings.model_copy(update={"class_map": settings.class_map | given})
