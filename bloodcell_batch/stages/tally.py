"""Tally: count the outcomes of each slide and make its differential."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from bloodcell_batch.cell_classes import ClassList
from bloodcell_batch.differential.arithmetic import MAX_UNCLASSIFIED
from bloodcell_batch.differential.slide import duplicate_alerts, slide_differential
from bloodcell_batch.records import (
    CrossSlideMatch,
    Outcome,
    Prediction,
    RunCounts,
    SlideDifferential,
    Status,
)


class SlideTally:
    """Counts a stream of outcomes by slide, and for the whole run, which reports `classes`, in `counts`.

    `max_unclassified` is the share (0-1) beyond which percentages are withheld.
    """

    def __init__(
        self, found: int, ignored: int, classes: ClassList, max_unclassified: float = MAX_UNCLASSIFIED
    ) -> None:
        self.counts = RunCounts(found=found, ignored=ignored)
        self._classes = classes
        self._max_unclassified = max_unclassified
        self._by_slide: dict[str, tuple[Counter[Status], Counter[str], Counter[str]]] = {}

    def __call__(self, outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
        """Count each outcome and pass it on."""
        for outcome in outcomes:
            nothing: tuple[Counter[Status], Counter[str], Counter[str]] = (Counter(), Counter(), Counter())
            statuses, labels, groups = self._by_slide.setdefault(outcome.file.slide_id, nothing)
            statuses[outcome.status] += 1
            if isinstance(outcome, Prediction) and outcome.label:
                labels[outcome.label] += 1
            elif isinstance(outcome, Prediction) and outcome.group:
                groups[outcome.group] += 1
            self.counts.by_status[outcome.status] += 1
            yield outcome

    def differentials(self, matches: Sequence[CrossSlideMatch] = ()) -> tuple[SlideDifferential, ...]:
        """One differential per slide, sorted by slide; `matches` become alerts on both slides."""
        alerts = duplicate_alerts(matches)
        return tuple(
            slide_differential(
                slide, statuses, labels, self._classes, alerts.get(slide, ()), self._max_unclassified, groups
            )
            for slide, (statuses, labels, groups) in sorted(self._by_slide.items())
        )
