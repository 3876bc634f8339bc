"""How commands that write results end: one line about the run, and the exit code."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer

from bloodcell_batch.errors import ExitCode
from bloodcell_batch.records import Status

if TYPE_CHECKING:
    from bloodcell_batch.progress import Observer
    from bloodcell_batch.runs.pipeline import RunResult


def conclude(result: RunResult, out: str, observer: Observer, allow_failed: int, *, as_json: bool) -> None:
    """Tell what a run found; more failed files than allowed, or an unreadable folder, end in exit code 3."""
    from bloodcell_batch.cli.console import describe_counts  # noqa: PLC0415 - keeps --help fast
    from bloodcell_batch.cli.streams import write_text  # noqa: PLC0415 - keeps --help fast

    counts, slides = result.counts, len(result.slides)
    observer.slides(result.slides)
    total = f"{counts.found:,} files in {slides} slides: {describe_counts(counts)}"
    observer.note(f"{total}, {counts.ignored:,} ignored; {result.seconds:.1f} s", out=out)
    failed = counts.by_status[Status.FAILED] > allow_failed or bool(result.unreadable_folders)
    code = ExitCode.COMPLETE_WITH_FAILED_FILES if failed else ExitCode.COMPLETE
    if as_json:
        summary: dict[str, object] = {"out": out, "exit_code": int(code), "slides": slides, "found": counts.found}
        summary |= {status.value: counts.by_status[status] for status in Status}
        summary |= {"ignored": counts.ignored, "unreadable_folders": len(result.unreadable_folders)}
        write_text(json.dumps(summary | {"seconds": round(result.seconds, 3)}))
    raise typer.Exit(code)
