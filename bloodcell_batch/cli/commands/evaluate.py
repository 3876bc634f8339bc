"""`evaluate`: a model file and labelled images in, figures out."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from bloodcell_batch.cli.configured import Call, configured
from bloodcell_batch.config.evaluate import EvaluateConfig
from bloodcell_batch.config.recipe import TrainConfig
from bloodcell_batch.config.resolve import resolve
from bloodcell_batch.errors import UsageError
from bloodcell_batch.progress import Observer


@configured(EvaluateConfig)
def evaluate(
    call: Call[EvaluateConfig],
    paths: Annotated[
        list[Path],
        typer.Argument(
            help="Model file (the one shipped with the package if left out), then the labelled images: a folder with "
            "one folder per class, or one such folder per laboratory, a .csv, .xlsx or .parquet manifest (path, label, "
            "maybe slide_id and laboratory), results with verified labels, or a MedMNIST .npz file.",
            metavar="[MODEL] DATA",
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Also write the figures to this JSON file.", metavar="FILE")] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Write evaluation.json, evaluation.md and pictures to this folder.", metavar="FOLDER"),
    ] = None,
    folds: Annotated[
        str | None,
        typer.Option(
            help="Cross-validate instead: train the recipe once more for every fold. 'laboratory' leaves out one "
            "laboratory at a time.",
            metavar="N|laboratory",
        ),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(
            help="Recipe for --folds: a TOML file or a name, as for train; the model's own if not given.",
            metavar="FILE",
        ),
    ] = None,
) -> None:
    """Measure a model on labelled images, through the same decoder and backend as `classify`.

    The model file remembers which images it was trained and calibrated on; by default these are left out, in whatever
    files they come.
    """
    settings = call.settings
    chosen, data = _model_and_data(paths, settings.model)
    call.line.begin(settings, writes=[path for path in (out, report and report / "evaluation.json") if path])
    from bloodcell_batch.cli.streams import write_text  # noqa: PLC0415 - keeps --help fast
    from bloodcell_batch.results.irreplaceable import check_unreviewed  # noqa: PLC0415

    check_unreviewed(*[out] if out else [])
    observer, show = call.observer(), call.tell if out or (report and folds is None) else write_text
    if folds is None:
        _measure(chosen, data, settings, (out, report), observer, show)
    else:
        template = recipe or (chosen, settings.require_model_sha256)
        _cross_validate(template, data, settings.images, _folds(folds), out, observer, show)


def _measure(
    model: Path | None,
    data: Path,
    settings: EvaluateConfig,
    places: tuple[Path | None, Path | None],
    observer: Observer,
    show: Callable[[str], None],
) -> None:
    from bloodcell_batch.model.file import open_model  # noqa: PLC0415 - keeps --help fast
    from bloodcell_batch.training.evaluation.evaluate import evaluate as run  # noqa: PLC0415
    from bloodcell_batch.training.evaluation.report import summary, write_json, write_report  # noqa: PLC0415

    found = run(open_model(model, settings.require_model_sha256), data, settings, observer)
    out, report = places
    try:  # neither a full disk nor a closed stdout costs the figures in both places
        if out is not None:
            write_json(found, out)
        if report is not None:
            write_report(found, report)
    finally:
        show(summary(found))


def _cross_validate(
    template: Path | tuple[Path | None, str | None],
    data: Path,
    images: Path | None,
    folds: int | None,
    out: Path | None,
    observer: Observer,
    show: Callable[[str], None],
) -> None:
    """Train `template` once more for every fold: a recipe, or that of a model file (with the SHA-256 it must have)."""
    from bloodcell_batch.model.file import open_model  # noqa: PLC0415 - keeps --help fast
    from bloodcell_batch.training.evaluation.report import write_content  # noqa: PLC0415
    from bloodcell_batch.training.fit.cross_validation import cross_validate, recipe_of  # noqa: PLC0415

    if isinstance(template, Path):
        config = resolve(TrainConfig, {}, template)
    else:
        config = recipe_of(open_model(*template).header)
    found = cross_validate(config.model_copy(update={"images": images}), data, folds, observer)
    try:
        if out is not None:
            write_content(found.as_dict(), out)
    finally:
        show(found.as_text())


def _folds(text: str) -> int | None:
    """The number of folds, None for one per laboratory."""
    if text == "laboratory":
        return None
    if not text.isascii() or not text.isdigit() or int(text) < 2:
        hint = "Give a number of folds, 2 or more, or 'laboratory' for one fold per laboratory of the data."
        raise UsageError(f"--folds {text} is neither.", hint=hint)
    return int(text)


def _model_and_data(paths: list[Path], model: Path | None) -> tuple[Path | None, Path]:
    if len(paths) > 2 or (len(paths) == 2 and model is not None):
        hint = "evaluate [MODEL] DATA, or evaluate DATA --model MODEL."
        raise UsageError("Give one model and one source of labelled images.", hint=hint)
    return (paths[0] if len(paths) == 2 else model), paths[-1]
