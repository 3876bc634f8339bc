"""Backends that look at a cell more than once, mirrored and turned, and average what they see.

A cell has no upside or left: every view shows a cell as likely as the first. Averaging them makes the network's errors
rarer, for as many times the computing.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bloodcell_batch.backends.contract import Backend, Outputs
from bloodcell_batch.model.second_look import looked_again, turned

Images = NDArray[np.uint8]

VIEWS: tuple[Callable[[Images], Images], ...] = (
    lambda images: images,
    lambda images: images[:, :, ::-1],
    lambda images: images[:, ::-1, ::-1],
    lambda images: images[:, ::-1],
    turned,
    lambda images: turned(images)[:, :, ::-1],
    lambda images: turned(images)[:, ::-1, ::-1],
    lambda images: turned(images)[:, ::-1],
)
"""The eight ways to lay a square on itself; of uint8 images (N, S, S, 3)."""


class ViewsBackend:
    """Another backend over all of `VIEWS`: mean probabilities and mean features."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    @property
    def description(self) -> str:
        """That of the backend, and the number of views."""
        return f"{self._backend.description}, mean of {len(VIEWS)} views"

    def infer(self, images: Images) -> Outputs:
        """See `Backend.infer`."""
        found = [self._backend.infer(np.ascontiguousarray(view(images))) for view in VIEWS]
        probabilities, features = (sum(parts[1:], parts[0]) / len(parts) for parts in zip(*found, strict=True))
        return probabilities, features

    def close(self) -> None:
        """See `Backend.close`."""
        self._backend.close()


class SecondLookBackend:
    """Another backend that looks again at the cells whose top probability is below `limit`; features stay those of the
    first look, on which the outlier score is fitted."""

    def __init__(self, backend: Backend, limit: float) -> None:
        self._backend, self._limit = backend, limit

    @property
    def description(self) -> str:
        """That of the backend, and which cells it looks at again."""
        return f"{self._backend.description}, a second look below {self._limit:g}"

    def infer(self, images: Images) -> Outputs:
        """See `Backend.infer`."""
        first, features = self._backend.infer(images)
        return looked_again(first, images, self._limit, lambda again: self._backend.infer(again)[0]), features

    def close(self) -> None:
        """See `Backend.close`."""
        self._backend.close()


def with_views(backend: Backend, views: int | None, second_look: float) -> Backend:
    """A backend that looks at each cell `views` times; as the model wants it (`second_look`, see `ModelHeader`) if that
    is None."""
    if views is None:
        return SecondLookBackend(backend, second_look) if second_look > 0 else backend
    return ViewsBackend(backend) if views > 1 else backend
