"""Programs that tests start: waited for with patience, and ended with the test, whatever becomes of it."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

PATIENCE_S = 900.0
"""Seconds after which a wait has failed: far more than a busy machine needs, for tests are not benchmarks."""


@contextmanager
def started(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[Any]]:  # noqa: ANN401 - Popen's
    """A running program; it and all that it has started are killed when the body ends, also by a failure."""
    with subprocess.Popen(command, start_new_session=True, **options) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def wait_until(true: Callable[[], bool], process: subprocess.Popen[Any] | None = None) -> None:
    """Wait until something is true; fail if the program ends before, or after `PATIENCE_S`."""
    end = time.monotonic() + PATIENCE_S
    while not true():
        code = None if process is None else process.poll()
        assert code is None, f"the program ended with {code}"
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def crash(*_arguments: object) -> None:
    """What a process of its own may be told to do; a test module's own function is found only from the root."""
    os._exit(7)
