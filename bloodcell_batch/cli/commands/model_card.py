"""`model-card`: what a model file says of itself."""

from pathlib import Path
from typing import Annotated

import typer

from bloodcell_batch.cli.configured import Call, configured
from bloodcell_batch.config.base import CommandConfig

_IN_INT8 = """
## In int8

The package has this network in int8, too, which `--precision auto` may run on the CPU (`--precision fp32` does not):

"""


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
    from bloodcell_batch.backends.openvino.int8 import packaged_int8  # noqa: PLC0415 - keeps --help fast
    from bloodcell_batch.cli.streams import write_text  # noqa: PLC0415
    from bloodcell_batch.model.card import model_card as render  # noqa: PLC0415
    from bloodcell_batch.model.file import open_model  # noqa: PLC0415

    opened = open_model(model)
    int8 = packaged_int8(opened)
    write_text(
        render(opened)
        + ("" if int8 is None else _IN_INT8 + "".join(f"- {line}\n" for line in int8.record.int8.as_lines()))
    )
