"""A look that needs no network: does a picture plainly show one cell in its middle?"""

from dataclasses import dataclass
from functools import lru_cache
from math import hypot, pi, sqrt

import numpy as np
from numpy.typing import NDArray

_SIDE = 32  # pixels that are looked at, along each side
_BLUE = 0.75  # share of the blue that is taken from the red: red cells have less blue than red, stained cells more
_SMOOTH = 3  # pixels over which noise and the gaps between lobes of a nucleus are averaged
_DARK, _LIGHT = 0.01, 0.9  # quantiles: of the darkest, and of the ground
_CONTRAST = 30.0  # levels between them, from which on something is stained
_LEAST, _MOST = 0.006, 0.5  # share of the picture under the stained group
_BESIDE = 0.12  # share of the sides by which its middle may lie beside the centre
_SECOND = 0.6  # share of its area from which on another group could be meant as well
_ROUND = 1.5  # length over width up to which a group is no pair
_LONGEST = 2.5  # length over width of a single nucleus, however it is bent
_LONG = 2.4  # red cells that a single nucleus is long
_SPREAD = 2.6  # second moment of the group, over that of a disc of its area
_COMPACT = 1.25  # spread of all that is stained, up to which it can only be one group: two discs side by side have 1.5
_AXIS = (np.arange(_SIDE) + 0.5) / _SIDE - 0.5
_POWERS = np.stack([np.ones(_SIDE), _AXIS, _AXIS**2]).astype(np.float32)
_REDDER = np.array([1, 0, -_BLUE], dtype=np.float32)
_NEIGHBOURS = np.ones((3, 3), dtype=bool)


@dataclass(frozen=True, slots=True)
class _Shape:
    """Of a group of stained pixels; lengths are shares of the sides, from the picture's centre."""

    area: float
    beside: float
    length: float
    elongation: float
    spread: float

    @property
    def is_central(self) -> bool:
        return _LEAST < self.area < _MOST and self.beside <= _BESIDE


def plainly_one_cell(rgb: NDArray[np.uint8], red_cell_pixels: float | None) -> bool:
    """Whether one stained group, neither long nor beside the middle, dominates a picture.

    False says nothing: pale cells, platelets among others and nuclei that lie apart are no less single cells. Two cells
    whose nuclei touch can look like one.

    Args:
        rgb: uint8 (height, width, 3), upright.
        red_cell_pixels: diameter of a red cell in the pictures of the folder, if it is known.
    """
    stained = _stained(rgb)
    if stained is None:
        return False
    together = _shape_of(stained)
    if together.is_central and together.spread < _COMPACT and together.elongation < _ROUND:
        return True
    largest, second = _groups(stained)
    group = _shape_of(largest)
    if not group.is_central or second > _SECOND:
        return False
    if group.elongation < _ROUND:
        return True
    if red_cell_pixels is None or group.elongation > _LONGEST or group.spread > _SPREAD:
        return False
    longest: int = max(rgb.shape[:2])
    return group.length * longest < _LONG * red_cell_pixels


def _stained(rgb: NDArray[np.uint8]) -> NDArray[np.bool_] | None:
    """Which of 32x32 pixels are, None if none stands out.

    Sums of neighbours instead of means: they are whole quarters of a level, exact whatever order a BLAS adds in.
    """
    small = rgb.reshape(-1, 3)[_places(*rgb.shape[:2])]
    light = _SUMS @ (small @ _REDDER).reshape(_SIDE, _SIDE) @ _SUMS.T
    places = [int(share * light.size) for share in (_DARK, _LIGHT)]
    dark, ground = np.partition(light, places, axis=None)[places].tolist()
    if ground - dark < _CONTRAST * _SMOOTH**2:
        return None
    found: NDArray[np.bool_] = light < (dark + ground) / 2
    return found


@lru_cache(maxsize=32)
def _places(height: int, width: int) -> NDArray[np.intp]:
    """Of the pixels that are looked at, among those of a picture."""
    rows, columns = (((np.arange(_SIDE) + 0.5) * length / _SIDE).astype(np.intp) for length in (height, width))
    return (rows[:, None] * width + columns).ravel()


def _sums() -> NDArray[np.float32]:
    """Adds up neighbours along an axis, those at the ends twice."""
    beside = np.clip(np.arange(_SIDE)[:, None] + np.arange(_SMOOTH) - _SMOOTH // 2, 0, _SIDE - 1)
    sums: NDArray[np.float32] = (beside[:, :, None] == np.arange(_SIDE)).sum(axis=1).astype(np.float32)
    return sums


_SUMS = _sums()


def _groups(stained: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], float]:
    """The largest connected group, and the area of the second, as a share of its own."""
    from scipy import ndimage  # noqa: PLC0415 - a tenth of a second; most pictures do without

    labels, _ = ndimage.label(stained, _NEIGHBOURS)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    largest = int(sizes.argmax())
    second = sizes[sizes.argsort()[-2]] / sizes[largest] if len(sizes) > 2 else 0.0
    return labels == largest, float(second)


def _shape_of(group: NDArray[np.bool_]) -> _Shape:
    """Its moments, all in two products."""
    (count, of_x, of_xx), (of_y, of_xy, _), (of_yy, _, _) = (_POWERS @ group.astype(np.float32) @ _POWERS.T).tolist()
    x, y = of_x / count, of_y / count
    xx, xy, yy = of_xx / count - x * x, of_xy / count - x * y, of_yy / count - y * y
    apart = hypot((xx - yy) / 2, xy)
    long, short = (xx + yy) / 2 + apart, max((xx + yy) / 2 - apart, 1e-6)
    area, elongation = count / _SIDE**2, sqrt(long / short)
    return _Shape(
        area=area,
        beside=max(abs(x), abs(y)),
        length=sqrt(4 / pi * area * elongation),
        elongation=elongation,
        spread=2 * pi * (xx + yy) / area,
    )
