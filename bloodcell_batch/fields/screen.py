"""A look that needs no network: does a picture plainly show one cell in its middle?"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

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
_AXIS = (np.arange(_SIDE) + 0.5) / _SIDE - 0.5
_NEIGHBOURS = np.ones((3, 3), dtype=bool)


@dataclass(frozen=True, slots=True)
class _Group:
    """The largest connected patch of what is stained; lengths are shares of the sides, from the picture's centre."""

    area: float
    beside: float
    length: float
    elongation: float
    spread: float
    second: float


def plainly_one_cell(rgb: NDArray[np.uint8], red_cell_pixels: float | None) -> bool:
    """Whether one stained group, neither long nor beside the middle, dominates a picture.

    False says nothing: pale cells, platelets among others and nuclei that lie apart are no less single cells. Two cells
    whose nuclei touch can look like one.

    Args:
        rgb: uint8 (height, width, 3), upright.
        red_cell_pixels: diameter of a red cell in the pictures of the folder, if it is known.
    """
    group = _stained_group(rgb)
    if group is None or not _LEAST < group.area < _MOST or group.beside > _BESIDE or group.second > _SECOND:
        return False
    if group.elongation < _ROUND:
        return True
    if red_cell_pixels is None or group.elongation > _LONGEST or group.spread > _SPREAD:
        return False
    longest: int = max(rgb.shape[:2])
    return group.length * longest < _LONG * red_cell_pixels


def _stained_group(rgb: NDArray[np.uint8]) -> _Group | None:
    height, width = rgb.shape[:2]
    rows, columns = (((np.arange(_SIDE) + 0.5) * length / _SIDE).astype(np.intp) for length in (height, width))
    small = rgb[rows[:, None], columns]
    light = small[:, :, 0] - np.float32(_BLUE) * small[:, :, 2]
    light = ndimage.uniform_filter(light, _SMOOTH)
    places = [int(share * light.size) for share in (_DARK, _LIGHT)]
    dark, ground = np.partition(light, places, axis=None)[places]
    if ground - dark < _CONTRAST:
        return None
    labels, _ = ndimage.label(light < (dark + ground) / 2, _NEIGHBOURS)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    largest = int(sizes.argmax())
    second = sizes[sizes.argsort()[-2]] / sizes[largest] if len(sizes) > 2 else 0.0
    y, x = (_AXIS[indices] for indices in np.nonzero(labels == largest))
    middle_x, middle_y = x.mean(), y.mean()
    x, y = x - middle_x, y - middle_y
    xx, xy, yy = np.dot(x, x) / x.size, np.dot(x, y) / x.size, np.dot(y, y) / x.size
    apart = float(np.hypot((xx - yy) / 2, xy))
    long, short = (xx + yy) / 2 + apart, max((xx + yy) / 2 - apart, 1e-6)
    area = float(sizes[largest]) / light.size
    elongation = float(np.sqrt(long / short))
    return _Group(
        area=area,
        beside=float(max(abs(middle_x), abs(middle_y))),
        length=float(np.sqrt(4 / np.pi * area * elongation)),
        elongation=elongation,
        spread=float(2 * np.pi * (xx + yy) / area),
        second=float(second),
    )
