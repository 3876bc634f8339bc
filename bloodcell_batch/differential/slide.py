"""The differential of one slide from its counts, and the alerts that go with it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

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
from bloodcell_batch.progress import ClassShare, SlideDifferential, Withheld, counted
from bloodcell_batch.records import NOT_COUNTED, FieldFault, ImageFacts, Reason, Status
from bloodcell_batch.slides.matches import CrossSlideMatch
from bloodcell_batch.statistics.binomial import clopper_pearson

WITHHELD_ADEQUACY = "withheld"
"""Adequacy of a slide with too many unclassified cells: however many were counted, they support no percentage."""

_SLIDES_NAMED = 5
# Of the packaged model's own validation cells 2.5 % are outliers, of those of three other laboratories 78 to 91 %.
_OUTLIERS, _CELLS_TO_SAY_SO = 0.25, 20


@dataclass(slots=True)
class SlideCounts:
    """What the rows of one slide come to.

    Attributes:
        statuses: of all rows, one for each cell of a field.
        labels: of the cells that have one, also what a person calls a cell of no class.
        groups: of the unclassified cells of which a group is sure. They are in no percentage, and the limits allow for
            every class of theirs all the same: how often a group is right at another laboratory is not known.
        fields: fields of view, which have several rows, or an empty one.
        further_cells: their rows beyond the first of each.
        cut_off: cells at the border of a field, which are in no other count of cells.
        seen_before: cells that an earlier field shows, too, in no other count either.
        empty: fields without a cell, which are in no count of cells.
        several_cells: pictures of several cells in a slide of single ones.
        outliers: cells that look unlike everything the model was trained on, whatever a person called them since.
        red_cells, platelets: what was found in the fields besides.
        faults: of fields, how many have each.
    """

    statuses: Counter[Status] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    groups: Counter[str] = field(default_factory=Counter)
    fields: int = 0
    further_cells: int = 0
    cut_off: int = 0
    seen_before: int = 0
    empty: int = 0
    several_cells: int = 0
    outliers: int = 0
    red_cells: int = 0
    platelets: int = 0
    faults: Counter[FieldFault] = field(default_factory=Counter)

    def add(
        self,
        status: Status,
        label: str = "",
        group: str = "",
        reason: str | None = None,
        cell: int | None = None,
        beside: tuple[int, int] = (0, 0),
        faults: Sequence[FieldFault] = (),
    ) -> None:
        """Count a row: its status, its label if it has one, else its group, its reason, the number of the cell in its
        field, and the red cells, platelets and faults of that field.

        What is in no count of cells stays so, whatever a person called it: half a cell, or one that was counted before.
        """
        if reason in NOT_COUNTED:
            status, label, group = Status.UNCLASSIFIED, "", ""
        self.statuses[status] += 1
        self.outliers += reason == Reason.OUTLIER
        self.several_cells += reason == Reason.SEVERAL_CELLS and not label
        if label:
            self.labels[label] += 1
        elif group and status is Status.UNCLASSIFIED:
            self.groups[group] += 1
        if cell is not None:
            self.fields += cell <= 1
            self.further_cells += cell > 1
            self.empty += cell == 0
            self.cut_off += reason == Reason.CUT_OFF
            self.seen_before += reason == Reason.SEEN_BEFORE
        if cell is not None and cell <= 1:
            self.red_cells += beside[0]
            self.platelets += beside[1]
            self.faults.update(faults)

    @property
    def unclassified(self) -> int:
        """Cells that lie whole in their image, are counted for the first time, and have no class."""
        return self.statuses[Status.UNCLASSIFIED] - self.cut_off - self.seen_before - self.empty

    @property
    def looks_unlike_training(self) -> bool:
        """Whether so many cells are outliers that chance explains it on no slide like the training images, of which
        one in forty is one: the lower 95 % limit of their share is above a quarter."""
        cells = self.statuses[Status.CLASSIFIED] + self.unclassified
        return cells >= _CELLS_TO_SAY_SO and clopper_pearson(self.outliers, cells)[0] > _OUTLIERS


def faults_in(review_reason: str | None) -> tuple[FieldFault, ...]:
    """What the column `review_reason` says of the field."""
    said = review_reason.split("; ") if review_reason else ()
    return tuple(fault for fault in FieldFault if fault in said)


def reasons_for_review(facts: ImageFacts, reason: Reason | None) -> tuple[str, ...]:
    """Why a person should look at a cell that is classified (None) or not: it has no class, or its field is unfit."""
    if reason is None:
        return facts.faults
    return (reason.value, *facts.faults) if reason.asks_for_review else ()


def slide_differential(
    slide: str,
    counts: SlideCounts,
    classes: ClassList,
    alerts: Sequence[str] = (),
    max_unclassified: float = MAX_UNCLASSIFIED,
) -> SlideDifferential:
    """The differential of one slide from what its rows come to, in a run that reports `classes`.

    Where more than `max_unclassified` (0-1) of the cells that could be leukocytes are unclassified, percentages are
    withheld and the first alert says what to do; `alerts` follow.
    """
    statuses, labels = counts.statuses, counts.labels
    wbc = sum(labels[name] for name in classes.leukocytes)
    unclassified = counts.unclassified
    shares = leukocyte_shares(labels, classes.leukocytes, unclassified)
    nrbc_count = sum(labels[name] for name in classes.nrbc)
    nrbc = nrbc_per_100_wbc(nrbc_count, wbc, unclassified) if classes.nrbc else Rate(None, None, None)
    withheld, shown = _withheld(counts, wbc, max_unclassified), list(alerts)
    if counts.looks_unlike_training:
        shown.insert(0, _look_at_the_stain(counts))
    if withheld is Withheld.TOO_MANY_UNCLASSIFIED:
        shown.insert(0, _what_to_do(counts, wbc, max_unclassified))
    if counts.seen_before:
        shown.append(_overlapping(counts.seen_before))
    shown += [_unfit(fault, counts.faults[fault], counts.fields) for fault in FieldFault if counts.faults[fault]]
    if wbc == 0:
        shown.append("no_leukocytes: nothing to count")
    return SlideDifferential(
        slide_id=slide,
        found=statuses.total() - counts.further_cells,
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
        fields=counts.fields,
        cut_off=counts.cut_off,
        seen_before=counts.seen_before,
        red_cells=counts.red_cells,
        platelets=counts.platelets,
        nrbc_per_100_wbc_low=nrbc.low,
        nrbc_per_100_wbc_high=nrbc.high,
        group_counts={group.name: counts.groups[group.name] for group in classes.groups},
    )


def _withheld(counts: SlideCounts, wbc: int, max_unclassified: float) -> Withheld | None:
    if too_many_unclassified(wbc, counts.unclassified, max_unclassified):
        return Withheld.TOO_MANY_UNCLASSIFIED
    return None if wbc else Withheld.NO_LEUKOCYTES


def _what_to_do(counts: SlideCounts, wbc: int, max_unclassified: float) -> str:
    unclassified = counts.unclassified
    if 2 * counts.several_cells > unclassified:
        pictures = f"{counts.several_cells:,} of {counted(unclassified, 'picture')} without a class"
        return f"too_many_unclassified: if these are fields of view, say --images fields: {pictures} show several cells"
    enough = cells_to_review(wbc, unclassified, max_unclassified)
    possible = counted(wbc + unclassified, "cell that could be a leukocyte", "cells that could be leukocytes")
    cells = f"{unclassified:,} of {possible} {'has' if unclassified == 1 else 'have'} no class"
    return f"too_many_unclassified: review {counted(enough, 'unclassified cell')}, or adapt the model: {cells}"


def _look_at_the_stain(counts: SlideCounts) -> str:
    cells = counted(counts.statuses[Status.CLASSIFIED] + counts.unclassified, "cell")
    what = "check the stain, the focus, the camera and the scale, or adapt the model"
    return f"unlike_training: {what}: {counts.outliers:,} of {cells} look like nothing that it was trained on"


def _overlapping(cells: int) -> str:
    told = counted(
        cells, "cell is in an earlier field, too, and counts", "cells are in an earlier field, too, and count"
    )
    return f"overlapping_fields: {told} once; about one in ten of such cells is not recognised and counts twice"


def _unfit(fault: FieldFault, unfit: int, fields: int) -> str:
    what = f"{unfit:,} of {counted(fields, 'field')} {'is' if unfit == 1 else 'are'} {fault.replace('_', ' ')}"
    return f"{fault}: look at their cells, or take other fields: {what}"


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
