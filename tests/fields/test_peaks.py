"""From maps to boxes."""

import numpy as np
import pytest

from bloodcell_batch.fields import peaks as module
from bloodcell_batch.fields.peaks import near_others, peaks, without_doubles


def only(chances: np.ndarray, sizes: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """The boxes of the one class that there is."""
    (boxes,) = peaks(chances[None], sizes, [threshold], 4, 28)
    return boxes


def maps(side: int = 16) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((side, side), dtype=np.float32), np.zeros((2, side, side), dtype=np.float32)


def test_a_maximum_becomes_a_box_with_the_size_that_the_map_tells_there() -> None:
    chances, sizes = maps()
    chances[5, 9] = 0.8
    sizes[:, 5, 9] = np.log([2.0, 1.5])
    (box,) = only(chances, sizes)
    assert box == pytest.approx([38, 22, 56, 42, 0.8])


def test_a_maximum_between_two_places_is_found_between_them() -> None:
    chances, sizes = maps()
    chances[5, 8:10] = 0.8, 0.79
    (box,) = only(chances, sizes)
    assert 34 < box[0] < 36.1
    assert box[1] == pytest.approx(22)


def test_less_than_the_threshold_is_no_cell_and_slopes_are_none() -> None:
    chances, sizes = maps()
    chances[3, 3], chances[10, 10], chances[10, 11] = 0.49, 0.9, 0.7
    assert len(only(chances, sizes)) == 1


def test_each_class_has_its_own_threshold_and_boxes() -> None:
    chances, sizes = maps()
    chances[3, 3] = 0.6
    found = peaks(np.stack([chances, chances, chances.T * 0]), sizes, (0.7, 0.5, 0.5), 4, 28)
    assert [len(boxes) for boxes in found] == [0, 1, 0]


def test_a_maximum_at_the_edge_of_the_map_counts() -> None:
    chances, sizes = maps()
    chances[0, 0], chances[15, 15] = 0.6, 0.7
    assert only(chances, sizes)[:, :2].tolist() == [[2, 2], [62, 62]]


def test_wild_sizes_stay_finite() -> None:
    chances, sizes = maps()
    chances[3, 3] = 0.9
    sizes[:] = 1000
    assert np.isfinite(only(chances, sizes)).all()


def test_maps_without_a_cell_give_no_boxes() -> None:
    chances, sizes = maps()
    assert only(chances, sizes).shape == (0, 5)
    assert without_doubles(np.empty((0, 5), dtype=np.float32)).shape == (0, 5)


def test_of_two_boxes_of_one_cell_the_surer_stays() -> None:
    found = np.array([(50, 50, 40, 40, 0.6), (53, 50, 40, 40, 0.9), (200, 50, 40, 40, 0.7)], dtype=np.float32)
    assert without_doubles(found)[:, 4] == pytest.approx([0.9, 0.7])


def test_a_lobe_inside_a_cell_is_no_second_cell() -> None:
    found = np.array([(50, 50, 60, 60, 0.9), (60, 50, 20, 24, 0.7)], dtype=np.float32)
    assert len(without_doubles(found)) == 1


def test_cells_side_by_side_both_stay_and_are_known_to_touch() -> None:
    found = np.array([(50, 50, 40, 40, 0.9), (88, 50, 40, 40, 0.8), (200, 50, 40, 40, 0.7)], dtype=np.float32)
    assert len(without_doubles(found)) == 3
    assert near_others(found).tolist() == [True, True, False]
    assert near_others(found[:1]).tolist() == [False]


def test_thousands_of_boxes_are_told_apart() -> None:
    x, y = (ticks.ravel() for ticks in np.meshgrid(np.arange(60) * 30.0, np.arange(60) * 30.0))
    some = np.column_stack([x, y, np.full((len(x), 2), 28.0), np.linspace(0.5, 0.6, len(x))]).astype(np.float32)
    twice = np.concatenate([some, some + np.array([2, 2, 0, 0, 0.2], dtype=np.float32)])
    kept = without_doubles(twice)
    assert len(kept) == len(some)
    assert kept[:, 4].min() >= 0.7
    assert (np.diff(kept[:, 4]) <= 0).all()


def test_a_chain_of_boxes_loses_only_those_that_cover_a_kept_one() -> None:
    chain = np.array([(0, 0, 40, 40, 0.9), (12, 0, 40, 40, 0.8), (24, 0, 40, 40, 0.7)], dtype=np.float32)
    assert without_doubles(chain)[:, 4] == pytest.approx([0.9, 0.7])


@pytest.mark.parametrize("block", [1, 7, 512])
@pytest.mark.parametrize("count", [0, 1, 2, 60])
def test_pairs_are_those_of_comparing_every_two(count: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """On whole pixels, so that some are exactly as far apart as may be."""
    monkeypatch.setattr(module, "_BLOCK", block)
    rng = np.random.default_rng(count)
    found = rng.integers(1, 100, (count, 5)).astype(np.float32)
    found[:, 2:4] = rng.integers(5, 15, (count, 2))
    reach = 1.5
    farthest = reach * found[:, 2:4].max(initial=0)
    expected = [
        (one, other)
        for one in range(count)
        for other in range(one + 1, count)
        if np.abs(found[one, :2] - found[other, :2]).max() <= farthest
    ]
    assert list(zip(*(part.tolist() for part in module._pairs(found, reach)), strict=True)) == expected
