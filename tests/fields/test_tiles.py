"""Fields as tiles."""

import numpy as np
import pytest

from bloodcell_batch.fields.tiles import OVERLAP, background_colour, cut_up, starts


@pytest.mark.parametrize("length", [1, 255, 256, 257, 448, 449, 1000, 4096])
def test_tiles_cover_an_axis_and_overlap_enough(length: int) -> None:
    begins = starts(length, 256)
    assert begins[0] == 0
    assert begins[-1] == max(0, length - 256)
    assert (np.diff(begins) <= 256 - 256 // OVERLAP).all()


def test_every_place_belongs_to_a_tile_and_few_to_several() -> None:
    tiles = cut_up(np.zeros((700, 900, 3), dtype=np.uint8), 1.0, 256)
    owners = np.zeros((tiles.height, tiles.width), dtype=int)
    rows, columns = np.mgrid[:256, :256]
    everywhere = np.column_stack([columns.ravel(), rows.ravel(), *np.ones((3, 256 * 256))]).astype(np.float32)
    for index in range(len(tiles.pixels)):
        mine = tiles.owned(index, everywhere).astype(int)
        np.add.at(owners, (mine[:, 1], mine[:, 0]), 1)
    assert owners.min() == 1
    assert (owners > 1).mean() < 0.2


def test_a_field_is_made_a_little_smaller_where_that_saves_tiles() -> None:
    field = np.zeros((480, 640, 3), dtype=np.uint8)
    tiles = cut_up(field, 0.6, 256)  # 288 x 384 would be 4 tiles
    assert (tiles.height, tiles.width, len(tiles.pixels)) == (256, 342, 2)
    assert tiles.factor == pytest.approx(256 / 480, rel=0.01)
    exact = cut_up(field, 0.5, 256)
    assert (exact.height, exact.width, exact.factor) == (240, 320, 0.5)
    for factor in np.linspace(0.05, 3, 60):
        some = cut_up(field, factor, 256)
        assert 0.82 * factor <= some.factor <= factor
        assert (some.height, some.width) == (round(480 * some.factor), round(640 * some.factor))


def test_a_small_field_gets_a_border_of_its_own_ground() -> None:
    field = np.full((60, 100, 3), (200, 190, 180), dtype=np.uint8)
    tiles = cut_up(field, 0.5, 256)
    assert tiles.pixels.shape == (1, 256, 256, 3)
    assert (tiles.pixels == (200, 190, 180)).all()
    assert (tiles.width, tiles.height) == (50, 30)


def test_what_is_found_in_that_border_is_left_out() -> None:
    tiles = cut_up(np.zeros((60, 100, 3), dtype=np.uint8), 1.0, 256)
    found = np.array([(99, 59, 9, 9, 0.9), (101, 20, 9, 9, 0.9), (20, 61, 9, 9, 0.9)], dtype=np.float32)
    assert tiles.owned(0, found)[:, 0].tolist() == [99]


def test_tiles_show_what_the_field_shows() -> None:
    field = np.random.default_rng(0).integers(0, 256, (400, 320, 3), dtype=np.uint8)
    tiles = cut_up(field, 1.0, 256)
    for index, tile in enumerate(tiles.pixels):
        left, top = tiles.corners[index]
        assert (tile == field[top : top + 256, left : left + 256]).all()


def test_the_background_is_the_smear_between_the_cells() -> None:
    field = np.full((50, 50, 3), (230, 220, 210), dtype=np.uint8)
    field[:20] = (120, 60, 130)
    assert background_colour(field).tolist() == [230, 220, 210]
