"""Tally: count the outcomes of each slide and make its differential."""

from collections.abc import Iterable, Iterator, Sequence

from bloodcell_batch.cell_classes import ClassList
from bloodcell_batch.differential.arithmetic import MAX_UNCLASSIFIED
from bloodcell_batch.differential.slide import SlideCounts, duplicate_alerts, slide_differential
from bloodcell_batch.progress import RunCounts, SlideDifferential
from bloodcell_batch.records import Outcome, Prediction
from bloodcell_batch.slides.matches import CrossSlideMatch


class SlideTally:
    """Counts a stream of outcomes by slide, and for the whole run, which reports `classes`, in `counts`.

    Where more than `max_unclassified` (0-1) of a slide's possible leukocytes are unclassified, its percentages are
    withheld.
    """

    def __init__(
        self, found: int, ignored: int, classes: ClassList, max_unclassified: float = MAX_UNCLASSIFIED
    ) -> None:
        self.counts = RunCounts(found=found, ignored=ignored)
        self._classes = classes
        self._max_unclassified = max_unclassified
        self._by_slide: dict[str, SlideCounts] = {}

    def __call__(self, outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
        """Count each outcome and pass it on."""
        for outcome in outcomes:
            said = (outcome.label, outcome.group) if isinstance(outcome, Prediction) else ("", "")
            cell = None if outcome.cell is None else outcome.cell.number
            counts = self._by_slide.setdefault(outcome.file.slide_id, SlideCounts())
            beside = (outcome.facts.red_cells or 0, outcome.facts.platelets or 0) if outcome.facts else (0, 0)
            faults = outcome.facts.faults if outcome.facts else ()
            counts.add(outcome.status, *said, outcome.reason, cell, beside, faults)
            self.counts.by_status[outcome.status] += 1
            self.counts.further_cells += cell is not None and cell > 1
            yield outcome

    def differentials(self, matches: Sequence[CrossSlideMatch] = ()) -> tuple[SlideDifferential, ...]:
        """One differential per slide, sorted by slide; `matches` become alerts on both slides."""
        alerts = duplicate_alerts(matches)
        return tuple(
            slide_differential(slide, counts, self._classes, alerts.get(slide, ()), self._max_unclassified)
            for slide, counts in sorted(self._by_slide.items())
        )
