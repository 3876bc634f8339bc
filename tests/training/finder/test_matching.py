"""Found cells against labelled ones."""

import pytest

from bloodcell_batch.fields.cells import Cell
from bloodcell_batch.training.finder.boxes import LabelledBox
from bloodcell_batch.training.finder.matching import Matches, match_by_box, match_by_centre

TRUE = [LabelledBox("WBC", 50, 50, 40, 40), LabelledBox("WBC", 90, 50, 40, 40)]


def test_each_labelled_cell_counts_once() -> None:
    twice = [Cell(50, 50, 40, 40, 0.9), Cell(55, 50, 40, 40, 0.8)]
    assert match_by_centre(twice, TRUE) == Matches(2, 2, 1)
    assert match_by_box(twice, TRUE) == Matches(2, 2, 1)


def test_the_centre_may_be_right_where_the_box_is_not() -> None:
    small = [Cell(50, 50, 15, 15, 0.9)]
    assert match_by_centre(small, TRUE).both == 1
    assert match_by_box(small, TRUE).both == 0


def test_nothing_found_and_nothing_labelled() -> None:
    assert match_by_centre([], TRUE) == Matches(2, 0, 0)
    assert match_by_box([Cell(50, 50, 9, 9, 0.9)], []) == Matches(0, 1, 0)
    assert Matches().as_dict()["f1"] is None
    assert Matches().as_dict()["recall"] is None


def test_shares_come_with_exact_limits() -> None:
    figures = (Matches(75, 76, 74) + Matches()).as_dict()
    assert figures["recall"] == pytest.approx([74 / 75, 0.9279, 0.9997], abs=1e-3)
    assert figures["false"] == 2
    assert figures["missed"] == 1
