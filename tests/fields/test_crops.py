"""Cells cut out of fields."""

import numpy as np

from bloodcell_batch.fields.cells import Cell
from bloodcell_batch.fields.crops import CROP_RED_CELLS, crop


def field() -> np.ndarray:
    return np.random.default_rng(1).integers(100, 200, (200, 300, 3), dtype=np.uint8)


def test_the_cell_is_in_the_middle_at_the_scale_of_the_classifier() -> None:
    picture = field()
    picture[100, 150] = (255, 0, 0)
    cut = crop(picture, Cell(150.5, 100.5, 40, 40, 0.9), red_cell_pixels=20)
    assert cut.shape == (round(CROP_RED_CELLS * 20),) * 2 + (3,)
    middle = len(cut) // 2
    assert cut[middle - 1 : middle + 1, middle - 1 : middle + 1].max() == 255
    assert (cut == picture[55:145, 105:195]).all() or (cut == picture[56:146, 106:196]).all()


def test_outside_the_field_is_background_and_nothing_is_mirrored() -> None:
    picture = field()
    cut = crop(picture, Cell(0, 0, 40, 40, 0.9), 20, background=np.array([9, 8, 7], dtype=np.uint8))
    assert (cut[:45] == (9, 8, 7)).all()
    assert (cut[:, :45] == (9, 8, 7)).all()
    assert (cut[45:, 45:] == picture[:45, :45]).all()


def test_the_background_is_measured_if_nobody_gives_it() -> None:
    picture = np.full((200, 300, 3), (230, 220, 210), dtype=np.uint8)
    assert (crop(picture, Cell(299, 199, 10, 10, 0.9), 20) == (230, 220, 210)).all()


def test_a_crop_is_a_copy() -> None:
    picture = field()
    crop(picture, Cell(150, 100, 10, 10, 0.9), 20)[:] = 0
    assert picture.min() >= 100


def test_a_field_smaller_than_the_crop_lies_in_it() -> None:
    picture = field()[:30, :30]
    cut = crop(picture, Cell(15, 15, 10, 10, 0.9), 20, background=np.zeros(3, dtype=np.uint8))
    assert cut.shape == (90, 90, 3)
    assert (cut[30:60, 30:60] == picture).all()
