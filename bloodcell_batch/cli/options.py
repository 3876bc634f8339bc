"""What all commands share: options made from configuration fields, and the one place where errors become text."""

import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, get_args

import typer

from bloodcell_batch.config.base import CommandConfig
from bloodcell_batch.errors import BloodcellBatchError, ExitCode


class LogFormat(StrEnum):
    """Form of what is said on stderr."""

    TEXT = "text"
    JSON = "json"


Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing on stderr but warnings and errors.")]
Log = Annotated[LogFormat, typer.Option("--log-format", help="Form of the messages on stderr.")]


class ProgressDisplay(StrEnum):
    """How progress is shown on stderr."""

    AUTO = "auto"
    RICH = "rich"
    PLAIN = "plain"
    NONE = "none"


ShowProgress = Annotated[
    ProgressDisplay,
    typer.Option("--progress", help="Progress on stderr; auto is rich on a terminal and plain lines elsewhere."),
]

ResultsTable = Annotated[
    Path,
    typer.Argument(
        help="Table that classify (or review import) wrote; its run record is beside it.", metavar="RESULTS"
    ),
]


class TerminatedError(BaseException):
    """SIGTERM arrived; derived from BaseException so that no handler for errors stops it."""


def option(kind: type[CommandConfig], field: str, *names: str, metavar: str | None = None) -> Any:  # noqa: ANN401
    """A Typer option whose help and shown default come from the field of a configuration.

    The option's own default is None, meaning "not given", so that a value from --config can take its place.
    """
    info = kind.model_fields[field]
    parts = [f"{info.description}.", _limits(info.metadata)]
    if not info.is_required() and info.default is not None and info.default is not False:
        parts.append(f"Default: {info.default}.")
    names = names or (f"--{field.replace('_', '-')}",)
    choices = get_args(info.annotation)
    if metavar is None and choices and all(isinstance(choice, str) for choice in choices):
        metavar = "|".join(choices)
    return typer.Option(*names, help=" ".join(filter(None, parts)), show_default=False, metavar=metavar)


def _limits(metadata: list[Any]) -> str:
    """The numeric range of a field in words; empty if it has none."""
    low = next((f"{rule.ge:,}" for rule in metadata if getattr(rule, "ge", None) is not None), "")
    low = low or next((f"above {rule.gt:,}" for rule in metadata if getattr(rule, "gt", None) is not None), "")
    high = next((f"{rule.le:,}" for rule in metadata if getattr(rule, "le", None) is not None), "")
    high = high or next((f"below {rule.lt:,}" for rule in metadata if getattr(rule, "lt", None) is not None), "")
    if low and high:
        return f"Range: {low} to {high}."
    if low.startswith("above") or high:
        return f"{(low or high).capitalize()}."
    return f"At least {low}." if low else ""


@contextmanager
def errors_as_text(log_format: LogFormat, when_interrupted: str = "Run it again.") -> Iterator[None]:
    """Turn every expected error into one message on stderr and the exit code that belongs to it."""
    from bloodcell_batch.cli.console import report_error  # noqa: PLC0415 - rich is not needed for --help

    # Pillow warns about odd metadata; what is wrong with the pixels it raises, and that becomes a row.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    except BloodcellBatchError as error:
        report_error(error, log_format)
        raise typer.Exit(error.exit_code) from error
    except KeyboardInterrupt as stop:
        report_error(BloodcellBatchError("Interrupted; nothing was published.", hint=when_interrupted), log_format)
        raise typer.Exit(ExitCode.INTERRUPTED) from stop
    except TerminatedError as stop:
        report_error(BloodcellBatchError("Terminated; nothing was published.", hint=when_interrupted), log_format)
        raise typer.Exit(ExitCode.TERMINATED) from stop
    except MemoryError as error:
        hint = "Close other programs, or lower --workers, --batch-size or --max-megapixels; then run it again."
        report_error(BloodcellBatchError("Memory is full; nothing was published.", hint=hint), log_format)
        raise typer.Exit(ExitCode.ERROR) from error
    except BrokenPipeError as closed:
        # The reader of our stdout went away, as `| head` does. Python would complain again while closing stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(ExitCode.ERROR) from closed


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise TerminatedError
