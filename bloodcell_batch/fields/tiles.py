"""A field as tiles of one size at the finder's scale, and what is found in them back in the field."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

OVERLAP = 4  # neighbouring tiles share a quarter of their side: a cell in its middle is seen with its surroundings
_TOLERANCE = 8.0  # pixels
_BRIGHT = 0.6  # quantile of brightness above which the empty smear is looked for
_LOOKED_AT = 2_500  # pixels
SPARED = 0.82  # how much smaller than asked for a field may be made, where that saves tiles


@dataclass(frozen=True, slots=True)
class Tiles:
    """A field cut up.

    Attributes:
        pixels: uint8 (n, S, S, 3) RGB.
        corners: int (n, 2), column and row of the resized field at which each tile begins.
        low: float (n, 2), column and row from which on cells are looked for in this tile.
        high: float (n, 2), where that ends.
        width: of the resized field.
        height: of the resized field.
        factor: pixels of the resized field per pixel of the field.
    """

    pixels: NDArray[np.uint8]
    corners: NDArray[np.intp]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    width: int
    height: int
    factor: float

    def owned(self, index: int, found: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes (n, 5) of a tile in pixels of the resized field; without those that a neighbour sees better.

        Neighbours overlap a little here as well, or a cell between them whose centre each sees on the other's side
        would be nobody's; some cells are therefore found twice. Boxes whose centre lies in the padding are left out.
        """
        moved = found.copy()
        moved[:, :2] += self.corners[index]
        high = np.minimum(self.high[index], (self.width, self.height))
        inside = (moved[:, :2] >= self.low[index]) & (moved[:, :2] < high)
        kept: NDArray[np.float32] = moved[inside.all(axis=1)]
        return kept


def cut_up(rgb: NDArray[np.uint8], factor: float, side: int) -> Tiles:
    """Resize a field (height, width, 3) by `factor`, or a little less, and cut it into tiles of `side` pixels.

    A field that is smaller than a tile gets a border of its background's colour, right and below.
    """
    factor = _sparing(rgb.shape[:2], factor, side)
    resized = shrunk(rgb, factor)
    height, width = resized.shape[:2]
    if height < side or width < side:
        padded = np.empty((max(height, side), max(width, side), 3), dtype=np.uint8)
        padded[:] = background_colour(resized)
        padded[:height, :width] = resized
        resized = padded
    lefts, tops = starts(resized.shape[1], side), starts(resized.shape[0], side)
    corners = np.array([(left, top) for top in tops for left in lefts])
    pixels = np.stack([resized[top : top + side, left : left + side] for left, top in corners])
    edges_x, edges_y = _edges(lefts, side, width), _edges(tops, side, height)
    low = np.array([(x, y) for y in edges_y[:-1] for x in edges_x[:-1]]) - _TOLERANCE
    high = np.array([(x, y) for y in edges_y[1:] for x in edges_x[1:]]) + _TOLERANCE
    return Tiles(pixels, corners, low, high, width, height, factor)


def _sparing(shape: Sequence[int], factor: float, side: int) -> float:
    """Of the factors down to 18 % below `factor`, the largest of those that need the fewest tiles.

    A field that is a few pixels longer than a row of tiles would need another tile for them. The finder's scale is
    not so exact that it would notice.
    """
    step = side - side // OVERLAP
    tried = [factor]
    for length in shape:
        # The longest that so many tiles cover along this side; half a pixel more is rounded off.
        fitting = ((side + number * step + 0.49) / length for number in range(_along(round(length * factor), side) - 1))
        tried += [each for each in fitting if SPARED * factor <= each < factor]
    return min(tried, key=lambda each: (math.prod(_along(round(length * each), side) for length in shape), -each))


def _along(length: int, side: int) -> int:
    """How many tiles cover an axis."""
    return 1 if length <= side else 1 + -(-(length - side) // (side - side // OVERLAP))


def _edges(begins: NDArray[np.intp], side: int, length: int) -> NDArray[np.float64]:
    """Where one tile's responsibility ends and the next one's begins: the middles of their overlaps."""
    return np.array([0.0, *((begins[1:] + begins[:-1] + side) / 2), length])


def starts(length: int, side: int) -> NDArray[np.intp]:
    """Where tiles begin along an axis: evenly spread from border to border, overlapping by a quarter or more."""
    return np.round(np.linspace(0, max(0, length - side), _along(length, side))).astype(np.intp)


def background_colour(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Colour of the empty smear (3,): the median of the brighter two fifths of an image."""
    pixels = rgb.reshape(-1, 3)[:: max(1, rgb.shape[0] * rgb.shape[1] // _LOOKED_AT)]
    light = pixels.sum(axis=1, dtype=np.int64)
    bright = pixels[light >= np.quantile(light, _BRIGHT)]
    colour: NDArray[np.uint8] = np.median(bright, axis=0).astype(np.uint8)
    return colour


def shrunk(rgb: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    """The image (height, width, 3) with its sides multiplied by `factor`, at least 1 pixel each."""
    height, width = (max(1, round(length * factor)) for length in rgb.shape[:2])
    image = Image.fromarray(rgb)
    # The gap makes large photographs several times faster; what it changes is below a grey level.
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0))
