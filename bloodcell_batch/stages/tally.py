"""Tally: count the outcomes of each slide and make its differential."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from bloodcell_batch.cell_classes import LEUKOCYTES, NRBC, PLATELET
from bloodcell_batch.differential.arithmetic import adequacy, leukocyte_shares, nrbc_per_100_wbc
from bloodcell_batch.records import (
    CrossSlideMatch,
    Outcome,
    Prediction,
    RunCounts,
    SlideDifferential,
    Status,
)

_MANY_UNCLASSIFIED = 0.1
_SLIDES_NAMED = 5


class SlideTally:
    """Counts a stream of outcomes by slide, and for the whole run in `counts`."""

    def __init__(self, found: int, ignored: int) -> None:
        self.counts = RunCounts(found=found, ignored=ignored)
        self._by_slide: dict[str, tuple[Counter[Status], Counter[str]]] = {}

    def __call__(self, outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
        """Count each outcome and pass it on."""
        for outcome in outcomes:
            statuses, labels = self._by_slide.setdefault(outcome.file.slide_id, (Counter(), Counter()))
            statuses[outcome.status] += 1
            if isinstance(outcome, Prediction) and outcome.label:
                labels[outcome.label] += 1
            self.counts.by_status[outcome.status] += 1
            yield outcome

    def differentials(self, matches: Sequence[CrossSlideMatch] = ()) -> tuple[SlideDifferential, ...]:
        """One differential per slide, sorted by slide; `matches` become alerts on both slides."""
        alerts = duplicate_alerts(matches)
        return tuple(
            slide_differential(slide, statuses, labels, alerts.get(slide, ()))
            for slide, (statuses, labels) in sorted(self._by_slide.items())
        )


def slide_differential(
    slide: str, statuses: Counter[Status], labels: Counter[str], alerts: Sequence[str] = ()
) -> SlideDifferential:
    """The differential of one slide from its counts of statuses and labels; `alerts` come before our own."""
    wbc = sum(labels[name] for name in LEUKOCYTES)
    cells = statuses[Status.CLASSIFIED] + statuses[Status.UNCLASSIFIED]
    shown = list(alerts)
    if cells and statuses[Status.UNCLASSIFIED] > _MANY_UNCLASSIFIED * cells:
        share = statuses[Status.UNCLASSIFIED] / cells
        shown.append(f"many_unclassified: {share:.0%} of {cells} cells are outside the differential")
    if wbc == 0:
        shown.append("no_leukocytes: nothing to count")
    return SlideDifferential(
        slide_id=slide,
        found=statuses.total(),
        classified=statuses[Status.CLASSIFIED],
        unclassified=statuses[Status.UNCLASSIFIED],
        duplicates=statuses[Status.EXACT_DUPLICATE] + statuses[Status.NEAR_DUPLICATE],
        failed=statuses[Status.FAILED],
        wbc_counted=wbc,
        shares=leukocyte_shares(labels),
        erythroblast_count=labels[NRBC],
        nrbc_per_100_wbc=nrbc_per_100_wbc(labels[NRBC], wbc),
        platelet_images=labels[PLATELET],
        adequacy=adequacy(wbc),
        alerts=tuple(shown),
    )


def duplicate_alerts(matches: Sequence[CrossSlideMatch]) -> dict[str, list[str]]:
    """Per slide, one line that says how many of its pictures are in which other slides too."""
    partners: dict[str, list[tuple[str, str, str]]] = {}
    for match in matches:
        partners.setdefault(match.slide_id, []).append((match.other_slide_id, match.path, match.other_path))
        partners.setdefault(match.other_slide_id, []).append((match.slide_id, match.other_path, match.path))
    alerts: dict[str, list[str]] = {}
    for slide, found in sorted(partners.items()):
        found.sort()
        others = sorted({other for other, _, _ in found})
        pictures = len({here for _, here, _ in found})
        named = ", ".join(others[:_SLIDES_NAMED]) + (" and others" if len(others) > _SLIDES_NAMED else "")
        _, here, there = found[0]
        noun, verb = ("picture", "is") if pictures == 1 else ("pictures", "are")
        alerts[slide] = [f"cross_slide_duplicate: {pictures} {noun} {verb} also in {named} (first: {here} = {there})"]
    return alerts
