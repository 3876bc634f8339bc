"""What a run tells while it runs, to whom it may concern: a console, a log, or nobody."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from bloodcell_batch.records import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bloodcell_batch.records import SlideDifferential

_log = logging.getLogger("bloodcell_batch")


@dataclass(slots=True)
class RunCounts:
    """Running totals of one run; `check` is the conservation law."""

    found: int = 0
    ignored: int = 0
    by_status: dict[Status, int] = field(default_factory=lambda: dict.fromkeys(Status, 0))

    @property
    def done(self) -> int:
        """Image files that have an outcome by now."""
        return sum(self.by_status.values())

    @property
    def duplicates(self) -> int:
        """Exact and near duplicates together."""
        return self.by_status[Status.EXACT_DUPLICATE] + self.by_status[Status.NEAR_DUPLICATE]

    def balanced(self) -> bool:
        """True when files found = classified + unclassified + duplicates + failed + ignored."""
        return self.found == self.done + self.ignored


class Observer(Protocol):
    """Receives the events of a run. Calls come from the main thread only."""

    def note(self, text: str, **fields: object) -> None:
        """Something worth knowing, such as the backend that was chosen."""

    def warn(self, text: str, **fields: object) -> None:
        """Something that may need action, such as an unreadable folder."""

    def started(self, task: str, total: int) -> None:
        """A task of `total` items begins."""

    def advanced(self, done: int, counts: RunCounts | None = None) -> None:
        """`done` items of the task are finished; `counts` are the outcomes so far, where there are any."""

    def finished(self) -> None:
        """The task is over, for whatever reason."""

    def slides(self, slides: Sequence[SlideDifferential]) -> None:
        """The differentials of the run, for the closing table."""


class NullObserver:
    """Shows nothing."""

    def note(self, text: str, **fields: object) -> None:
        """Ignore."""

    def warn(self, text: str, **fields: object) -> None:
        """Ignore."""

    def started(self, task: str, total: int) -> None:
        """Ignore."""

    def advanced(self, done: int, counts: RunCounts | None = None) -> None:
        """Ignore."""

    def finished(self) -> None:
        """Ignore."""

    def slides(self, slides: Sequence[SlideDifferential]) -> None:
        """Ignore."""


class LoggedWarnings(NullObserver):
    """Passes warnings to the logger `bloodcell_batch`, and nothing else to anybody: the default for library use."""

    def warn(self, text: str, **fields: object) -> None:
        """See `Observer.warn`."""
        _log.warning("%s", text)


class ForwardingObserver:
    """Passes every event on to `inner`; what listens in between extends it."""

    def __init__(self, inner: Observer) -> None:
        self._inner = inner

    def note(self, text: str, **fields: object) -> None:
        """See `Observer.note`."""
        self._inner.note(text, **fields)

    def warn(self, text: str, **fields: object) -> None:
        """See `Observer.warn`."""
        self._inner.warn(text, **fields)

    def started(self, task: str, total: int) -> None:
        """See `Observer.started`."""
        self._inner.started(task, total)

    def advanced(self, done: int, counts: RunCounts | None = None) -> None:
        """See `Observer.advanced`."""
        self._inner.advanced(done, counts)

    def finished(self) -> None:
        """See `Observer.finished`."""
        self._inner.finished()

    def slides(self, slides: Sequence[SlideDifferential]) -> None:
        """See `Observer.slides`."""
        self._inner.slides(slides)


def counted(number: int, noun: str, nouns: str = "") -> str:
    """`1 cell`, `2,000 cells`: a number with what it counts; `nouns` where the plural needs more than an s, or where a
    verb follows, as in "1 file was"."""
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}"
