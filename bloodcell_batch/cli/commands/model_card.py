"""`model-card`: what a model file says of itself."""

from pathlib import Path
from typing import Annotated

import typer

from bloodcell_batch.cli.configured import Call, configured
from bloodcell_batch.config.base import CommandConfig


@configured(CommandConfig, config_file="")
def model_card(
    _call: Call[CommandConfig],
    model: Annotated[
        Path | None,
        typer.Argument(
            help="Model file; the one shipped with the package if not given.", metavar="[FILE]", show_default=False
        ),
    ] = None,
) -> None:
    """Print the model card, in Markdown: data, licence, figures and limits, as stored in the model file."""
    from bloodcell_batch.cli.streams import write_text  # noqa: PLC0415 - keeps --help fast
    from bloodcell_batch.model.card import model_card as render  # noqa: PLC0415
    from bloodcell_batch.model.file import open_model  # noqa: PLC0415

    write_text(render(open_model(model)))
