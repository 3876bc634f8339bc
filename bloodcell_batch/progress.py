"""What a run tells, its counts and differentials, and whom: a console, a log, or nobody."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from bloodcell_batch.records import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

_log = logging.getLogger("bloodcell_batch")


class Withheld(StrEnum):
    """Why the percentages of a slide are empty, as written to the column `withheld`."""

    TOO_MANY_UNCLASSIFIED = "too_many_unclassified"
    NO_LEUKOCYTES = "no_leukocytes"


@dataclass(frozen=True, slots=True)
class ClassShare:
    """One leukocyte class of one slide: count, percent of all leukocytes, and 95 % limits in percent.

    The limits allow for every class that the slide's unclassified cells could be. `percent` is None where it is
    withheld, and all three are where there is nothing to count.
    """

    count: int
    percent: float | None
    percent_low: float | None
    percent_high: float | None


@dataclass(frozen=True, slots=True)
class SlideDifferential:
    """The differential count of one slide; `shares` is keyed by leukocyte class, in the order in which laboratories
    report them, `outside_counts` by class outside the percentages and by what a person calls a cell of no class.

    `withheld` is why its percentages and `nrbc_per_100_wbc` are None; `group_counts` are unclassified cells by group;
    `fields` of the images found are fields of view, with so many `red_cells` and `platelets`; `cut_off` are their
    leukocytes at the border, `seen_before` those that an earlier field shows, too; both in no other count.
    """

    slide_id: str
    found: int
    classified: int
    unclassified: int
    duplicates: int
    failed: int
    wbc_counted: int
    shares: dict[str, ClassShare]
    nrbc_count: int
    outside_counts: dict[str, int]
    nrbc_per_100_wbc: float | None
    platelet_images: int
    adequacy: str
    alerts: tuple[str, ...]
    withheld: Withheld | None = None
    fields: int = 0
    cut_off: int = 0
    seen_before: int = 0
    red_cells: int = 0
    platelets: int = 0
    nrbc_per_100_wbc_low: float | None = None
    nrbc_per_100_wbc_high: float | None = None
    group_counts: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class RunCounts:
    """Running totals of one run; `check` is the conservation law."""

    found: int = 0
    ignored: int = 0
    by_status: dict[Status, int] = field(default_factory=lambda: dict.fromkeys(Status, 0))
    further_cells: int = 0

    @property
    def done(self) -> int:
        """Image files that have an outcome by now; `by_status` counts the cells of a field one by one."""
        return sum(self.by_status.values()) - self.further_cells

    @property
    def duplicates(self) -> int:
        """Exact and near duplicates together."""
        return self.by_status[Status.EXACT_DUPLICATE] + self.by_status[Status.NEAR_DUPLICATE]

    def balanced(self) -> bool:
        """True when files found = classified + unclassified + duplicates + failed + ignored, a field counted once."""
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


def file_size(size: int) -> str:
    """`12.3 MB`, `45 kB`: bytes as people say them."""
    return f"{size / 1e6:,.1f} MB" if size > 999_000 else f"{math.ceil(size / 1e3)} kB"


def counted(number: int, noun: str, nouns: str = "") -> str:
    """`1 cell`, `2,000 cells`: a number with what it counts; `nouns` where the plural needs more than an s, or where a
    verb follows, as in "1 file was"."""
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}"
