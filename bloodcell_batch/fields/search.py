"""A first guess of the scale of an image of which nothing is known."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bloodcell_batch.fields.maps import LEUKOCYTE, RED_CELL, Finder, boxes_in, clipped
from bloodcell_batch.fields.peaks import Floats, without_doubles
from bloodcell_batch.fields.scale import red_cell_diameter
from bloodcell_batch.fields.tiles import background_colour, shrunk

_QUICK = (22.0, 48.0, 106.0, 233.0)  # pixels of a red cell that are tried first, in the quarters of one tile
_THOROUGH = (20.0, 40.0, 80.0, 160.0, 320.0)  # and if that tells nothing, with a tile each
_USUAL = 40.0  # where nothing at all is seen


@dataclass(frozen=True, slots=True)
class _Try:
    """What is seen of an image's middle if red cells are taken for so large.

    Attributes:
        assumed: pixels of a red cell.
        covered: share under red cells of about that size, weighted by their scores.
        measured: pixels of a red cell by them.
        surest: score of the surest leukocyte; 0 without one.
    """

    assumed: float
    covered: float
    measured: float
    surest: float


def coarse_scale(rgb: NDArray[np.uint8], finder: Finder) -> float:
    """A first guess of the red cells' diameter: that at which red cells of about that size cover most of the middle.

    Their area counts and not their number: at a wrong scale, the finder takes specks for red cells. Without red cells,
    the guess is that at which it is surest of a leukocyte.
    """
    longest = math.hypot(*rgb.shape[:2])
    tried: list[_Try] = []
    for guesses in (_QUICK, _THOROUGH):
        possible = [guess for guess in guesses if guess < longest] or [longest]
        tried = _in_quarters(rgb, finder, possible) if guesses is _QUICK else _in_tiles(rgb, finder, possible)
        best = max(tried, key=lambda each: each.covered)
        if best.covered > 0:
            return best.measured
    surest = max(tried, key=lambda each: each.surest)
    return surest.assumed if surest.surest > 0 else min(_USUAL, longest)


def _in_tiles(rgb: NDArray[np.uint8], finder: Finder, guesses: Sequence[float]) -> list[_Try]:
    pictures = [_middle(rgb, finder, guess, finder.tile) for guess in guesses]
    tiles = np.stack([_on_ground(picture, finder.tile) for picture in pictures])
    return [
        _seen(boxes[LEUKOCYTE], boxes[RED_CELL], picture.shape, guess, finder)
        for boxes, picture, guess in zip(boxes_in(tiles, finder), pictures, guesses, strict=True)
    ]


def _in_quarters(rgb: NDArray[np.uint8], finder: Finder, guesses: Sequence[float]) -> list[_Try]:
    """The same in a quarter of the time, with half the view."""
    half = finder.tile // 2
    pictures = [_middle(rgb, finder, guess, half) for guess in guesses]
    corners = [(half * (number % 2), half * (number // 2)) for number in range(len(pictures))]
    tile = np.empty((finder.tile, finder.tile, 3), dtype=np.uint8)
    tile[:] = background_colour(rgb)
    for picture, (left, top) in zip(pictures, corners, strict=True):
        tile[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    (boxes,) = boxes_in(tile[None], finder)
    tried = []
    for picture, (left, top), guess in zip(pictures, corners, guesses, strict=True):
        here = [_within(boxes[kind], left, top, picture.shape) for kind in (LEUKOCYTE, RED_CELL)]
        tried.append(_seen(here[0], here[1], picture.shape, guess, finder))
    return tried


def _within(boxes: Floats, left: int, top: int, shape: Sequence[int]) -> Floats:
    """Those of a tile's boxes that have their centre in a picture at (left, top), in pixels of that picture."""
    moved = boxes.copy()
    moved[:, :2] -= (left, top)
    return moved[((moved[:, :2] >= 0) & (moved[:, :2] < (shape[1], shape[0]))).all(axis=1)]


def _middle(rgb: NDArray[np.uint8], finder: Finder, guess: float, side: int) -> NDArray[np.uint8]:
    """The middle of an image at the finder's scale, if red cells have `guess` pixels: at most (side, side, 3)."""
    height, width = rgb.shape[:2]
    half = side / finder.red_cell_side * guess / 2
    rows = slice(max(0, int(height / 2 - half)), int(height / 2 + half) + 1)
    columns = slice(max(0, int(width / 2 - half)), int(width / 2 + half) + 1)
    return shrunk(rgb[rows, columns], finder.red_cell_side / guess)[:side, :side]


def _on_ground(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    tile = np.empty((side, side, 3), dtype=np.uint8)
    tile[:] = background_colour(picture)
    tile[: picture.shape[0], : picture.shape[1]] = picture
    return tile


def _seen(leukocytes: Floats, red_cells: Floats, shape: Sequence[int], guess: float, finder: Finder) -> _Try:
    height, width = shape[:2]
    red_cells = without_doubles(clipped(red_cells, width, height))
    surest = float(leukocytes[:, 4].max(initial=0.0))
    diameter = red_cell_diameter(red_cells, width, height)
    if diameter is None:
        return _Try(guess, 0.0, guess, surest)
    area = float((red_cells[:, 2] * red_cells[:, 3] * red_cells[:, 4]).sum())
    return _Try(guess, area / (width * height), guess * diameter / finder.red_cell_side, surest)
