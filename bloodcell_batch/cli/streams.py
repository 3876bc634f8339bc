"""Standard streams that nobody reads any more: a run must not end because its talk can't be heard."""

import os
import shutil
import signal
import sys
import textwrap
from contextlib import suppress
from typing import Any, TextIO, cast

_STREAMS = 3  # stdin, stdout, stderr
_APART = "   "  # between the cells of a table


class QuietWhenUnheard:
    """A text stream that falls silent for good when writing fails: its reader is gone, or its disk is full."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._silent = False

    def write(self, text: str) -> int:
        """Write if anybody can read it; the number of characters in any case."""
        if not self._silent:
            try:
                self._stream.write(text)
            except (OSError, ValueError):  # a ValueError says that the stream is closed
                self._fall_silent()
        return len(text)

    def flush(self) -> None:
        """Flush if anybody can read it."""
        if not self._silent:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self._fall_silent()

    def _fall_silent(self) -> None:
        self._silent = True
        # What is still buffered would fail again, with exit code 120, when Python closes the stream. One that is closed
        # (a ValueError) or no file of the system (an OSError, or no fileno at all) has nothing left to say.
        with suppress(OSError, ValueError, AttributeError):
            number = self._stream.fileno()
            null = os.open(os.devnull, os.O_WRONLY)
            try:
                os.dup2(null, number)
            finally:
                os.close(null)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the stream has
        return getattr(self._stream, name)


def outlive_readers() -> None:
    """Let the program end as usual where its standard streams are closed, full or without a reader, and when its
    terminal is closed. For the start of the process, before any file is opened."""
    for number in range(_STREAMS):
        try:
            os.fstat(number)
        except OSError:
            # The next file that is opened would get the number of the missing stream, and whatever is written to it.
            os.open(os.devnull, os.O_RDWR)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for the whole process
    sys.stderr = cast("TextIO", QuietWhenUnheard(sys.stderr))
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


def wrapped(text: str, stream: TextIO | None) -> str:
    """Text for a terminal, which would cut words where its line ends: sentences go on in a further line, at the same
    indent; tables, whose cells stand apart, and what is for a file or a pipe stay as they are."""
    if stream is None or not stream.isatty():
        return text
    width = shutil.get_terminal_size().columns
    lines = text.splitlines()
    return (
        "\n".join(_folded(line, width) if len(line) > width else line for line in lines)
        + text[len(text.rstrip("\n")) :]
    )


def _folded(line: str, width: int) -> str:
    indent = line[: len(line) - len(line.lstrip())]
    if _APART in line.strip() or line.startswith("|"):
        return line
    return textwrap.fill(
        line.strip(),
        width,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def write_text(text: str) -> None:
    """What a command has to say, to stdout: as it is but for names that no terminal can show.

    Where nobody reads it, closed or gone as with `| head`, it is not said: the work is done, and its exit code tells.

    Raises:
        OutputError: the disk behind stdout is full.
    """
    from bloodcell_batch.files.names import printable  # noqa: PLC0415 - keeps --help fast
    from bloodcell_batch.files.writing import writing  # noqa: PLC0415

    if sys.stdout is None:
        return
    try:
        with writing("to stdout", "Free some space where it goes."):
            sys.stdout.write(wrapped(printable(text if text.endswith("\n") else text + "\n"), sys.stdout))
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
