"""The differential of one slide from its counts, and the alerts that go with it."""

from collections import Counter
from collections.abc import Sequence

from bloodcell_batch.cell_classes import LEUKOCYTES, NRBC, PLATELET
from bloodcell_batch.differential.arithmetic import adequacy, leukocyte_shares, nrbc_per_100_wbc
from bloodcell_batch.records import CrossSlideMatch, SlideDifferential, Status

_MANY_UNCLASSIFIED = 0.1
_SLIDES_NAMED = 5


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
