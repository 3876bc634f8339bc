"""`compare`: recipes and labelled images in, one table out."""

import functools
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from bloodcell_batch.backends import BACKEND_NAMES
from bloodcell_batch.cli.options import Log, LogFormat, Quiet, errors_as_text, option
from bloodcell_batch.config.comparison import CompareConfig
from bloodcell_batch.config.resolve import resolve
from bloodcell_batch.errors import ExitCode, UsageError

_Config = CompareConfig


def compare(
    recipes: Annotated[
        list[Path], typer.Argument(help="TOML recipes, such as those in configs/models/.", metavar="CONFIG…")
    ],
    data: Annotated[Path, typer.Option(help="Labelled images, as for train.", metavar="DATA")],
    out: Annotated[Path, typer.Option(help="Folder for the table, the rows and the models.", metavar="DIR")],
    quick: Annotated[bool | None, option(_Config, "quick", "--quick")] = None,
    seed: Annotated[int | None, option(_Config, "seed", metavar="N")] = None,
    validation_fraction: Annotated[float | None, option(_Config, "validation_fraction", metavar="SHARE")] = None,
    test_fraction: Annotated[float | None, option(_Config, "test_fraction", metavar="SHARE")] = None,
    conflicts: Annotated[str | None, option(_Config, "conflicts")] = None,
    folds: Annotated[int | None, option(_Config, "folds", metavar="N")] = None,
    images_per_class: Annotated[int | None, option(_Config, "images_per_class", metavar="IMAGES")] = None,
    max_input_size: Annotated[int | None, option(_Config, "max_input_size", metavar="PIXELS")] = None,
    max_epochs: Annotated[int | None, option(_Config, "max_epochs", metavar="N")] = None,
    max_batch_size: Annotated[int | None, option(_Config, "max_batch_size", metavar="IMAGES")] = None,
    skip: Annotated[list[str] | None, option(_Config, "skip", metavar="NAME")] = None,
    weights: Annotated[list[str] | None, option(_Config, "weights", metavar="ARCHITECTURE=FILE")] = None,
    throughput_floor: Annotated[float | None, option(_Config, "throughput_floor", metavar="IMAGES/S")] = None,
    backend: Annotated[str | None, option(_Config, "backend", metavar="|".join(BACKEND_NAMES))] = None,
    workers: Annotated[int | None, option(_Config, "workers", metavar="THREADS")] = None,
    quiet: Quiet = False,
    log_format: Log = LogFormat.TEXT,
) -> None:
    """Train and measure each CONFIG on one split of DATA, and write one table as Parquet, Markdown and HTML.

    The split, the seed and the metrics are the same for all. Each system runs in a process of its own; one that fails
    becomes a row with the reason (exit code 1 at the end). The same command continues an interrupted comparison:
    finished rows are kept. Classical models are compared only, never saved: theirs would be pickles.
    """
    flags = {key: value for key, value in locals().items() if key in _Config.model_fields and value is not None}
    with errors_as_text(log_format, "Run the same command again to continue."):
        if weights:
            flags["weights"] = _parsed(weights)
        settings = resolve(_Config, flags)
        from bloodcell_batch.cli.console import make_observer, write_text  # noqa: PLC0415 - keeps --help fast
        from bloodcell_batch.training.comparison.compare import compare as run  # noqa: PLC0415
        from bloodcell_batch.training.comparison.report import as_text, write_comparison  # noqa: PLC0415
        from bloodcell_batch.training.comparison.system_row import FAILED  # noqa: PLC0415

        rows = run(recipes, data, out, settings, functools.partial(make_observer, quiet=quiet, log_format=log_format))
        write_comparison(rows, out, settings, shlex.join(["bloodcell-batch", *sys.argv[1:]]))
        write_text(as_text(rows))
        if any(row.status == FAILED for row in rows):
            raise typer.Exit(ExitCode.ERROR)


def _parsed(weights: list[str]) -> dict[str, Path]:
    pairs = [entry.partition("=") for entry in weights]
    wrong = [entry for entry, (name, _, file) in zip(weights, pairs, strict=True) if not name or not file]
    if wrong:
        hint = "For example: --weights mobilenetv2_100=mobilenetv2.safetensors"
        raise UsageError(f"--weights {wrong[0]!r} is not ARCHITECTURE=FILE.", hint=hint)
    return {name: Path(file) for name, _, file in pairs}
