"""Whether a picture shows one cell, on drawn ones."""

import pytest
from drawn_fields import Disc, drawn_finder, grid_of_red_cells, smear

from bloodcell_batch.fields.cells import FieldCells, ImageKind
from bloodcell_batch.fields.scale import CropScale, crop_scale
from bloodcell_batch.fields.singles import NotOneCell, not_one_cell

SCALE = CropScale(28, 28)
SIDE = 130


def verdict(*white: Disc, plates: tuple[Disc, ...] = (), scale: CropScale = SCALE) -> NotOneCell | None:
    red = grid_of_red_cells(SIDE, SIDE, 28, but_not_at=[*white, *plates])
    return not_one_cell(smear(SIDE, SIDE, red, white, plates), drawn_finder(), scale)


def test_a_cell_in_the_middle_is_one_cell_whatever_lies_around_it() -> None:
    assert verdict((65, 65, 50)) is None
    assert verdict((55, 72, 50)) is None
    assert verdict((60, 65, 40), (110, 110, 36)) is None
    assert verdict(plates=((65, 65, 10),)) is None
    assert verdict(plates=((60, 65, 10), (75, 65, 10), (20, 20, 10))) is None


def test_nothing_in_the_middle_is_no_cell() -> None:
    assert verdict() is NotOneCell.NONE
    assert verdict(plates=((12, 12, 10),)) is NotOneCell.NONE
    assert verdict((25, 65, 40)) is NotOneCell.NONE


def test_two_cells_that_could_both_be_meant_are_several() -> None:
    assert verdict((42, 65, 40), (88, 65, 40)) is NotOneCell.SEVERAL
    assert verdict((24, 24, 36), (106, 106, 36)) is NotOneCell.SEVERAL


def test_a_field_is_several_cells_without_a_look() -> None:
    seen: list[int] = []
    field = smear(640, 480, [], [(320, 240, 180)])
    assert not_one_cell(field, drawn_finder(seen), CropScale(100, 100)) is NotOneCell.SEVERAL
    assert seen == []


def test_a_tight_crop_is_looked_at_where_no_red_cell_tells_the_scale() -> None:
    picture = smear(100, 100, [], [(50, 50, 80)])
    assert not_one_cell(picture, drawn_finder(), CropScale(40)) is None


def field(scale: float | None, looked_at: float) -> FieldCells:
    return FieldCells((), (), (), scale, ImageKind.SINGLE, looked_at)


def test_the_scale_of_a_folder_is_that_of_its_red_cells_or_the_one_it_was_seen_at() -> None:
    assert crop_scale([field(80, 82), field(None, 40), field(84, 80)]) == CropScale(82, 82)
    assert crop_scale([field(None, 40), field(None, 80), field(None, 50)]) == CropScale(50)
    assert crop_scale([]) is None


@pytest.mark.parametrize("shape", [(1, 1), (3, 400), (400, 2)])
def test_pictures_of_a_few_pixels_show_no_cell(shape: tuple[int, int]) -> None:
    assert not_one_cell(smear(shape[1], shape[0], []), drawn_finder(), CropScale(28)) is NotOneCell.NONE
