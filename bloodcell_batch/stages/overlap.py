"""Overlap: a cell that two fields of a slide show counts once, in the first of them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from bloodcell_batch.differential.slide import reasons_for_review
from bloodcell_batch.fields.same_cell import POSSIBLY_SAME_CELL, SAME_CELL
from bloodcell_batch.images.hamming import as_words, distances
from bloodcell_batch.records import NOT_COUNTED, SEEN_BEFORE, CellBox, Outcome, Prediction, Reason, Status

_Place = tuple[str, int]
"""The path of a field and the number of a cell in it."""


def once_each(outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
    """Decide of each cell of a field whether an earlier field of its slide shows it, too; the others pass unchanged.

    Outcomes must arrive grouped by slide, and by file in each. Hash and place of each cell of a slide are kept.
    """
    for _, slide in groupby(outcomes, key=lambda outcome: outcome.file.slide_id):
        hashes, places = bytearray(), list[_Place]()
        for path, file in groupby(slide, key=lambda outcome: outcome.file.path):
            words, own = as_words(bytes(hashes)).T, list[CellBox]()
            for outcome in file:
                if isinstance(outcome, Prediction) and outcome.cell is not None and outcome.cell.phash:
                    cell = outcome
                    if outcome.reason not in _DECIDED:
                        cell = _compared(outcome, outcome.cell.phash, words, places)
                    if cell.reason not in NOT_COUNTED:
                        own.append(outcome.cell)
                    yield cell
                else:
                    yield outcome
            for box in own:
                hashes += box.phash
                places.append((path, box.number))


_DECIDED = NOT_COUNTED | SEEN_BEFORE


def _compared(cell: Prediction, phash: bytes, earlier: NDArray[np.uint64], places: Sequence[_Place]) -> Prediction:
    if not places:
        return cell
    found = distances(as_words(phash).T, earlier).ravel()
    nearest = int(found.argmin())
    distance = int(found[nearest])
    if distance > POSSIBLY_SAME_CELL:
        return cell
    reason = Reason.SEEN_BEFORE if distance <= SAME_CELL else Reason.POSSIBLY_SEEN_BEFORE
    return _without_class(cell, reason, places[nearest], distance)


def _without_class(cell: Prediction, reason: Reason, same: _Place, distance: int) -> Prediction:
    return replace(
        cell,
        status=Status.UNCLASSIFIED,
        reason=reason,
        label="",
        group="",
        group_confidence=None,
        review_reasons=reasons_for_review(cell.facts, reason),
        duplicate_of=same[0],
        duplicate_of_cell=same[1],
        duplicate_distance=distance,
    )
