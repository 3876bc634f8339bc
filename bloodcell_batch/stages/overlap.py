"""Overlap: a cell that two fields of a slide show counts once, in the first of them."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from bloodcell_batch.differential.slide import reasons_for_review
from bloodcell_batch.fields.same_cell import POSSIBLY_SAME_CELL, SAME_CELL
from bloodcell_batch.images.hamming import as_words, distances
from bloodcell_batch.records import NOT_COUNTED, Outcome, Prediction, Reason, Status


def once_each(outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
    """Decide of each cell of a field whether an earlier field of its slide shows it, too; the others pass unchanged.

    Outcomes must arrive grouped by slide, and by file in each. 32 bytes a cell of the slide are kept.
    """
    for _, slide in groupby(outcomes, key=lambda outcome: outcome.file.slide_id):
        earlier = bytearray()
        for _, file in groupby(slide, key=lambda outcome: outcome.file.path):
            words, own = as_words(bytes(earlier)).T, bytearray()
            for outcome in file:
                if isinstance(outcome, Prediction) and outcome.cell is not None and outcome.cell.phash:
                    cell = outcome if outcome.reason in _DECIDED else _compared(outcome, outcome.cell.phash, words)
                    if cell.reason not in NOT_COUNTED:
                        own += outcome.cell.phash
                    yield cell
                else:
                    yield outcome
            earlier += own


_DECIDED = NOT_COUNTED | {Reason.POSSIBLY_SEEN_BEFORE}


def _compared(cell: Prediction, phash: bytes, earlier: NDArray[np.uint64]) -> Prediction:
    if not earlier.size:
        return cell
    nearest = int(distances(as_words(phash).T, earlier).min())
    if nearest <= SAME_CELL:
        return _without_class(cell, Reason.SEEN_BEFORE)
    return _without_class(cell, Reason.POSSIBLY_SEEN_BEFORE) if nearest <= POSSIBLY_SAME_CELL else cell


def _without_class(cell: Prediction, reason: Reason) -> Prediction:
    return replace(
        cell,
        status=Status.UNCLASSIFIED,
        reason=reason,
        label="",
        group="",
        group_confidence=None,
        review_reasons=reasons_for_review(cell.facts, reason),
    )
