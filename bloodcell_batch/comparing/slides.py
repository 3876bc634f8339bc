"""Slides whose differential changed by more than chance, by a paired test of each class.

Both results judge the same cells, so that the sampling of cells is the same in both and its error doesn't count. What
is left to chance is the direction: of the cells that only one of the two puts into a class, about half should be A's.
McNemar's exact test says how likely so unequal a number is; Holm's step-down correction allows for the number of tests.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bloodcell_batch.cell_classes import ClassList
from bloodcell_batch.comparing.changes import Change, Changes
from bloodcell_batch.comparing.pairs import Pairs, Side, codes
from bloodcell_batch.differential.slide import SlideCounts, slide_differential
from bloodcell_batch.progress import SlideDifferential
from bloodcell_batch.records import Reason, Status
from bloodcell_batch.statistics.mcnemar import mcnemar_exact_each
from bloodcell_batch.statistics.multiplicity import holm

SIGNIFICANT = 0.05
"""Probability, after the correction, of finding any change where there is none."""


@dataclass(frozen=True, slots=True)
class ClassTest:
    """One class: cells that only A, only B put into it, and the corrected p value of McNemar's exact test."""

    name: str
    only_one: int
    only_other: int
    p: float

    @property
    def beyond(self) -> bool:
        """Whether that is more than chance."""
        return self.p < SIGNIFICANT


@dataclass(frozen=True, slots=True)
class SlideChange:
    """One slide: cells in both results, how many changed in which way, its two differentials, and its tests."""

    slide_id: str
    paired: int
    changed: dict[Change, int]
    one: SlideDifferential | None
    other: SlideDifferential | None
    tests: tuple[ClassTest, ...]

    @property
    def beyond(self) -> tuple[ClassTest, ...]:
        """The classes that changed by more than chance."""
        return tuple(test for test in self.tests if test.beyond)


@dataclass(frozen=True, slots=True)
class SlideChanges:
    """All slides, the classes over all of them, and how many tests the slides' p values are corrected for."""

    slides: tuple[SlideChange, ...]
    classes: tuple[ClassTest, ...]
    tests: int


def slide_changes(one: Side, other: Side, pairs: Pairs, changes: Changes) -> SlideChanges:
    """Compare the slides; only those in both results are tested."""
    names = _tested(one.record.model.class_list, other.record.model.class_list)
    ids = sorted(pc.unique(pairs.one["slide_id"]).to_pylist())
    slides = codes(pairs.one["slide_id"], ids)
    only_one, only_other = _one_sided(pairs, slides, len(ids), names)
    p = mcnemar_exact_each(only_one, only_other)
    # A class on which both agree in every cell of a slide could not have been found changed: it is no test.
    tested = only_one + only_other > 0
    corrected = np.ones_like(p)
    corrected[tested] = holm(p[tested])
    kinds = {
        change: np.bincount(slides[codes(changes.kind, [change.value]) == 0], minlength=len(ids)) for change in Change
    }
    paired = np.bincount(slides, minlength=len(ids))
    left, right = differentials(one), differentials(other)
    places = {slide: place for place, slide in enumerate(ids)}
    found = tuple(
        SlideChange(
            slide_id=slide,
            paired=int(paired[places[slide]]) if slide in places else 0,
            changed={change: int(kinds[change][places[slide]]) if slide in places else 0 for change in Change},
            one=left.get(slide),
            other=right.get(slide),
            tests=_tests(names, only_one, only_other, corrected, places[slide]) if slide in places else (),
        )
        for slide in sorted({*left, *right})
    )
    pooled = only_one.sum(axis=0, keepdims=True), only_other.sum(axis=0, keepdims=True)
    of_all = holm(mcnemar_exact_each(*pooled)[0])[np.newaxis]
    return SlideChanges(found, _tests(names, *pooled, of_all, 0), int(tested.sum()))


def differentials(side: Side) -> dict[str, SlideDifferential]:
    """The differential of every slide, counted from the rows without a Python loop over them."""
    rows, record = side.rows, side.record
    ids = sorted(pc.unique(rows["slide_id"]).to_pylist())
    slides = codes(rows["slide_id"], ids)
    counts = {slide: SlideCounts() for slide in ids}
    for entry in rows.group_by(["slide_id", "status", "label"]).aggregate([([], "count_all")]).to_pylist():
        of_slide, number = counts[entry["slide_id"]], entry["count_all"]
        of_slide.statuses[Status(entry["status"])] += number
        if entry["label"]:
            of_slide.labels += Counter({entry["label"]: number})
    for name, mask in _marks(rows).items():
        for place, number in enumerate(np.bincount(slides[mask], minlength=len(ids)).tolist()):
            setattr(counts[ids[place]], name, number)
    classes = record.model.class_list
    return {slide: slide_differential(slide, counts[slide], classes, (), record.max_unclassified) for slide in ids}


def _marks(rows: pa.Table) -> dict[str, NDArray[np.bool_]]:
    """Which rows each of the other counts of a slide is of."""
    cell = pc.fill_null(rows["cell"], -1).to_numpy()
    unclassified = codes(rows["status"], [Status.UNCLASSIFIED.value]) == 0
    reasons = codes(rows["reason"], [Reason.CUT_OFF.value, Reason.SEEN_BEFORE.value])
    return {
        "fields": (cell == 0) | (cell == 1),
        "further_cells": cell > 1,
        "empty": cell == 0,
        "cut_off": (cell >= 0) & (reasons == 0) & unclassified,
        "seen_before": (cell >= 0) & (reasons == 1) & unclassified,
    }


def _tested(one: ClassList, other: ClassList) -> list[str]:
    """Leukocytes and nucleated red cells of both."""
    return list(dict.fromkeys((*one.leukocytes, *other.leukocytes, *one.nrbc, *other.nrbc)))


def _one_sided(
    pairs: Pairs, slides: NDArray[np.int32], number: int, names: list[str]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cells that only the one and only the other result puts into each class, int64 of shape (slides, classes)."""
    left, right = codes(pairs.one["label"], names), codes(pairs.other["label"], names)
    only_one = np.zeros((number, len(names)), dtype=np.int64)
    only_other = np.zeros_like(only_one)
    moved = left != right
    for labels, found in ((left, only_one), (right, only_other)):
        here = moved & (labels >= 0)
        np.add.at(found, (slides[here], labels[here]), 1)
    return only_one, only_other


def _tests(
    names: list[str], one: NDArray[np.int64], other: NDArray[np.int64], p: NDArray[np.float64], place: int
) -> tuple[ClassTest, ...]:
    lines = zip(names, one[place].tolist(), other[place].tolist(), p[place].tolist(), strict=True)
    return tuple(ClassTest(*line) for line in lines)
