"""The one place where errors and signals become text and exit codes."""

import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import typer

from bloodcell_batch.errors import BloodcellBatchError, ExitCode

_LEARNING = {"lightning", "matplotlib", "timm", "torch", "torchmetrics", "torchvision"}
"""What `requirements-cpu.txt` leaves out."""


class TerminatedError(BaseException):
    """SIGTERM arrived; derived from BaseException so that no handler for errors stops it."""


@contextmanager
def errors_as_text(log_format: str, when_interrupted: str = "Run it again.") -> Iterator[None]:
    """Turn every expected error into one message on stderr and the exit code that belongs to it."""
    from bloodcell_batch.cli.console import report_error  # noqa: PLC0415 - keeps --help fast

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
    except ModuleNotFoundError as error:
        if error.name not in _LEARNING:
            raise
        hint = f"Install the whole program (pip install bloodcell-batch), or {error.name} alone."
        report_error(BloodcellBatchError(f"This needs {error.name}, which is not installed.", hint=hint), log_format)
        raise typer.Exit(ExitCode.ERROR) from error
    except BrokenPipeError as closed:
        # The reader of our stdout went away, as `| head` does. Python would complain again while closing stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(ExitCode.ERROR) from closed


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise TerminatedError
