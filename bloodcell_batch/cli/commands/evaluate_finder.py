"""`evaluate-finder`: a finder and fields with boxes in, figures out."""

from pathlib import Path
from typing import Annotated

import typer

from bloodcell_batch.cli.configured import Call, configured
from bloodcell_batch.config.finder import EvaluateFinderConfig, TrainFinderConfig
from bloodcell_batch.config.resolve import resolve


@configured(EvaluateFinderConfig)
def evaluate_finder(
    call: Call[EvaluateFinderConfig],
    data: Annotated[Path, typer.Argument(help="Folder that holds those of the recipe's sources.", metavar="DATA")],
    recipe: Annotated[
        Path,
        typer.Option(
            help="Recipe of train-finder, whose sources say where the fields are and how their boxes are written.",
            metavar="FILE",
        ),
    ] = Path("finder/default"),
    finder: Annotated[
        Path | None,
        typer.Option(help="Finder to measure; the one shipped with the package if not given.", metavar="FILE"),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Also write the figures to this JSON file.", metavar="FILE")] = None,
) -> None:
    """Measure a finder on fields with boxes: recall, precision and F1 with exact 95 % limits, source by source.

    A found cell is right if its centre lies in a labelled box; the last figure asks for half of the box as well. Also
    counted: how often the red cells' diameter is known, and within 15 % of that of the boxes.
    """
    settings = call.settings
    from bloodcell_batch.cli.streams import write_text  # noqa: PLC0415 - keeps --help fast
    from bloodcell_batch.model.file import open_finder  # noqa: PLC0415
    from bloodcell_batch.training.evaluation.report import write_content  # noqa: PLC0415
    from bloodcell_batch.training.finder.evaluate import as_text  # noqa: PLC0415
    from bloodcell_batch.training.finder.evaluate import evaluate_finder as run  # noqa: PLC0415

    sources = resolve(TrainFinderConfig, {}, recipe).sources
    figures = run(open_finder(finder), data, sources, settings, call.observer())
    (write_text if out is None else call.tell)(as_text(figures))
    if out is not None:
        write_content({name: source.as_dict() for name, source in figures.items()}, out)
