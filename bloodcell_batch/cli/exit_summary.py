"""How commands that write results end: what was found and written, what a person should look at, the exit code."""

from __future__ import annotations

import json
import shlex
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from bloodcell_batch.errors import ExitCode
from bloodcell_batch.progress import SlideDifferential, counted
from bloodcell_batch.records import Rejection, Status
from bloodcell_batch.results.formats import STDOUT

if TYPE_CHECKING:
    from bloodcell_batch.progress import Observer
    from bloodcell_batch.runs.pipeline import RunResult

_LISTED = 10


def conclude(result: RunResult, outs: Sequence[str], observer: Observer, allow_failed: int, *, as_json: bool) -> None:
    """Tell what a run found and wrote to `outs`; more failed files than allowed, or an unreadable folder, end in exit
    code 3."""
    from bloodcell_batch.cli.console import describe_counts  # noqa: PLC0415 - keeps --help fast
    from bloodcell_batch.cli.streams import write_text  # noqa: PLC0415

    out = outs[0]
    counts, slides = result.counts, len(result.slides)
    observer.slides(result.slides)
    tell_alerts(result.slides, observer)
    _tell_failures(result.failures, counts.by_status[Status.FAILED], observer)
    total = f"{counted(counts.found, 'file')} in {counted(slides, 'slide')}: {describe_counts(counts)}"
    observer.note(f"{total}, {counts.ignored:,} ignored; {result.seconds:.1f} s", out=out)
    if out != STDOUT:
        written = f"{' and '.join(outs)} and beside {'it' if len(outs) == 1 else 'them'}"
        observer.note(f"written to {written}; next: bloodcell-batch report {shlex.quote(out)} --out report.html")
    failed = counts.by_status[Status.FAILED] > allow_failed or bool(result.unreadable_folders)
    code = ExitCode.COMPLETE_WITH_FAILED_FILES if failed else ExitCode.COMPLETE
    if as_json:
        summary: dict[str, object] = {"out": out, "exit_code": int(code), "slides": slides, "found": counts.found}
        summary |= {status.value: counts.by_status[status] for status in Status}
        summary |= {"further_outs": list(outs[1:])} if outs[1:] else {}
        summary |= {"ignored": counts.ignored, "unreadable_folders": len(result.unreadable_folders)}
        write_text(json.dumps(summary | {"seconds": round(result.seconds, 3)}))
    raise typer.Exit(code)


def tell_alerts(slides: Sequence[SlideDifferential], observer: Observer) -> None:
    """Every alert is a warning; where many slides have the same kind, the first few are told and the rest counted."""
    by_kind: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for slide in slides:
        for alert in slide.alerts:
            by_kind[alert.partition(":")[0]].append((slide.slide_id, alert))
    for kind, found in by_kind.items():
        for slide_id, alert in found[:_LISTED]:
            observer.warn(f"slide {slide_id}: {alert}", slide_id=slide_id)
        if len(found) > _LISTED:
            observer.warn(
                f"{kind} in {counted(len(found) - _LISTED, 'more slide')}: see the column alerts of the slide table"
            )


def _tell_failures(failures: Sequence[Rejection], count: int, observer: Observer) -> None:
    """The first of `count` files that failed, and why."""
    for failure in failures[:_LISTED]:
        why = f"{failure.reason.value}: {failure.detail}" if failure.reason else failure.detail
        observer.warn(f"failed: {failure.file.path} ({why})", path=failure.file.path)
    if count > _LISTED:
        observer.warn(f"{counted(count - _LISTED, 'more file')} failed: see the rows with the status failed")
