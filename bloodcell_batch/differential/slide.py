"""The differential of one slide from its counts, and the alerts that go with it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from bloodcell_batch.cell_classes import OTHER_LABELS, ClassList
from bloodcell_batch.differential.arithmetic import (
    MAX_UNCLASSIFIED,
    Rate,
    adequacy,
    cells_to_review,
    leukocyte_shares,
    nrbc_per_100_wbc,
    too_many_unclassified,
)
from bloodcell_batch.records import ClassShare, CrossSlideMatch, SlideDifferential, Status, Withheld
from bloodcell_batch.wording import counted

WITHHELD_ADEQUACY = "withheld"
"""Adequacy of a slide with too many unclassified cells: however many were counted, they support no percentage."""

_SLIDES_NAMED = 5


def slide_differential(
    slide: str,
    statuses: Counter[Status],
    labels: Counter[str],
    classes: ClassList,
    alerts: Sequence[str] = (),
    max_unclassified: float = MAX_UNCLASSIFIED,
    groups: Mapping[str, int] = MappingProxyType({}),
) -> SlideDifferential:
    """The differential of one slide from its counts of statuses and labels, in a run that reports `classes`; labels
    may also be what a person calls a cell of none of them.

    Where more than `max_unclassified` (0-1) of the cells that could be leukocytes are unclassified, percentages are
    withheld and the first alert says what to do; `alerts` follow. `groups` counts the unclassified cells of which a
    group is sure; they are in no percentage, and the limits allow for every class of theirs all the same: how often a
    group is right at another laboratory is not known.
    """
    wbc, unclassified = sum(labels[name] for name in classes.leukocytes), statuses[Status.UNCLASSIFIED]
    shares = leukocyte_shares(labels, classes.leukocytes, unclassified)
    nrbc_count = sum(labels[name] for name in classes.nrbc)
    nrbc = nrbc_per_100_wbc(nrbc_count, wbc, unclassified) if classes.nrbc else Rate(None, None, None)
    withheld, shown = _withheld(wbc, unclassified, max_unclassified), list(alerts)
    if withheld is Withheld.TOO_MANY_UNCLASSIFIED:
        shown.insert(0, _what_to_do(wbc, unclassified, max_unclassified))
    if wbc == 0:
        shown.append("no_leukocytes: nothing to count")
    return SlideDifferential(
        slide_id=slide,
        found=statuses.total(),
        classified=statuses[Status.CLASSIFIED],
        unclassified=unclassified,
        duplicates=statuses[Status.EXACT_DUPLICATE] + statuses[Status.NEAR_DUPLICATE],
        failed=statuses[Status.FAILED],
        wbc_counted=wbc,
        shares={name: _without_percent(share) for name, share in shares.items()} if withheld else shares,
        nrbc_count=nrbc_count,
        outside_counts={
            name: labels[name] for name in (*classes.nrbc, *classes.platelets, *classes.outside, *OTHER_LABELS)
        },
        nrbc_per_100_wbc=None if withheld else nrbc.value,
        platelet_images=sum(labels[name] for name in classes.platelets),
        adequacy=WITHHELD_ADEQUACY if withheld is Withheld.TOO_MANY_UNCLASSIFIED else adequacy(wbc),
        alerts=tuple(shown),
        withheld=withheld,
        nrbc_per_100_wbc_low=nrbc.low,
        nrbc_per_100_wbc_high=nrbc.high,
        group_counts={group.name: groups.get(group.name, 0) for group in classes.groups},
    )


def _withheld(wbc: int, unclassified: int, max_unclassified: float) -> Withheld | None:
    if too_many_unclassified(wbc, unclassified, max_unclassified):
        return Withheld.TOO_MANY_UNCLASSIFIED
    return None if wbc else Withheld.NO_LEUKOCYTES


def _what_to_do(wbc: int, unclassified: int, max_unclassified: float) -> str:
    enough = cells_to_review(wbc, unclassified, max_unclassified)
    possible = counted(wbc + unclassified, "cell that could be a leukocyte", "cells that could be leukocytes")
    cells = f"{unclassified:,} of {possible} {'has' if unclassified == 1 else 'have'} no class"
    return f"too_many_unclassified: review {counted(enough, 'unclassified cell')}, or adapt the model: {cells}"


def _without_percent(share: ClassShare) -> ClassShare:
    return replace(share, percent=None)


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
        told = counted(pictures, "picture is", "pictures are")
        alerts[slide] = [f"cross_slide_duplicate: {told} also in {named} (first: {here} = {there})"]
    return alerts
