"""The red cells' diameter."""

import numpy as np
import pytest

from bloodcell_batch.fields.cells import Cell, FieldCells, ImageKind
from bloodcell_batch.fields.scale import pooled_red_cell_pixels, red_cell_diameter, slide_scale


def boxes(*rows: tuple[float, float, float, float]) -> np.ndarray:
    return np.array([(*row, 0.9) for row in rows], dtype=np.float32).reshape(-1, 5)


def test_the_median_of_whole_cells_is_the_diameter() -> None:
    whole = boxes((50, 50, 30, 30), (100, 50, 32, 32), (150, 50, 28, 34), (50, 120, 90, 20))
    assert red_cell_diameter(whole, 300, 300) == pytest.approx(30.85, abs=0.02)


def test_cells_at_the_border_are_measured_along_it_where_whole_ones_are_too_few() -> None:
    seen, less, corner = (10, 50, 20, 32), (5, 90, 10, 28), (290, 290, 20, 20)
    some = boxes((50, 50, 30, 30), (100, 50, 30, 30), less, corner)
    assert red_cell_diameter(some, 300, 300) is None
    assert red_cell_diameter(np.concatenate([some, boxes(seen)]), 300, 300) == pytest.approx(30)
    assert red_cell_diameter(boxes(seen, seen, (150, 288, 40, 24)), 300, 300) == pytest.approx(32)


def test_whole_cells_alone_are_measured_where_there_are_enough() -> None:
    some = boxes((50, 50, 30, 30), (100, 50, 30, 30), (150, 50, 30, 30), *[(10, 50, 20, 40)] * 5)
    assert red_cell_diameter(some, 300, 300) == pytest.approx(30)


def test_too_few_cells_give_no_scale_instead_of_a_guess() -> None:
    assert red_cell_diameter(boxes(), 300, 300) is None
    assert red_cell_diameter(boxes((50, 50, 30, 30), (100, 50, 30, 30)), 300, 300) is None


def test_fields_with_few_red_cells_pool_them() -> None:
    whole, cut = Cell(50, 50, 40, 40, 0.9), Cell(0, 0, 10, 40, 0.9, cut_off=True)
    assert pooled_red_cell_pixels([(whole, whole, cut), (whole,), ()]) == pytest.approx(40)
    assert pooled_red_cell_pixels([(whole, cut), (whole,)]) is None


def field(scale: float | None, *red_cells: Cell) -> FieldCells:
    return FieldCells((), red_cells, (), scale, ImageKind.FIELD)


def test_a_slide_has_the_scale_that_most_of_its_images_tell() -> None:
    crowded = field(10, *[Cell(50, 50, 10, 10, 0.9)] * 100)
    assert slide_scale([crowded, field(40), field(None), field(42)]) == 40
    assert slide_scale([field(42), field(40), crowded]) == 40


def test_a_slide_whose_images_tell_nothing_alone_pools_their_red_cells() -> None:
    cell = Cell(50, 50, 40, 40, 0.9)
    assert slide_scale([field(None, cell, cell), field(None, cell)]) == pytest.approx(40)
    assert slide_scale([field(None, cell), field(None)]) is None
    assert slide_scale([]) is None
