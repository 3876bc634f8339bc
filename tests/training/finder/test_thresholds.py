"""The score from which on a found cell counts."""

from bloodcell_batch.fields.cells import Cell
from bloodcell_batch.training.finder.boxes import LabelledBox
from bloodcell_batch.training.finder.thresholds import best_threshold


def cell(score: float, x: float = 50) -> Cell:
    return Cell(x, 50, 20, 20, score)


BOX = LabelledBox("0", 50, 50, 20, 20)


def test_the_threshold_is_the_lowest_that_leaves_the_false_ones_out() -> None:
    looks = [([cell(0.9), cell(0.42, 200)], [BOX]), ([cell(0.66), cell(0.3, 200)], [BOX])]
    assert best_threshold(looks) == 0.45


def test_a_false_one_that_is_surer_than_the_true_costs_less_than_losing_these() -> None:
    looks = [([cell(0.7, 200), cell(0.5)], [BOX]), ([cell(0.5)], [BOX])]
    threshold = best_threshold(looks)
    assert threshold is not None
    assert threshold <= 0.5


def test_without_labelled_cells_nothing_is_decided() -> None:
    assert best_threshold([([cell(0.9)], [])]) is None
    assert best_threshold([]) is None
