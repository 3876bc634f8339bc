"""Which observer a command reports to."""

import sys

from bloodcell_batch.cli.console import JsonObserver, PlainObserver, QuietObserver
from bloodcell_batch.progress import Observer


def make_observer(*, quiet: bool, log_format: str, progress: str = "auto") -> Observer:
    """The observer for this process: JSON lines, live progress on a terminal, plain lines otherwise.

    `progress` "rich", "plain" or "none" takes the place of asking whether there is a terminal.
    """
    if log_format == "json":
        return JsonObserver(quiet=quiet)
    if quiet:
        return QuietObserver()
    if progress == "none":
        return PlainObserver(lines=False)
    if progress == "rich" or (progress == "auto" and sys.stderr.isatty()):
        from bloodcell_batch.cli.live_display import live_observer  # noqa: PLC0415 - rich is for terminals only

        return live_observer(even_without_terminal=progress == "rich")
    return PlainObserver()
