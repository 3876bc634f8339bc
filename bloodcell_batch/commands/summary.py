"""How commands that write results end: one line about the run, and the exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from bloodcell_batch.errors import ExitCode
from bloodcell_batch.records import Status

if TYPE_CHECKING:
    from bloodcell_batch.pipeline import RunResult
    from bloodcell_batch.progress import Observer


def conclude(result: RunResult, out: str, observer: Observer, allow_failed: int) -> None:
    """Tell what a run found; more failed files than allowed, or an unreadable folder, end in exit code 3."""
    from bloodcell_batch.console import describe_counts  # noqa: PLC0415 - keeps --help fast

    observer.slides(result.slides)
    counts = result.counts
    total = f"{counts.found:,} files in {len(result.slides)} slides: {describe_counts(counts)}"
    observer.note(f"{total}, {counts.ignored:,} ignored; {result.seconds:.1f} s", out=out)
    if counts.by_status[Status.FAILED] > allow_failed or result.unreadable_folders:
        raise typer.Exit(ExitCode.COMPLETE_WITH_FAILED_FILES)
