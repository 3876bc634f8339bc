"""From the finder's maps to boxes: local maxima, their sizes, and one box per cell."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float32]

_LARGEST_LOG_SIZE = 2.5  # a cell of 12 red cells; the exponential of a wild value would overflow
_OVERLAP = 0.45  # intersection over union from which on two boxes of a class are one cell
_INSIDE = 0.75  # share of the smaller box inside the larger, such as one lobe of a nucleus


def peaks(chances: Floats, sizes: Floats, threshold: float, stride: int, red_cell_side: float) -> Floats:
    """The local maxima of one class's map of one tile.

    Args:
        chances: (H, W), 0-1.
        sizes: (2, H, W), the natural logarithm of width and height in red cells.
        threshold: lowest chance that counts.
        stride: pixels of the tile per place of the map.
        red_cell_side: pixels of a red cell in the tile.

    Returns:
        float32 (n, 5): x, y, width, height in pixels of the tile, and the chance.
    """
    highest = ndimage.maximum_filter(chances, size=3, mode="constant")
    rows, columns = np.nonzero((chances >= threshold) & (chances == highest))
    found = np.empty((len(rows), 5), dtype=np.float32)
    found[:, 0] = (columns + 0.5 + _vertex(chances.T, columns, rows)) * stride
    found[:, 1] = (rows + 0.5 + _vertex(chances, rows, columns)) * stride
    logarithms = np.clip(sizes[:, rows, columns], -_LARGEST_LOG_SIZE, _LARGEST_LOG_SIZE)
    found[:, 2:4] = np.exp(logarithms.T) * red_cell_side
    found[:, 4] = chances[rows, columns]
    return found


def _vertex(chances: Floats, along: NDArray[np.intp], across: NDArray[np.intp]) -> Floats:
    """Where the parabola through a maximum and its two neighbours has its vertex, -0.5 to 0.5 from the maximum."""
    last = chances.shape[0] - 1
    before, after = chances[np.maximum(along - 1, 0), across], chances[np.minimum(along + 1, last), across]
    bend = before + after - 2 * chances[along, across]
    offset = np.where(bend < 0, (before - after) / np.where(bend < 0, 2 * bend, 1), 0)
    inner = (along > 0) & (along < last)
    clipped: Floats = np.where(inner, np.clip(offset, -0.5, 0.5), 0).astype(np.float32)
    return clipped


def without_doubles(found: Floats) -> Floats:
    """The boxes (n, 5) without those that are the same cell as a surer one; surest first."""
    found = found[np.argsort(-found[:, 4], kind="stable")]
    kept: list[int] = []
    left = np.ones(len(found), dtype=bool)
    areas = found[:, 2] * found[:, 3]
    for index in range(len(found)):
        if not left[index]:
            continue
        kept.append(index)
        common = _common_area(found[index], found)
        union = areas[index] + areas - common
        smaller = np.minimum(areas[index], areas)
        left &= (common <= _OVERLAP * union) & (common <= _INSIDE * smaller)
    return found[kept]


def _common_area(box: Floats, others: Floats) -> Floats:
    low = np.maximum(box[:2] - box[2:4] / 2, others[:, :2] - others[:, 2:4] / 2)
    high = np.minimum(box[:2] + box[2:4] / 2, others[:, :2] + others[:, 2:4] / 2)
    area: Floats = np.maximum(high - low, 0).prod(axis=1)
    return area


def near_others(found: Floats) -> NDArray[np.bool_]:
    """Of each box (n, 5), whether the ellipse in it comes as near as 5 % of their sizes to that of another."""
    if len(found) < 2:
        return np.zeros(len(found), dtype=bool)
    apart = found[:, None, :2] - found[None, :, :2]
    reach = (found[:, None, 2:4] + found[None, :, 2:4]) / 2
    distance = np.hypot(*np.moveaxis(apart / reach, 2, 0))
    np.fill_diagonal(distance, np.inf)
    near: NDArray[np.bool_] = (distance < 1.05).any(axis=1)
    return near
