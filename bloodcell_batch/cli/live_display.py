"""What a person sees on a terminal: a live bar, then tables of slides."""

import time
from collections.abc import Mapping, Sequence

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
from bloodcell_batch.cli.console import MAX_SLIDES_SHOWN, describe_counts, rate_of
from bloodcell_batch.cli.slide_table import AbsoluteTable, SlideTable
from bloodcell_batch.differential.absolute import AbsoluteCounts
from bloodcell_batch.files.names import one_line
from bloodcell_batch.progress import NullObserver, RunCounts, SlideDifferential, counted
from bloodcell_batch.records import Status

_CLOSING = f"Preclassification. {RESEARCH_USE_ONLY}"
_WIDE = 110  # columns that the bar and all counts need
_NARROW = 72  # columns that the two counts need which a person may have to act on

STATE_STYLES = {"rejected": "bold red", "not in control": "bold red", "not judged yet": "yellow", "in control": "green"}
"""How a terminal shows what is told with a field `state`; everywhere else, the words alone say it."""


def print_slides(slides: Sequence[SlideDifferential], absolute: Mapping[str, AbsoluteCounts]) -> None:
    """The differentials as a table on stdout, for a terminal, and absolute counts as another where there are any."""
    console = Console()
    console.print(SlideTable(slides))
    if absolute:
        console.print(AbsoluteTable(absolute))
    console.print(_CLOSING, style="dim italic")


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
        self._console.print(SlideTable(slides[:MAX_SLIDES_SHOWN]))
        if len(slides) > MAX_SLIDES_SHOWN:
            self.note(f"and {counted(len(slides) - MAX_SLIDES_SHOWN, 'more slide')} in the slide table")
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
        rate = rate_of(done, self._last - self._began)
        self._progress.update(self._task, completed=done, rate=rate, outcomes=outcomes)


def live_observer(*, even_without_terminal: bool) -> LiveObserver:
    """The observer of a terminal's stderr, or of a stderr that is to be taken for one."""
    return LiveObserver(Console(stderr=True, force_terminal=True if even_without_terminal else None))
