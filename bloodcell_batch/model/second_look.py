"""A second look at the cells that a network is not sure of: the same picture, turned by quarters.

A cell has no upside. What the network says of its turned picture is as good as its first word, and where it hesitates,
the mean of the four is right more often; where it is sure, the three others would only cost time.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]

SURE = 0.95
"""The top probability from which on one look is enough, of the networks that gain from a second."""

_FEW = 64  # cells that are looked at again at once, however few the first look was at
_RAMP = 0.05  # below the limit, over which the second look gains its full weight: close to it no number may jump


def turned(images: Images) -> Images:
    """Images uint8 (N, S, S, 3) by 90 degrees."""
    return images.transpose(0, 2, 1, 3)[:, ::-1]


TURNS: tuple[Callable[[Images], Images], ...] = (
    turned,
    lambda images: images[:, ::-1, ::-1],
    lambda images: turned(images)[:, ::-1, ::-1],
)
"""What the second look sees, beside the picture as it is."""


def all_turns(images: Images) -> NDArray[np.uint8]:
    """The images (N, S, S, 3) by each of `TURNS`: (3N, S, S, 3), a turn after the other."""
    return np.concatenate([turn(images) for turn in TURNS])


def looked_again(
    first: NDArray[np.float32], images: Images, limit: float, look: Callable[[Images], NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Probabilities (N, C) after a second look at the cells whose top probability is below `limit`.

    Args:
        first: probabilities (N, C) of the images as they are; they stay as they are.
        images: uint8 (N, S, S, 3).
        limit: 0-1; 0 for no second look.
        look: probabilities (M, C) of any number of images.
    """
    unsure = np.flatnonzero(first.max(axis=1) < limit)
    if not len(unsure):
        return first
    found = first.copy()
    # No more pictures at once than the first look had, or a few batches: three turns of all would fill the memory.
    most = max(len(images) // len(TURNS), _FEW)
    for start in range(0, len(unsure), most):
        some = unsure[start : start + most]
        again = look(all_turns(images[some])).reshape(len(TURNS), len(some), -1)
        found[some] = both_looks(first[some], again, limit)
    return found


def both_looks(first: NDArray[np.float32], again: NDArray[np.float32], limit: float) -> NDArray[np.float32]:
    """Probabilities (N, C) of the first look (N, C) and of the turned pictures (T, N, C): the first alone from `limit`
    on, the mean of all a little below, and in between something between the two."""
    weight = np.clip((limit - first.max(axis=1, keepdims=True)) / _RAMP, 0, 1)
    mean = (first + again.sum(axis=0)) / (1 + len(again))
    found: NDArray[np.float32] = (first + weight * (mean - first)).astype(np.float32)
    return found
