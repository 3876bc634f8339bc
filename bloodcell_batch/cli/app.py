"""The `bloodcell-batch` program: its commands, of which only the one that is asked for is imported."""

import gc
import importlib
import logging
import os
import sys
from typing import Annotated

import typer

from bloodcell_batch import __version__
from bloodcell_batch.cli.help_pages import Command, Group
from bloodcell_batch.cli.streams import outlive_readers

_SLIDES, _MODELS, _MACHINE = "Slides", "Models", "This machine"

COMMANDS = {
    "classify": ("classify", _SLIDES),
    "find": ("find", _SLIDES),
    "merge": ("merge", _SLIDES),
    "differential": ("differential", _SLIDES),
    "report": ("report", _SLIDES),
    "review": ("review", _SLIDES),
    "concordance": ("concordance", _SLIDES),
    "monitor": ("monitor", _SLIDES),
    "diff": ("diff", _SLIDES),
    "sort": ("sort", _SLIDES),
    "export-fhir": ("export_fhir", _SLIDES),
    "pseudonymize": ("pseudonymize", _SLIDES),
    "verify": ("verify", _SLIDES),
    "train": ("train", _MODELS),
    "adapt": ("adapt", _MODELS),
    "evaluate": ("evaluate", _MODELS),
    "train-finder": ("train_finder", _MODELS),
    "evaluate-finder": ("evaluate_finder", _MODELS),
    "compare": ("compare", _MODELS),
    "tune": ("tune", _MODELS),
    "export-trt": ("export", _MACHINE),
    "export-onnx": ("export", _MACHINE),
    "export-openvino": ("export", _MACHINE),
    "model-card": ("model_card", _MODELS),
    "doctor": ("doctor", _MACHINE),
    "benchmark": ("benchmark", _MACHINE),
}
"""In the order of the help page: each command's module in `cli.commands`, where it has its own name with underscores,
and its panel."""

_MADE_BEFORE_A_LOOK = 20_000
"""New containers before Python looks for unreachable ones among them; 700 is its own choice."""


def program(asked: str = "") -> typer.Typer:
    """The program with all its commands; if one of them is asked for, with that one alone, which starts faster."""
    made = typer.Typer(
        name="bloodcell-batch",
        cls=Group,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    made.callback()(_about)
    for name in [asked] if asked in COMMANDS else COMMANDS:
        module, panel = COMMANDS[name]
        command = getattr(importlib.import_module(f"bloodcell_batch.cli.commands.{module}"), name.replace("-", "_"))
        if isinstance(command, typer.Typer):
            made.add_typer(command, name=name, rich_help_panel=panel)
        else:
            made.command(name, cls=Command, rich_help_panel=panel)(command)
    return made


def _print_version(*, on: bool) -> None:
    if on:
        typer.echo(f"bloodcell-batch {__version__}")
        raise typer.Exit


def _about(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and exit.", callback=lambda on: _print_version(on=on), is_eager=True
        ),
    ] = False,
) -> None:
    """Preclassify folders of peripheral-blood-smear cell images and count differentials, one folder per slide.

    For Research Use Only. Not for use in diagnostic procedures.
    """


def main() -> None:
    """Entry point of the console script."""
    # Arrow's own allocator keeps what Parquet's writer has freed: some 50 MB in a run on 100,000 images.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    # Pydantic would read the metadata of everything that is installed, for plugins that watch other programs' models.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    # On the first plot of an account Matplotlib says that it looks for fonts: a line in the mail of a cron job.
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    outlive_readers()
    run = program(sys.argv[1] if len(sys.argv) > 1 else "")
    # What imports make stays: looking through it again and again takes a tenth of a start, and as long at the end.
    gc.freeze()
    gc.set_threshold(_MADE_BEFORE_A_LOOK)
    try:
        run()
    finally:
        gc.freeze()


if __name__ == "__main__":
    main()
