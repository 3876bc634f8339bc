"""What a command tells: plain lines or JSON lines; `live_display` has what a terminal shows.

Talk goes to stderr, data to stdout.
"""

import json
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from bloodcell_batch.cli.share_text import share_text
from bloodcell_batch.cli.streams import wrapped
from bloodcell_batch.differential.not_excluded import blasts_note, not_excluded
from bloodcell_batch.errors import BloodcellBatchError
from bloodcell_batch.files.names import one_line, printable
from bloodcell_batch.progress import NullObserver, RunCounts, SlideDifferential, counted
from bloodcell_batch.records import Status

PLAIN_INTERVAL_S = 10.0
MAX_SLIDES_SHOWN = 40


def report_error(error: BloodcellBatchError, log_format: str) -> None:
    """One error on stderr: what and where, then what to do."""
    if log_format == "json":
        _json_line("error", error.message, {"hint": error.hint, "exit_code": int(error.exit_code)})
        return
    sys.stderr.write(wrapped(f"error: {one_line(error.message)}\n", sys.stderr))
    if error.hint:
        sys.stderr.write(wrapped(f"       {one_line(error.hint)}\n", sys.stderr))


class QuietObserver(NullObserver):
    """Warnings only."""

    def warn(self, text: str, **fields: object) -> None:
        """See `Observer.warn`."""
        sys.stderr.write(f"warning: {one_line(text)}\n")


class PlainObserver(QuietObserver):
    """A line at the start, one every `PLAIN_INTERVAL_S` seconds (neither without `lines`), and a summary: for logs and
    schedulers."""

    def __init__(self, *, lines: bool = True) -> None:
        self._lines = lines
        self._task, self._total, self._done = "", 0, 0
        self._counts: RunCounts | None = None
        self._began = self._last = time.monotonic()

    def note(self, text: str, **fields: object) -> None:
        """See `Observer.note`."""
        sys.stderr.write(f"{one_line(text)}\n")

    def started(self, task: str, total: int) -> None:
        """See `Observer.started`."""
        self._task, self._total, self._done, self._counts = task, total, 0, None
        self._began = self._last = time.monotonic()
        if self._lines:
            self.note(f"{task}: {total:,} to do")

    def advanced(self, done: int, counts: RunCounts | None = None) -> None:
        """See `Observer.advanced`."""
        self._done, self._counts = done, counts
        if self._lines and time.monotonic() - self._last >= PLAIN_INTERVAL_S:
            self._last = time.monotonic()
            self.note(self._line())

    def finished(self) -> None:
        """See `Observer.finished`."""
        self.note(self._line())

    def slides(self, slides: Sequence[SlideDifferential]) -> None:
        """See `Observer.slides`."""
        for slide in slides[:MAX_SLIDES_SHOWN]:
            shares = ", ".join(f"{name} {told}" for name, share in slide.shares.items() if (told := share_text(share)))
            text = f"slide {slide.slide_id}: {counted(slide.wbc_counted, 'leukocyte')} ({slide.adequacy})"
            self.note(f"{text}; {shares}" if shares else text)
        if len(slides) > MAX_SLIDES_SHOWN:
            self.note(f"and {counted(len(slides) - MAX_SLIDES_SHOWN, 'more slide')} in the slide table")
        if slides and (blasts := blasts_note((*slides[0].shares, *slides[0].outside_counts))):
            self.note(blasts)

    def _line(self) -> str:
        seconds = time.monotonic() - self._began
        left = seconds * (self._total - self._done) / self._done if self._done else 0
        parts = [f"{self._done:,}/{self._total:,}", rate_of(self._done, seconds), f"{left:.0f} s left" if left else ""]
        line = f"{self._task}: {', '.join(filter(None, parts))}"
        return f"{line}; {describe_counts(self._counts)}" if self._counts else line


class JsonObserver(NullObserver):
    """One JSON object a line, each with `time`, `event` and `text`."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._task, self._total = "", 0
        self._last = 0.0
        self._state: dict[str, object] = {}

    def note(self, text: str, **fields: object) -> None:
        """See `Observer.note`."""
        if not self._quiet:
            _json_line("note", text, fields)

    def warn(self, text: str, **fields: object) -> None:
        """See `Observer.warn`."""
        _json_line("warning", text, fields)

    def started(self, task: str, total: int) -> None:
        """See `Observer.started`."""
        self._task, self._total, self._last = task, total, time.monotonic()
        self._state = {"done": 0}
        self.note(task, total=total)

    def advanced(self, done: int, counts: RunCounts | None = None) -> None:
        """See `Observer.advanced`."""
        statuses = {status.value: counts.by_status[status] for status in Status} if counts else {}
        self._state = {"done": done, **statuses}
        if time.monotonic() - self._last >= PLAIN_INTERVAL_S:
            self._last = time.monotonic()
            self.note(self._task, total=self._total, **self._state)

    def finished(self) -> None:
        """See `Observer.finished`."""
        self.note(f"{self._task}: finished", total=self._total, **self._state)

    def slides(self, slides: Sequence[SlideDifferential]) -> None:
        """See `Observer.slides`."""
        for slide in slides:
            percents = {
                f"{name}_{field}": getattr(share, field)
                for name, share in slide.shares.items()
                for field in ("percent", "percent_low", "percent_high")
            }
            known: dict[str, object] = {"wbc_counted": slide.wbc_counted, "withheld": slide.withheld}
            known["not_excluded"] = list(not_excluded(slide))
            self.note("slide", slide_id=slide.slide_id, **known, **percents)


def rate_of(done: int, seconds: float) -> str:
    """Items a second, with two digits where they are few; empty where there is nothing to tell yet."""
    if not done:
        return ""
    rate = done / max(seconds, 1e-9)
    return f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2g}/s"


def describe_counts(counts: RunCounts) -> str:
    """Outcome counts in one line."""
    parts = [
        f"{counts.by_status[Status.CLASSIFIED]:,} classified",
        f"{counts.by_status[Status.UNCLASSIFIED]:,} unclassified",
        counted(counts.duplicates, "duplicate"),
        f"{counts.by_status[Status.FAILED]:,} failed",
    ]
    return ", ".join(parts)


def _json_line(event: str, text: str, fields: dict[str, object]) -> None:
    line = {"time": datetime.now(UTC).isoformat(), "event": event, "text": printable(text), **fields}
    sys.stderr.write(json.dumps(line, default=str) + "\n")
