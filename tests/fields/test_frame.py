"""Frames around photographs, drawn."""

import io

import numpy as np
import pytest
from drawn_fields import drawn_finder, grid_of_red_cells, smear
from PIL import Image, ImageOps

from bloodcell_batch.fields.finder import find_cells
from bloodcell_batch.fields.frame import frame_of

RED = 28.0
WHITE = [(200.0, 150.0, 50.0), (6.0, 100.0, 50.0)]
FIELD = smear(400, 300, grid_of_red_cells(400, 300, RED, but_not_at=WHITE), WHITE)


@pytest.mark.parametrize("colour", ["white", "black", (90, 20, 20)])
@pytest.mark.parametrize("quality", [None, 60])
def test_a_plain_frame_is_found_whatever_its_colour(colour: str | tuple[int, int, int], quality: int | None) -> None:
    framed = ImageOps.expand(Image.fromarray(FIELD), (20, 35, 50, 5), colour)
    if quality:
        packed = io.BytesIO()
        framed.save(packed, "JPEG", quality=quality)
        framed = Image.open(packed)
    found = frame_of(np.asarray(framed))
    assert np.abs(np.array(found) - (20, 35, 50, 5)).max() <= (3 if quality else 0)


def test_an_empty_rim_of_the_smear_is_none() -> None:
    assert frame_of(FIELD) == (0, 0, 0, 0)
    assert frame_of(smear(400, 300, [], [(200.0, 40.0, 50.0)])) == (0, 0, 0, 0)
    assert frame_of(np.full((300, 400, 3), 255, dtype=np.uint8)) == (0, 0, 0, 0)
    assert frame_of(np.full((1, 1, 3), 255, dtype=np.uint8)) == (0, 0, 0, 0)


def test_a_cell_that_the_frame_cuts_is_cut_off() -> None:
    framed = np.asarray(ImageOps.expand(Image.fromarray(FIELD), 40, "white"))
    cut = [cell.cut_off for cell in find_cells(framed, drawn_finder()).leukocytes]
    assert sorted(cut) == [False, True]
