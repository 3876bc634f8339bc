"""From the finder's maps to boxes: local maxima, their sizes, and one box per cell."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_LARGEST_LOG_SIZE = 2.5  # a cell of 12 red cells; the exponential of a wild value would overflow
_OVERLAP = 0.45  # intersection over union from which on two boxes of a class are one cell
_INSIDE = 0.75  # share of the smaller box inside the larger, such as one lobe of a nucleus
TOUCHING = 1.05  # ellipses that come as near as 5 % of their sizes touch
_SMALLEST = 1e-3  # pixels; what a border leaves of a box may have no width at all
_ROWS, _COLUMNS = (offsets.ravel() - 1 for offsets in np.indices((3, 3)))  # a place and its eight neighbours
_BLOCK = 512  # boxes whose neighbours are looked for at a time: what is held stays small in crowded fields
_UP, _LEFT, _HERE, _RIGHT, _DOWN = 1, 3, 4, 5, 7  # among them


def peaks(
    chances: Floats, sizes: Floats, thresholds: Sequence[float], stride: int, red_cell_side: float
) -> list[Floats]:
    """The local maxima of each class's map of one tile.

    Args:
        chances: (C, H, W), 0-1.
        sizes: (2, H, W), the natural logarithm of width and height in red cells.
        thresholds: lowest chance that counts, of each class.
        stride: pixels of the tile per place of the map.
        red_cell_side: pixels of a red cell in the tile.

    Returns:
        Of each class, float32 (n, 5): x, y, width, height in pixels of the tile, and the chance.
    """
    classes, rows, columns = np.nonzero(chances >= np.array(thresholds, dtype=np.float32)[:, None, None])
    around = np.pad(chances, ((0, 0), (1, 1), (1, 1)))
    near = around[classes[:, None], rows[:, None] + 1 + _ROWS, columns[:, None] + 1 + _COLUMNS]
    highest = near[:, _HERE] == near.max(axis=1)
    classes, rows, columns, near = classes[highest], rows[highest], columns[highest], near[highest]
    found = np.empty((len(rows), 5), dtype=np.float32)
    found[:, 0] = (columns + 0.5 + _vertex(near[:, (_LEFT, _HERE, _RIGHT)], columns, chances.shape[2])) * stride
    found[:, 1] = (rows + 0.5 + _vertex(near[:, (_UP, _HERE, _DOWN)], rows, chances.shape[1])) * stride
    logarithms = np.clip(sizes[:, rows, columns], -_LARGEST_LOG_SIZE, _LARGEST_LOG_SIZE)
    found[:, 2:4] = np.exp(logarithms.T) * red_cell_side
    found[:, 4] = near[:, _HERE]
    return [found[classes == kind] for kind in range(len(chances))]


def _vertex(three: Floats, where: NDArray[np.intp], length: int) -> Floats:
    """Where the parabola through a maximum and its two neighbours has its vertex, -0.5 to 0.5 from the maximum."""
    before, here, after = three.T
    bend = before + after - 2 * here
    inner = (where > 0) & (where < length - 1) & (bend < 0)
    offset = np.where(inner, (before - after) / np.where(inner, 2 * bend, 1), 0)
    clipped: Floats = np.clip(offset, -0.5, 0.5).astype(np.float32)
    return clipped


def without_doubles(found: Floats) -> Floats:
    """The boxes (n, 5) without those that are the same cell as a surer one; surest first."""
    found = found[np.argsort(-found[:, 4], kind="stable")]
    surer, other = _pairs(found, 1.0)
    common = _common_area(found[surer], found[other])
    areas = found[:, 2] * found[:, 3]
    union, smaller = areas[surer] + areas[other] - common, np.minimum(areas[surer], areas[other])
    same = (common > _OVERLAP * union) | (common > _INSIDE * smaller)
    kept = np.ones(len(found), dtype=bool)
    for first, second in zip(surer[same].tolist(), other[same].tolist(), strict=True):
        if kept[first]:
            kept[second] = False
    return found[kept]


def _pairs(found: Floats, reach: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Every two boxes (n, 5) so near that they may overlap when enlarged by `reach`: the earlier ones and the later
    ones, in the order of the earlier."""
    if len(found) < 2:
        return np.empty(0, dtype=np.intp), np.empty(0, dtype=np.intp)
    farthest = reach * float(found[:, 2:4].max())
    places = found[:, :2].astype(np.float64)
    order = np.argsort(places[:, 0], kind="stable")
    x, y = places[order].T
    ends = np.searchsorted(x, x + farthest, side="right")
    found_pairs = []
    for start in range(0, len(x), _BLOCK):
        # Of those to the right of each, the ones before its end are near in x; of these, some are near in y.
        here = np.arange(start, min(start + _BLOCK, len(x)))
        near = ends[here] - here - 1
        first = np.repeat(here, near)
        second = first + 1 + np.arange(len(first)) - np.repeat(np.cumsum(near) - near, near)
        close = np.abs(y[first] - y[second]) <= farthest
        found_pairs.append(np.stack((order[first[close]], order[second[close]])))
    pairs = np.sort(np.concatenate(found_pairs, axis=1), axis=0)
    earlier, later = pairs[:, np.lexsort(pairs[::-1])]
    return earlier, later


def _common_area(boxes: Floats, others: Floats) -> Floats:
    low = np.maximum(boxes[:, :2] - boxes[:, 2:4] / 2, others[:, :2] - others[:, 2:4] / 2)
    high = np.minimum(boxes[:, :2] + boxes[:, 2:4] / 2, others[:, :2] + others[:, 2:4] / 2)
    area: Floats = np.maximum(high - low, 0).prod(axis=1)
    return area


def near_others(found: Floats, reach: float = TOUCHING) -> NDArray[np.bool_]:
    """Of each box (n, 5), whether the ellipse in it comes near that of another.

    `reach` is the distance of their centres, as a share of that at which they would touch.
    """
    first, second = _pairs(found, reach)
    apart = found[first, :2] - found[second, :2]
    sides = np.maximum((found[first, 2:4] + found[second, 2:4]) / 2, _SMALLEST)
    close = np.hypot(*(apart / sides).T) < reach
    near = np.zeros(len(found), dtype=bool)
    near[first[close]] = near[second[close]] = True
    return near
