"""Finding cells in drawn fields, with a finder that sees their colours."""

import numpy as np
import pytest
from drawn_fields import Disc, drawn_finder, grid_of_red_cells, smear

from bloodcell_batch.fields.cells import ImageKind
from bloodcell_batch.fields.finder import find_cells
from bloodcell_batch.fields.search import coarse_scale


@pytest.mark.parametrize("diameter", [15, 28, 47, 80, 130])
def test_cells_and_scale_are_found_at_any_magnification(diameter: float) -> None:
    white: list[Disc] = [(3 * diameter, 3 * diameter, 1.8 * diameter), (8 * diameter, 6 * diameter, 1.5 * diameter)]
    red = grid_of_red_cells(11 * round(diameter), 9 * round(diameter), diameter, but_not_at=white)
    found = find_cells(smear(11 * round(diameter), 9 * round(diameter), red, white), drawn_finder())
    assert found.red_cell_pixels == pytest.approx(diameter, rel=0.15)
    assert found.kind is ImageKind.FIELD
    assert len(found.red_cells) == len(red)
    cells = sorted(found.leukocytes, key=lambda cell: cell.x)
    assert len(cells) == 2
    for cell, (x, y, size) in zip(cells, white, strict=True):
        assert np.hypot(cell.x - x, cell.y - y) < 0.15 * diameter
        assert cell.width == pytest.approx(size, rel=0.15)
        assert not cell.cut_off
        assert cell.visible == 1


def test_a_large_field_has_every_cell_once() -> None:
    white: list[Disc] = [(float(x), float(y), 50) for x in range(60, 1500, 97) for y in range(60, 1100, 89)]
    red = grid_of_red_cells(1560, 1140, 28, but_not_at=white)
    found = find_cells(smear(1560, 1140, red, white), drawn_finder(), red_cell_pixels=28)
    assert len(found.leukocytes) == len(white)
    assert len(found.red_cells) == len(red)
    there = sorted((round(cell.x / 5), round(cell.y / 5)) for cell in found.leukocytes)
    assert len(set(there)) == len(white)


@pytest.mark.parametrize("diameter", [15, 28, 47, 80, 130])
def test_the_scale_is_found_with_a_single_tile(diameter: int) -> None:
    field = smear(11 * diameter, 9 * diameter, grid_of_red_cells(11 * diameter, 9 * diameter, diameter))
    seen: list[int] = []
    assert coarse_scale(field, drawn_finder(seen)) == pytest.approx(diameter, rel=0.25)
    assert seen == [1]


def test_a_middle_without_red_cells_is_looked_at_with_more_around_it() -> None:
    around = [disc for disc in grid_of_red_cells(600, 600, 30) if max(abs(disc[0] - 300), abs(disc[1] - 300)) > 90]
    seen: list[int] = []
    assert coarse_scale(smear(600, 600, around), drawn_finder(seen)) == pytest.approx(30, rel=0.25)


def test_a_known_scale_is_used_as_it_is() -> None:
    red = grid_of_red_cells(400, 300, 30)
    seen: list[int] = []
    found = find_cells(smear(400, 300, red), drawn_finder(seen), red_cell_pixels=28)
    assert found.red_cell_pixels == 28
    assert len(seen) == 1


def test_a_right_first_guess_saves_the_search_and_a_wrong_one_is_found_out() -> None:
    field = smear(400, 300, grid_of_red_cells(400, 300, 30))
    seen: list[int] = []
    assert find_cells(field, drawn_finder(seen), first_guess=29).red_cell_pixels == pytest.approx(30, rel=0.1)
    assert len(seen) == 1
    for wrong in (18, 50, 200):
        assert find_cells(field, drawn_finder(), first_guess=wrong).red_cell_pixels == pytest.approx(30, rel=0.1)


def test_the_fallback_counts_where_the_image_does_not_tell_its_scale() -> None:
    few = smear(400, 300, [(200, 150, 30)], [(100, 100, 50)])
    seen: list[int] = []
    found = find_cells(few, drawn_finder(seen), first_guess=30, fallback=30)
    assert (found.red_cell_pixels, len(found.leukocytes), len(seen)) == (30, 1, 1)
    assert find_cells(few, drawn_finder(), fallback=31).red_cell_pixels == 31
    telling = smear(400, 300, grid_of_red_cells(400, 300, 30))
    assert find_cells(telling, drawn_finder(), first_guess=40, fallback=40).red_cell_pixels == pytest.approx(
        30, rel=0.1
    )


def test_without_red_cells_no_scale_is_invented() -> None:
    field = smear(200, 200, [], [(100, 100, 150)])
    found = find_cells(field, drawn_finder())
    assert found.red_cell_pixels is None
    assert found.kind is ImageKind.SINGLE
    assert len(found.leukocytes) == 1
    empty = find_cells(smear(200, 200, []), drawn_finder())
    assert (empty.leukocytes, empty.red_cell_pixels, empty.kind) == ((), None, ImageKind.UNCLEAR)


def test_a_cell_at_the_border_is_known_to_be_cut() -> None:
    white: list[Disc] = [(0, 150, 60), (300, 150, 60), (400, 300, 60)]
    red = grid_of_red_cells(400, 340, 28, but_not_at=white)
    found = find_cells(smear(400, 340, red, white), drawn_finder(), red_cell_pixels=28)
    cells = sorted(found.leukocytes, key=lambda cell: cell.x)
    assert [cell.cut_off for cell in cells] == [True, False, True]
    assert cells[0].visible == pytest.approx(0.5, abs=0.12)
    assert cells[0].x - cells[0].width / 2 >= 0
    assert cells[1].visible == 1


def test_an_image_of_a_few_pixels_is_no_error() -> None:
    for shape in ((1, 1, 3), (3, 400, 3), (400, 2, 3)):
        assert find_cells(np.zeros(shape, dtype=np.uint8), drawn_finder()).leukocytes == ()
