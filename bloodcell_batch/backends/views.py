"""A backend that looks at each cell several times, mirrored and turned, and averages what it sees.

A cell has no upside or left: every view shows a cell as likely as the first. Averaging them makes the network's errors
rarer among the cells that it is sure of, for as many times the computing.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bloodcell_batch.backends.contract import Backend, Outputs

Images = NDArray[np.uint8]


def _turned(images: Images) -> Images:
    """By 90 degrees."""
    return images.transpose(0, 2, 1, 3)[:, ::-1]


VIEWS: tuple[Callable[[Images], Images], ...] = (
    lambda images: images,
    lambda images: images[:, :, ::-1],
    lambda images: images[:, ::-1, ::-1],
    lambda images: images[:, ::-1],
    _turned,
    lambda images: _turned(images)[:, :, ::-1],
    lambda images: _turned(images)[:, ::-1, ::-1],
    lambda images: _turned(images)[:, ::-1],
)
"""The eight ways to lay a square on itself; of uint8 images (N, S, S, 3)."""


class ViewsBackend:
    """Another backend over the first `count` of `VIEWS`: mean probabilities and mean features."""

    def __init__(self, backend: Backend, count: int) -> None:
        self._backend = backend
        self._views = VIEWS[:count]

    @property
    def description(self) -> str:
        """That of the backend, and the number of views."""
        return f"{self._backend.description}, mean of {len(self._views)} views"

    def infer(self, images: Images) -> Outputs:
        """See `Backend.infer`."""
        found = [self._backend.infer(np.ascontiguousarray(view(images))) for view in self._views]
        probabilities, features = (sum(parts[1:], parts[0]) / len(parts) for parts in zip(*found, strict=True))
        return probabilities, features

    def close(self) -> None:
        """See `Backend.close`."""
        self._backend.close()
