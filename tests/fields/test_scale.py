"""The red cells' diameter."""

import numpy as np
import pytest

from bloodcell_batch.fields.cells import Cell
from bloodcell_batch.fields.scale import pooled_red_cell_pixels, red_cell_diameter


def boxes(*rows: tuple[float, float, float, float]) -> np.ndarray:
    return np.array([(*row, 0.9) for row in rows], dtype=np.float32).reshape(-1, 5)


def test_the_median_of_whole_cells_is_the_diameter() -> None:
    whole = boxes((50, 50, 30, 30), (100, 50, 32, 32), (150, 50, 28, 34), (50, 120, 90, 20))
    assert red_cell_diameter(whole, 300, 300) == pytest.approx(30.85, abs=0.02)


def test_cells_at_the_border_are_not_measured() -> None:
    some = boxes((50, 50, 30, 30), (100, 50, 30, 30), (5, 50, 10, 30))
    assert red_cell_diameter(some, 300, 300) is None


def test_too_few_cells_give_no_scale_instead_of_a_guess() -> None:
    assert red_cell_diameter(boxes(), 300, 300) is None
    assert red_cell_diameter(boxes((50, 50, 30, 30), (100, 50, 30, 30)), 300, 300) is None


def test_fields_with_few_red_cells_pool_them() -> None:
    whole, cut = Cell(50, 50, 40, 40, 0.9), Cell(0, 0, 10, 40, 0.9, cut_off=True)
    assert pooled_red_cell_pixels([(whole, whole, cut), (whole,), ()]) == pytest.approx(40)
    assert pooled_red_cell_pixels([(whole, cut), (whole,)]) is None
