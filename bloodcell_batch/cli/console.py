"""Everything that is shown to a person: live progress on a terminal, plain lines or JSON lines elsewhere.

Talk goes to stderr, data to stdout.
"""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from bloodcell_batch.cell_classes import RESEARCH_USE_ONLY
from bloodcell_batch.cli.share_text import share_text
from bloodcell_batch.cli.slide_table import AbsoluteTable, SlideTable
from bloodcell_batch.cli.streams import wrapped
from bloodcell_batch.differential.absolute import AbsoluteCounts
from bloodcell_batch.differential.not_excluded import blasts_note, not_excluded
from bloodcell_batch.errors import BloodcellBatchError
from bloodcell_batch.files.names import one_line, printable
from bloodcell_batch.progress import NullObserver, Observer, RunCounts, SlideDifferential, counted
from bloodcell_batch.records import Status

_CLOSING = f"Preclassification. {RESEARCH_USE_ONLY}"
PLAIN_INTERVAL_S = 10.0
_MAX_SLIDES_SHOWN = 40
_WIDE = 110  # columns that the bar and all counts need
_NARROW = 72  # columns that the two counts need which a person may have to act on


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
        return LiveObserver(Console(stderr=True, force_terminal=True if progress == "rich" else None))
    return PlainObserver()


def print_slides(slides: Sequence[SlideDifferential], absolute: Mapping[str, AbsoluteCounts]) -> None:
    """The differentials as a table on stdout, for a terminal, and absolute counts as another where there are any."""
    console = Console()
    console.print(SlideTable(slides))
    if absolute:
        console.print(AbsoluteTable(absolute))
    console.print(_CLOSING, style="dim italic")


def report_error(error: BloodcellBatchError, log_format: str) -> None:
    """One error on stderr: what and where, then what to do."""
    if log_format == "json":
        _json_line("error", error.message, {"hint": error.hint, "exit_code": int(error.exit_code)})
        return
    sys.stderr.write(wrapped(f"error: {one_line(error.message)}\n", sys.stderr))
    if error.hint:
        sys.stderr.write(wrapped(f"       {one_line(error.hint)}\n", sys.stderr))


STATE_STYLES = {"rejected": "bold red", "not in control": "bold red", "not judged yet": "yellow", "in control": "green"}
"""How a terminal shows what is told with a field `state`; everywhere else, the words alone say it."""


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
        for slide in slides[:_MAX_SLIDES_SHOWN]:
            shares = ", ".join(f"{name} {told}" for name, share in slide.shares.items() if (told := share_text(share)))
            text = f"slide {slide.slide_id}: {counted(slide.wbc_counted, 'leukocyte')} ({slide.adequacy})"
            self.note(f"{text}; {shares}" if shares else text)
        if len(slides) > _MAX_SLIDES_SHOWN:
            self.note(f"and {counted(len(slides) - _MAX_SLIDES_SHOWN, 'more slide')} in the slide table")
        if slides and (blasts := blasts_note((*slides[0].shares, *slides[0].outside_counts))):
            self.note(blasts)

    def _line(self) -> str:
        seconds = time.monotonic() - self._began
        left = seconds * (self._total - self._done) / self._done if self._done else 0
        parts = [f"{self._done:,}/{self._total:,}", _rate(self._done, seconds), f"{left:.0f} s left" if left else ""]
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


class LiveObserver(NullObserver):
    """A live bar with rate, time left and outcomes so far, then a table of slides."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._last = self._began = 0.0
        self._latest: tuple[int, RunCounts | None] = (0, None)

    def note(self, text: str, **fields: object) -> None:
        """See `Observer.note`."""
        style = STATE_STYLES.get(str(fields.get("state")), "dim")
        self._console.print(escape(one_line(text)), style=style, highlight=False)

    def warn(self, text: str, **fields: object) -> None:
        """See `Observer.warn`."""
        style = STATE_STYLES.get(str(fields.get("state")), "yellow")
        self._console.print(f"[{style}]warning:[/] {escape(one_line(text))}", highlight=False)

    def started(self, task: str, total: int) -> None:
        """See `Observer.started`."""
        bar = [BarColumn()] if self._console.width >= _WIDE else []
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            *bar,
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[outcomes]}"),
            console=self._console,
            transient=False,
        )
        self._progress.start()
        self._task = self._progress.add_task(task, total=total, rate="", outcomes="")
        self._began, self._last = time.monotonic(), 0.0

    def advanced(self, done: int, counts: RunCounts | None = None) -> None:
        """See `Observer.advanced`."""
        self._latest = (done, counts)
        # Ten updates a second are all that a person sees; more would only cost time.
        if time.monotonic() - self._last >= 0.1:
            self._update(done, counts)

    def finished(self) -> None:
        """See `Observer.finished`."""
        if self._progress is not None:
            self._update(*self._latest)
            self._progress.stop()
        self._progress = None

    def slides(self, slides: Sequence[SlideDifferential]) -> None:
        """See `Observer.slides`."""
        self._console.print(SlideTable(slides[:_MAX_SLIDES_SHOWN]))
        if len(slides) > _MAX_SLIDES_SHOWN:
            self.note(f"and {counted(len(slides) - _MAX_SLIDES_SHOWN, 'more slide')} in the slide table")
        self._console.print(_CLOSING, style="dim italic")

    def _update(self, done: int, counts: RunCounts | None) -> None:
        if self._progress is None or self._task is None:
            return
        self._last = time.monotonic()
        outcomes = ""
        if counts and self._console.width >= _WIDE:
            outcomes = describe_counts(counts)
        elif counts and self._console.width >= _NARROW:
            outcomes = (
                f"{counts.by_status[Status.UNCLASSIFIED]:,} unclassified, {counts.by_status[Status.FAILED]:,} failed"
            )
        self._progress.update(self._task, completed=done, rate=_rate(done, self._last - self._began), outcomes=outcomes)


def _rate(done: int, seconds: float) -> str:
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
