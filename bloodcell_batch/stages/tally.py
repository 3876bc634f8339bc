"""Tally: count the outcomes of each slide and make its differential."""

from collections.abc import Iterable, Iterator, Sequence

from bloodcell_batch.cell_classes import ClassList
from bloodcell_batch.differential.slide import SlideCounts, Withholding, duplicate_alerts, slide_differential
from bloodcell_batch.progress import RunCounts, SlideDifferential
from bloodcell_batch.records import CrossSlideMatch, Outcome, Prediction


class SlideTally:
    """Counts a stream of outcomes by slide, and for the whole run, which reports `classes`, in `counts`.

    `withholding` says when percentages are withheld.
    """

    def __init__(
        self,
        found: int,
        ignored: int,
        classes: ClassList,
        withholding: Withholding = Withholding(),  # noqa: B008 - frozen
    ) -> None:
        self.counts = RunCounts(found=found, ignored=ignored)
        self._classes = classes
        self._withholding = withholding
        self._by_slide: dict[str, SlideCounts] = {}

    def __call__(self, outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
        """Count each outcome and pass it on."""
        for outcome in outcomes:
            said = (outcome.label, outcome.group) if isinstance(outcome, Prediction) else ("", "")
            cell = None if outcome.cell is None else outcome.cell.number
            counts = self._by_slide.setdefault(outcome.file.slide_id, SlideCounts())
            size = (outcome.facts.width, outcome.facts.height) if outcome.facts else ()
            counts.add(outcome.status, *said, *size, reason=outcome.reason, cell=cell)
            self.counts.by_status[outcome.status] += 1
            self.counts.further_cells += cell is not None and cell > 1
            yield outcome

    def differentials(self, matches: Sequence[CrossSlideMatch] = ()) -> tuple[SlideDifferential, ...]:
        """One differential per slide, sorted by slide; `matches` become alerts on both slides."""
        alerts = duplicate_alerts(matches)
        return tuple(
            slide_differential(slide, counts, self._classes, alerts.get(slide, ()), self._withholding)
            for slide, counts in sorted(self._by_slide.items())
        )
