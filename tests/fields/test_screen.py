"""Whether a picture plainly shows one cell, on drawn ones."""

import numpy as np
import pytest
from drawn_fields import GROUND, Disc, grid_of_red_cells, smear

from bloodcell_batch.fields import screen
from bloodcell_batch.fields.screen import plainly_one_cell

SIDE, RED = 130, 28.0


def plain(*white: Disc, scale: float | None = RED) -> bool:
    return plainly_one_cell(smear(SIDE, SIDE, grid_of_red_cells(SIDE, SIDE, RED, but_not_at=white), white), scale)


def test_one_stained_cell_in_the_middle_is_plain_whatever_lies_around_it() -> None:
    assert plain((65, 65, 50))
    assert plain((58, 70, 40))
    assert plain((65, 65, 44), (118, 118, 24))
    assert plain((65, 65, 50), scale=None)


@pytest.mark.parametrize(
    "white",
    [
        (),
        ((35, 65, 40),),
        ((42, 65, 40), (88, 65, 40)),
        ((47, 65, 36), (83, 65, 36)),
        ((65, 65, 40), (20, 110, 36)),
        ((30, 30, 36), (100, 100, 36)),
    ],
)
def test_everything_else_is_not(white: tuple[Disc, ...]) -> None:
    assert not plain(*white)


def test_a_long_nucleus_is_plain_where_red_cells_tell_that_it_is_none_of_two() -> None:
    lobes: tuple[Disc, ...] = ((55, 65, 20), (75, 65, 20))
    assert plain(*lobes)
    assert not plain(*lobes, scale=None)
    assert not plain(*lobes, scale=12.0)


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 400, 3), (400, 2, 3), (360, 363, 3)])
def test_an_empty_picture_is_not(shape: tuple[int, ...]) -> None:
    assert not plainly_one_cell(np.full(shape, GROUND, dtype=np.uint8), 80.0)
    assert not plainly_one_cell(np.zeros(shape, dtype=np.uint8), None)


def test_the_size_in_pixels_does_not_matter() -> None:
    for factor in (1, 4, 30):
        side = SIDE * factor
        picture = smear(side, side, [], [(side / 2, side / 2, side / 3)])
        assert plainly_one_cell(picture, RED * factor)


def test_the_quick_answer_is_that_of_the_connected_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    pictures = []
    for _ in range(200):
        count = int(rng.integers(1, 4))
        white = [(*rng.normal(SIDE / 2, 14, 2).tolist(), float(rng.uniform(10, 46))) for _ in range(count)]
        pictures.append(smear(SIDE, SIDE, grid_of_red_cells(SIDE, SIDE, RED, but_not_at=white), white))
    quick = [plainly_one_cell(picture, RED) for picture in pictures]
    monkeypatch.setattr(screen, "_COMPACT", 0.0)
    assert quick == [plainly_one_cell(picture, RED) for picture in pictures]
    assert 50 < sum(quick) < 150
