"""Finding: from one image to its cells, at the scale that its red cells give."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bloodcell_batch.fields.cells import FIELD_CLASSES, Cell, FieldCells
from bloodcell_batch.fields.frame import frame_of
from bloodcell_batch.fields.kind import kind_of
from bloodcell_batch.fields.maps import RED_CELL, Finder, boxes_in, clipped
from bloodcell_batch.fields.peaks import Floats, near_others, without_doubles
from bloodcell_batch.fields.scale import red_cell_diameter
from bloodcell_batch.fields.search import coarse_scale
from bloodcell_batch.fields.tiles import SPARED, cut_up

__all__ = ["Finder", "find_cells"]

_NEAR_ENOUGH = math.log(1.15)
_PASSES = 3
_SMALLEST = 8.0  # pixels of a red cell that the image is enlarged for; below it there is nothing to see
_BORDER = 0.04  # share of a cell's side by which its box may stay away from the border that cuts it
_FRAME_ERRS = 3  # pixels by which the edge of a frame, and boxes at it, may lie beside the true one


@dataclass(frozen=True, slots=True)
class _Found:
    """What one look saw.

    Attributes:
        boxes: (n, 5) of each class, in pixels of the image, surest first.
        diameter: of a red cell, by these boxes; None if they are too few.
        scale: pixels of a red cell that the look assumed.
    """

    boxes: tuple[Floats, ...]
    diameter: float | None
    scale: float


def find_cells(
    rgb: NDArray[np.uint8],
    finder: Finder,
    red_cell_pixels: float | None = None,
    first_guess: float | None = None,
    fallback: float | None = None,
) -> FieldCells:
    """The cells of one image.

    Args:
        rgb: uint8 (height, width, 3), upright.
        finder: the network and its scale.
        red_cell_pixels: diameter of a red cell, if somebody knows it; the image is then looked at once, at that scale.
        first_guess: diameter of a red cell to start from, such as `fields.scale.slide_scale` of its slide; saves most
            of the work if it is right within 15 %, and is found out if it is wrong by up to a factor of 2.
        fallback: diameter of a red cell that counts where the image's own red cells don't tell it, such as the same
            scale of its slide.

    Returns:
        The cells. Where fewer than 3 whole red cells are seen, `red_cell_pixels` is `fallback`; the leukocytes are
        then those seen at that scale or, where there is none, at `first_guess`, or at the scale at which the finder is
        surest of one.
    """
    if red_cell_pixels is not None:
        return _as_cells(rgb, _look(rgb, finder, red_cell_pixels), red_cell_pixels)
    guessed = None
    if first_guess is not None:
        guessed = _at_own_scale(rgb, finder, first_guess)
        if guessed.diameter is not None:
            return _as_cells(rgb, guessed, guessed.diameter)
    if fallback is not None:
        found = guessed if guessed is not None and guessed.scale == fallback else _look(rgb, finder, fallback)
        return _as_cells(rgb, found, fallback)
    anew = _at_own_scale(rgb, finder, coarse_scale(rgb, finder))
    if anew.diameter is None and guessed is not None:
        anew = guessed  # nothing tells the scale; what was seen at the first guess is then the better bet
    return _as_cells(rgb, anew, anew.diameter)


def _at_own_scale(rgb: NDArray[np.uint8], finder: Finder, guess: float) -> _Found:
    """Look, measure, and look again at the measured scale, until both agree."""
    guess = max(guess, _SMALLEST)
    found = _look(rgb, finder, guess)
    for _ in range(_PASSES - 1):
        if found.diameter is None or abs(math.log(found.diameter / guess)) <= _NEAR_ENOUGH:
            break
        guess = max(found.diameter, _SMALLEST)
        found = _look(rgb, finder, guess)
    return found


def _look(rgb: NDArray[np.uint8], finder: Finder, red_cell_pixels: float) -> _Found:
    """The cells seen when red cells are taken to be so large."""
    factor = finder.red_cell_side / red_cell_pixels
    finder = finder.fitting(SPARED * factor * max(rgb.shape[:2]))
    tiles = cut_up(rgb, factor, finder.tile)
    found: list[list[Floats]] = [[] for _ in FIELD_CLASSES]
    for index, seen in enumerate(boxes_in(tiles.pixels, finder)):
        for kind, boxes in enumerate(seen):
            found[kind].append(tiles.owned(index, boxes))
    scaled = []
    for rows in found:
        boxes = without_doubles(clipped(np.concatenate(rows), tiles.width, tiles.height))
        boxes[:, :4] /= np.float32(tiles.factor)
        scaled.append(boxes)
    height, width = rgb.shape[:2]
    return _Found(tuple(scaled), red_cell_diameter(scaled[RED_CELL], width, height), red_cell_pixels)


def _as_cells(rgb: NDArray[np.uint8], found: _Found, red_cell_pixels: float | None) -> FieldCells:
    height, width = rgb.shape[:2]
    left, upper, right, lower = (depth + _FRAME_ERRS if depth else 0 for depth in frame_of(rgb))
    inside = (float(left), float(upper), float(width - right), float(height - lower))
    leukocytes, red_cells, platelets = (_cells(boxes, inside) for boxes in found.boxes)
    kind = kind_of(width, height, leukocytes, platelets, red_cell_pixels)
    return FieldCells(leukocytes, red_cells, platelets, red_cell_pixels, kind, found.scale)


def _cells(boxes: Floats, inside: tuple[float, float, float, float]) -> tuple[Cell, ...]:
    return tuple(
        _cell(box, inside, touching=near) for box, near in zip(boxes.tolist(), near_others(boxes).tolist(), strict=True)
    )


def _cell(box: Sequence[float], inside: tuple[float, float, float, float], *, touching: bool) -> Cell:
    """A cell with what the edges of the photograph (left, upper, right, lower) do to it."""
    x, y, width, height, score = box
    left, upper, right, lower = inside
    at_sides = min(x - width / 2 - left, right - x - width / 2) < _BORDER * width
    at_ends = min(y - height / 2 - upper, lower - y - height / 2) < _BORDER * height
    visible = 1.0
    if at_sides != at_ends:
        visible = min(1.0, width / height if at_sides else height / width)
    elif at_sides:
        visible = 0.5  # in a corner neither side is known; about half is left on average
    return Cell(x, y, width, height, score, at_sides or at_ends, visible, touching)
