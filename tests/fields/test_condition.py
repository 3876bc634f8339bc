"""Thick, thin and blurred fields: drawn ones, and real ones with blurred copies."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from conftest import SHARED, Picture
from drawn_fields import Disc, drawn_finder, grid_of_red_cells, smear
from PIL import Image, ImageFilter

from bloodcell_batch.backends.contract import BackendOptions
from bloodcell_batch.backends.selection import open_backend
from bloodcell_batch.fields.cells import Cell, FieldCells, ImageKind
from bloodcell_batch.fields.condition import condition_of, edge_width
from bloodcell_batch.fields.finder import Finder, find_cells
from bloodcell_batch.model.file import open_finder
from bloodcell_batch.records import FieldFault
from bloodcell_batch.stages.find import ready_finder


def blurred(picture: Picture, pixels: float) -> Picture:
    return np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(pixels)))


def found(discs: Sequence[Disc], scale: float) -> FieldCells:
    red = tuple(Cell(x, y, diameter, diameter, 0.9) for x, y, diameter in discs)
    return FieldCells((), red, (), scale, ImageKind.FIELD)


def test_a_field_of_separate_sharp_cells_is_fit() -> None:
    red = grid_of_red_cells(640, 480, 60)
    condition = condition_of(smear(640, 480, red), found(red, 60))
    assert condition.faults == ()
    assert condition.overlapping == 0
    assert condition.covered == pytest.approx(len(red) * np.pi / 4 * 60**2 / (640 * 480))
    assert condition.edge_width is not None
    assert condition.edge_width < 0.09


def test_cells_that_cover_each_other_are_too_thick() -> None:
    red = [(float(x), float(y), 60.0) for x in range(60, 600, 35) for y in range(60, 420, 60)]
    assert FieldFault.TOO_THICK in condition_of(smear(640, 480, red), found(red, 60)).faults
    side_by_side = [(float(x), float(y), 60.0) for x in range(60, 600, 58) for y in range(60, 420, 58)]
    assert condition_of(smear(640, 480, side_by_side), found(side_by_side, 60)).faults == ()


def test_few_cells_are_too_thin() -> None:
    red = grid_of_red_cells(640, 480, 40)[::3]
    assert condition_of(smear(640, 480, red), found(red, 40)).faults == (FieldFault.TOO_THIN,)


@pytest.mark.parametrize("diameter", [30, 60, 120])
def test_blur_is_told_at_any_magnification_and_contrast(diameter: float) -> None:
    red = grid_of_red_cells(640, 480, diameter)
    cells = found(red, diameter)
    picture = smear(640, 480, red)
    faint = (picture // 3 + 150).astype(np.uint8)
    for sharp in (picture, faint):
        assert FieldFault.OUT_OF_FOCUS not in condition_of(sharp, cells).faults
        assert FieldFault.OUT_OF_FOCUS in condition_of(blurred(sharp, 0.08 * diameter), cells).faults


def test_what_red_cells_cannot_tell_is_no_fault() -> None:
    empty = smear(640, 480, [])
    for cells in (found([], 60), FieldCells((), (), (), None, ImageKind.UNCLEAR)):
        condition = condition_of(empty, cells)
        assert (condition.overlapping, condition.covered, condition.edge_width, condition.faults) == (None,) * 3 + ((),)
    invisible = found([(100, 100, 60)], 60)
    assert edge_width(empty, invisible.red_cells, 60) is None
    assert FieldFault.OUT_OF_FOCUS not in condition_of(empty, invisible).faults


@pytest.fixture(scope="module")
def finder() -> Finder:
    model = open_finder(None)
    return ready_finder(model, open_backend(model, "openvino", BackendOptions(precision="fp32")).backend)


@pytest.mark.skipif(not (SHARED / "data" / "fields_bccd").is_dir(), reason="the fields are not on this machine")
def test_real_fields_are_flagged_as_they_look(finder: Finder) -> None:
    data = SHARED / "data"

    def faults(path: Path, blur: float = 0) -> tuple[FieldFault, ...]:
        picture = np.asarray(Image.open(path).convert("RGB"))
        cells = find_cells(picture, finder)
        if blur and cells.red_cell_pixels:
            picture = blurred(picture, blur * cells.red_cell_pixels)
            cells = find_cells(picture, finder)
        return condition_of(picture, cells).faults

    bccd, chula = data / "fields_bccd" / "images", data / "fields_chula"
    assert faults(bccd / "BloodImage_00038.jpg") == (FieldFault.TOO_THICK,)
    assert faults(bccd / "BloodImage_00168.jpg") == ()
    assert faults(chula / "91.jpg") == (FieldFault.TOO_THIN,)
    assert faults(chula / "685.jpg") == ()
    assert faults(bccd / "BloodImage_00168.jpg", 0.08) == (FieldFault.OUT_OF_FOCUS,)
    assert faults(chula / "685.jpg", 0.08) == (FieldFault.OUT_OF_FOCUS,)


def test_the_measures_come_from_what_the_finder_sees() -> None:
    red = grid_of_red_cells(400, 300, 30)
    picture = smear(400, 300, red)
    assert condition_of(picture, find_cells(picture, drawn_finder())).faults == ()
