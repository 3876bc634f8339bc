"""The `bloodcell-batch` program."""

import gc
import logging
import os
from typing import Annotated

import typer

from bloodcell_batch import __version__
from bloodcell_batch.cli.commands.adapt import adapt
from bloodcell_batch.cli.commands.benchmark import benchmark
from bloodcell_batch.cli.commands.classify import classify
from bloodcell_batch.cli.commands.compare import compare
from bloodcell_batch.cli.commands.concordance import concordance
from bloodcell_batch.cli.commands.diff import diff
from bloodcell_batch.cli.commands.differential import differential
from bloodcell_batch.cli.commands.doctor import doctor
from bloodcell_batch.cli.commands.evaluate import evaluate
from bloodcell_batch.cli.commands.evaluate_finder import evaluate_finder
from bloodcell_batch.cli.commands.export import export_onnx, export_openvino, export_trt
from bloodcell_batch.cli.commands.export_fhir import export_fhir
from bloodcell_batch.cli.commands.find import find
from bloodcell_batch.cli.commands.merge import merge
from bloodcell_batch.cli.commands.model_card import model_card
from bloodcell_batch.cli.commands.monitor import monitor
from bloodcell_batch.cli.commands.pseudonymize import pseudonymize
from bloodcell_batch.cli.commands.report import report
from bloodcell_batch.cli.commands.review import review
from bloodcell_batch.cli.commands.sort import sort
from bloodcell_batch.cli.commands.train import train
from bloodcell_batch.cli.commands.train_finder import train_finder
from bloodcell_batch.cli.commands.tune import tune
from bloodcell_batch.cli.commands.verify import verify
from bloodcell_batch.cli.help_pages import Command, Group
from bloodcell_batch.cli.streams import outlive_readers

app = typer.Typer(
    name="bloodcell-batch",
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def program(
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


def _print_version(*, on: bool) -> None:
    if on:
        typer.echo(f"bloodcell-batch {__version__}")
        raise typer.Exit


app.command()(classify)
app.command()(find)
app.command()(merge)
app.command()(differential)
app.command()(report)
app.add_typer(review, name="review", rich_help_panel="Slides")
app.command()(concordance)
app.command()(monitor)
app.command()(diff)
app.command()(sort)
app.command("export-fhir")(export_fhir)
app.command()(pseudonymize)
app.command()(verify)
app.command()(train)
app.command()(adapt)
app.command()(evaluate)
app.command("train-finder")(train_finder)
app.command("evaluate-finder")(evaluate_finder)
app.command()(compare)
app.command()(tune)
app.command("export-trt")(export_trt)
app.command("export-onnx")(export_onnx)
app.command("export-openvino")(export_openvino)
app.command("model-card")(model_card)
app.command()(doctor)
app.command()(benchmark)

_MODELS = {"train", "adapt", "evaluate", "train-finder", "evaluate-finder", "compare", "tune", "model-card"}
_MACHINE = {"export-trt", "export-onnx", "export-openvino", "doctor", "benchmark"}
for _entry in (*app.registered_commands, *review.registered_commands):
    _entry.cls = Command
for _entry in app.registered_commands:
    _name = _entry.name or (_entry.callback.__name__ if _entry.callback else "")
    _entry.rich_help_panel = "Models" if _name in _MODELS else "This machine" if _name in _MACHINE else "Slides"


_MADE_BEFORE_A_LOOK = 20_000
"""New containers before Python looks for unreachable ones among them; 700 is its own choice."""


def main() -> None:
    """Entry point of the console script."""
    # Arrow's own allocator keeps what Parquet's writer has freed: some 50 MB in a run on 100,000 images.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    # On the first plot of an account Matplotlib says that it looks for fonts: a line in the mail of a cron job.
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    outlive_readers()
    # What imports make stays: looking through it again and again takes a tenth of a start, and as long at the end.
    gc.freeze()
    gc.set_threshold(_MADE_BEFORE_A_LOOK)
    try:
        app()
    finally:
        gc.freeze()


if __name__ == "__main__":
    main()
