"""Finding: from one image to its cells, at the scale that its red cells give."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bloodcell_batch.fields.cells import FIELD_CLASSES, Cell, FieldCells
from bloodcell_batch.fields.kind import kind_of
from bloodcell_batch.fields.peaks import near_others, peaks, without_doubles
from bloodcell_batch.fields.scale import red_cell_diameter
from bloodcell_batch.fields.tiles import Tiles, cut_up

Floats = NDArray[np.float32]
Infer = Callable[[NDArray[np.uint8]], tuple[Floats, Floats]]

_GUESSES = (20.0, 40.0, 80.0, 160.0, 320.0)  # pixels of a red cell to start from, where nothing is known
_NEAR_ENOUGH = math.log(1.15)
_PASSES = 3
_SMALLEST = 8.0  # pixels of a red cell that the image is enlarged for; below it there is nothing to see
_BORDER = 0.04  # share of a cell's side by which its box may stay away from the border that cuts it
_LEUKOCYTE, _RED_CELL, _PLATELET = (FIELD_CLASSES.index(name) for name in ("leukocyte", "red_cell", "platelet"))


@dataclass(frozen=True, slots=True)
class Finder:
    """A finder ready to run.

    Attributes:
        infer: from tiles uint8 (N, S, S, 3) to chances float32 (N, 3*H*W) and log sizes float32 (N, 2*H*W): a backend's
            `infer` on a finder's model file.
        tile: S.
        stride: S / H.
        red_cell_side: pixels of a red cell in the tiles.
        thresholds: lowest score of a leukocyte, a red cell and a platelet.
    """

    infer: Infer
    tile: int
    stride: int
    red_cell_side: float
    thresholds: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class _Found:
    """Boxes (n, 5) of each class, in pixels of the image, and the diameter of a red cell that they give."""

    boxes: tuple[Floats, Floats, Floats]
    diameter: float | None


def find_cells(
    rgb: NDArray[np.uint8],
    finder: Finder,
    red_cell_pixels: float | None = None,
    first_guess: float | None = None,
) -> FieldCells:
    """The cells of one image.

    Args:
        rgb: uint8 (height, width, 3), upright.
        finder: the network and its scale.
        red_cell_pixels: diameter of a red cell, if somebody knows it; the image is then looked at once, at that scale.
        first_guess: diameter of a red cell to start from, such as that of the slide's last field; saves most of the
            work if it is right within 15 %, and is found out if it is wrong by up to a factor of 2.

    Returns:
        The cells. Where fewer than 3 whole red cells are seen, `red_cell_pixels` is what was given, or None; the
        leukocytes are then those seen at `first_guess`, or at the scale at which the finder is surest of one.
    """
    if red_cell_pixels is not None:
        found = _look(rgb, finder, red_cell_pixels)
        return _as_cells(rgb, found, red_cell_pixels)
    guessed = None if first_guess is None else _at_own_scale(rgb, finder, first_guess)
    if guessed is not None and guessed.diameter is not None:
        return _as_cells(rgb, guessed, guessed.diameter)
    anew = _at_own_scale(rgb, finder, _coarse(rgb, finder))
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
    tiles = cut_up(rgb, factor, finder.tile)
    boxes = _boxes(tiles, finder)
    scaled = [np.concatenate([each[:, :4] / np.float32(factor), each[:, 4:]], axis=1) for each in boxes]
    height, width = rgb.shape[:2]
    diameter = red_cell_diameter(scaled[_RED_CELL], width, height)
    return _Found((scaled[0], scaled[1], scaled[2]), diameter)


def _boxes(tiles: Tiles, finder: Finder) -> list[Floats]:
    """Boxes (n, 5) of each class in pixels of the resized field, clipped to it."""
    chances, sizes = finder.infer(tiles.pixels)
    side = finder.tile // finder.stride
    chances = chances.reshape(-1, len(FIELD_CLASSES), side, side)
    sizes = sizes.reshape(-1, 2, side, side)
    found = []
    for kind, threshold in enumerate(finder.thresholds):
        rows = [
            tiles.owned(
                index, peaks(chances[index, kind], sizes[index], threshold, finder.stride, finder.red_cell_side)
            )
            for index in range(len(chances))
        ]
        found.append(without_doubles(_clipped(np.concatenate(rows), tiles.width, tiles.height)))
    return found


def _clipped(boxes: Floats, width: int, height: int) -> Floats:
    edge = np.array([width, height], dtype=np.float32)
    low = np.clip(boxes[:, :2] - boxes[:, 2:4] / 2, 0, edge)
    high = np.clip(boxes[:, :2] + boxes[:, 2:4] / 2, 0, edge)
    return np.concatenate([(low + high) / 2, high - low, boxes[:, 4:]], axis=1)


def _coarse(rgb: NDArray[np.uint8], finder: Finder) -> float:
    """A first guess of the red cells' diameter: that at which red cells of about that size cover most of the middle.

    Their area counts and not their number: at a wrong scale, the finder takes specks for red cells. Without red cells,
    the guess is that at which it is surest of a leukocyte.
    """
    height, width = rgb.shape[:2]
    best, guess, surest, largest = 0.0, _GUESSES[1], 0.0, math.hypot(height, width)
    tiles = []
    guesses = [each for each in _GUESSES if each < largest]
    for each in guesses or [largest]:
        half = finder.tile / finder.red_cell_side * each / 2
        rows = slice(max(0, int(height / 2 - half)), int(height / 2 + half))
        columns = slice(max(0, int(width / 2 - half)), int(width / 2 + half))
        tiles.append(cut_up(rgb[rows, columns], finder.red_cell_side / each, finder.tile))
    fallback = guess
    for each, tile in zip(guesses or [largest], tiles, strict=True):
        boxes = _boxes(tile, finder)
        covered, measured = _coverage(boxes[_RED_CELL], tile, finder.red_cell_side)
        if covered > best:
            best, guess = covered, each * measured
        score = float(boxes[_LEUKOCYTE][:1, 4].sum())
        if score > surest:
            surest, fallback = score, each
    return guess if best > 0 else fallback


def _coverage(red_cells: Floats, tiles: Tiles, red_cell_side: float) -> tuple[float, float]:
    """Share of a resized field under red cells, weighted by their scores, and their diameter against the assumed."""
    diameter = red_cell_diameter(red_cells, tiles.width, tiles.height)
    if diameter is None:
        return 0.0, 1.0
    area = (red_cells[:, 2] * red_cells[:, 3] * red_cells[:, 4]).sum()
    return float(area) / (tiles.width * tiles.height), diameter / red_cell_side


def _as_cells(rgb: NDArray[np.uint8], found: _Found, red_cell_pixels: float | None) -> FieldCells:
    height, width = rgb.shape[:2]
    leukocytes, red_cells, platelets = (_cells(boxes, width, height) for boxes in found.boxes)
    kind = kind_of(width, height, leukocytes, platelets, red_cell_pixels)
    return FieldCells(leukocytes, red_cells, platelets, red_cell_pixels, kind)


def _cells(boxes: Floats, width: int, height: int) -> tuple[Cell, ...]:
    return tuple(
        _cell(box, (width, height), touching=near)
        for box, near in zip(boxes.tolist(), near_others(boxes).tolist(), strict=True)
    )


def _cell(box: Sequence[float], size: tuple[int, int], *, touching: bool) -> Cell:
    x, y, width, height, score = box
    at_sides = min(x - width / 2, size[0] - x - width / 2) < _BORDER * width
    at_ends = min(y - height / 2, size[1] - y - height / 2) < _BORDER * height
    visible = 1.0
    if at_sides != at_ends:
        visible = min(1.0, width / height if at_sides else height / width)
    elif at_sides:
        visible = 0.5  # in a corner neither side is known; about half is left on average
    return Cell(x, y, width, height, score, at_sides or at_ends, visible, touching)
