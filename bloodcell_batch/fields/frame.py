"""A plain frame around a photograph, as exports and montages have: its inner edge cuts cells as that of the image."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_PLAIN = 12  # levels by which the pixels of a frame may differ
_OTHER = 24  # levels by which the photograph differs from it
_MOSTLY, _HARDLY = 0.6, 0.1  # share of a line that differs so where the photograph begins, and of one just before
_ABRUPT = 3  # lines between them: a row of cells on empty ground differs little by little
_BLURRED = 10  # lines of the edge that compression blurs
_DEEPEST = 1 / 3  # of each side


class Frame(NamedTuple):
    """Width of the frame at each side, in pixels."""

    left: int
    upper: int
    right: int
    lower: int


def frame_of(rgb: NDArray[np.uint8]) -> Frame:
    """The frame of an image, uint8 (height, width, 3); zeros where there is none."""
    across = rgb.transpose(1, 0, 2)
    return Frame(_depth(across), _depth(rgb), _depth(across[::-1]), _depth(rgb[::-1]))


def _depth(lines: NDArray[np.uint8]) -> int:
    """Of lines (n, m, 3) from one side, how many are frame."""
    most = int(_DEEPEST * len(lines))
    if most < 1 or int(np.ptp(lines[0], axis=0).max()) > _PLAIN:
        return 0
    colour = np.median(lines[0], axis=0)
    plain = next((n for n in range(most) if np.abs(lines[n] - colour).max() > _PLAIN), most)
    start = max(0, plain - _ABRUPT)
    edge = lines[start : min(plain + _BLURRED, most)]
    other = (np.abs(edge - colour).max(axis=2) > _OTHER).mean(axis=1)
    begins = np.flatnonzero(other >= _MOSTLY)
    if not begins.size or other[max(0, begins[0] - _ABRUPT)] > _HARDLY:
        return 0
    return start + int(begins[0])
