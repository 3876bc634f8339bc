"""What the images of a slide show, by votes."""

import pytest

from bloodcell_batch.fields.cells import Cell, FieldCells, ImageKind
from bloodcell_batch.fields.scale import CropScale
from bloodcell_batch.fields.vote import LARGEST_CELL, SMALLEST_FIELD, Sampled, SampledImages, SlideView, view_of

CELL = Cell(100.0, 100.0, 60.0, 60.0, 0.9, False, 1.0, False)
S, F, U = ImageKind.SINGLE, ImageKind.FIELD, ImageKind.UNCLEAR


def seen(kind: ImageKind, scale: float | None = None, cells: int = 1) -> FieldCells:
    return FieldCells((CELL,) * cells, (), (), scale, kind)


def sampled(*kinds: ImageKind, side: int = 360) -> list[Sampled]:
    return [Sampled(side, seen(kind)) for kind in kinds]


@pytest.mark.parametrize(
    ("kinds", "side", "expected"),
    [
        ((S, S, S, S, S), 360, "cells"),
        ((F, F, F, F, F), 640, "fields"),
        ((F,), 640, "fields"),
        ((U, U, U, F, F), 640, "fields"),
        ((U, U, U, U, S), 900, "cells"),
        ((S, S, S, F), 360, "cells"),
        ((F, F, F, F, S), 640, "fields"),
        ((S, S, S, F, F), 360, None),
        ((S, F), 360, None),
        ((U, U, U), LARGEST_CELL, "cells"),
        ((U, U, U), LARGEST_CELL + 1, None),
        ((), 0, "cells"),
    ],
)
def test_the_clear_majority_decides(kinds: tuple[ImageKind, ...], side: int, expected: str | None) -> None:
    view = view_of(sampled(*kinds, side=side), None)
    assert (view.images if view else None) == expected


@pytest.mark.parametrize("asked", ["cells", "fields"])
@pytest.mark.parametrize("kinds", [(S, F), (U,), (F, F), ()])
def test_what_somebody_says_holds(kinds: tuple[ImageKind, ...], asked: SampledImages) -> None:
    view = view_of(sampled(*kinds, side=1000), asked)
    assert view is not None
    assert view.images == asked


def test_an_image_too_small_for_a_field_is_a_single_cell() -> None:
    view = view_of([Sampled(96, None)], None)
    assert view == SlideView("cells", None, 96, 1, 0, 0)


def test_the_scale_of_fields_is_the_middle_one() -> None:
    view = view_of([Sampled(640, seen(F, scale)) for scale in (40.0, 38.123, 90.0, None)], None)
    assert view is not None
    assert (view.red_cell_pixels, view.longest) == (40.0, 0)


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        ([Sampled(360, seen(S)), Sampled(200, seen(S)), Sampled(500, seen(U))], 500),
        ([Sampled(360, seen(S)), Sampled(500, seen(U)), Sampled(400, seen(F))], 360),
        ([Sampled(900, seen(U)), Sampled(900, seen(F))], SMALLEST_FIELD),
        ([], SMALLEST_FIELD),
    ],
)
def test_single_cells_vouch_for_images_of_their_size(images: list[Sampled], expected: int) -> None:
    view = view_of(images, "cells")
    assert view is not None
    assert view.longest == expected


@pytest.mark.parametrize(
    ("votes", "kind", "side", "cells", "expected"),
    [
        ((5, 0, 0), S, 900, 1, None),
        ((5, 0, 0), U, 400, 1, None),
        ((5, 0, 0), U, 640, 1, "several_cells"),
        ((5, 0, 0), F, 640, 3, "several_cells"),
        ((5, 0, 0), F, 640, 0, "no_cell"),
        ((4, 1, 0), S, 400, 1, None),
        ((4, 1, 0), S, 640, 1, "several_cells"),
        ((0, 5, 0), S, 400, 1, "several_cells"),
        ((0, 5, 0), U, 400, 0, "no_cell"),
    ],
)
def test_a_field_among_cells_is_none(
    votes: tuple[int, int, int], kind: ImageKind, side: int, cells: int, expected: str | None
) -> None:
    view = SlideView("cells", None, 360, *votes)
    assert view.why_not_one_cell(seen(kind, cells=cells), side) == expected


def test_cells_have_the_scale_of_those_that_are_no_fields() -> None:
    view = view_of([Sampled(360, seen(S, 76.0)), Sampled(360, seen(S, 80.0)), Sampled(640, seen(F, 30.0))], "cells")
    assert view is not None
    assert view.crop_scale == CropScale(78.0, 78.0)
    unknown = view_of([Sampled(96, None)], "cells")
    assert unknown is not None
    assert unknown.crop_scale is None


def test_equal_marks_mean_equal_rows() -> None:
    view = SlideView("cells", None, 360, 5, 0, 0)
    assert view.mark == SlideView("cells", None, 360, 4, 0, 1).mark
    others = [
        SlideView("fields", None, 360, 5, 0, 0),
        SlideView("cells", 38.0, 360, 5, 0, 0),
        SlideView("cells", None, 361, 5, 0, 0),
        SlideView("cells", None, 360, 4, 1, 0),
        SlideView("cells", None, 360, 0, 0, 5),
        SlideView("cells", None, 360, 5, 0, 0, 76.0),
    ]
    assert view.mark not in {other.mark for other in others}
