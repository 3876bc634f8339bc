"""Single cell or field."""

import pytest

from bloodcell_batch.fields.cells import Cell, ImageKind
from bloodcell_batch.fields.kind import kind_of


def central(width: float, height: float, side: float) -> Cell:
    return Cell(width / 2, height / 2, side, side, 0.9)


@pytest.mark.parametrize(
    ("width", "height", "red_cell_pixels", "kind"),
    [
        (360, 363, 80, ImageKind.SINGLE),  # PBC
        (400, 400, 90, ImageKind.SINGLE),
        (640, 480, 100, ImageKind.FIELD),  # BCCD
        (640, 480, 40, ImageKind.FIELD),  # Chula
        (4000, 3000, 80, ImageKind.FIELD),
    ],
)
def test_the_size_in_red_cells_decides(width: int, height: int, red_cell_pixels: float, kind: ImageKind) -> None:
    assert kind_of(width, height, [central(width, height, 1.8 * red_cell_pixels)], [], red_cell_pixels) is kind


def test_a_field_without_leukocytes_is_a_field() -> None:
    assert kind_of(640, 480, [], [], 100) is ImageKind.FIELD


def test_a_small_image_with_nothing_in_its_middle_is_unclear() -> None:
    assert kind_of(360, 363, [Cell(30, 30, 60, 60, 0.9)], [], 80) is ImageKind.UNCLEAR


def test_a_single_platelet_is_a_single_cell() -> None:
    assert kind_of(360, 363, [], [central(360, 363, 30)], 80) is ImageKind.SINGLE


def test_without_red_cells_a_cell_that_fills_the_image_is_single() -> None:
    assert kind_of(200, 200, [central(200, 200, 150)], [], None) is ImageKind.SINGLE
    assert kind_of(640, 480, [central(640, 480, 60)], [], None) is ImageKind.UNCLEAR
    assert kind_of(640, 480, [], [], None) is ImageKind.UNCLEAR
