"""stdout as a place for tables."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from bloodcell_batch.errors import OutputError
from bloodcell_batch.files.writing import writing


@contextmanager
def stdout_for_tables() -> Iterator[TextIO]:
    """Stdout as UTF-8 with LF line ends, whatever the locale says: it may not know every name, as under cron.

    Raises:
        OutputError: stdout is closed, or its disk is full.
        BrokenPipeError: its reader went away.
    """
    if sys.stdout is None:
        raise OutputError("stdout is closed, so there is nowhere to write to.", hint="Give --out the name of a file.")
    stream = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8", newline="")
    try:
        with writing("to stdout", "Free some space where it goes, or give --out the name of a file."):
            yield stream
            stream.flush()
    except (OSError, OutputError):
        # What is still buffered would fail again, with a traceback, when Python closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise
    stream.detach()
