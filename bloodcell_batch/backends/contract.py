"""What every backend promises, and the padding that lets it keep the promise."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bloodcell_batch.model_file import ModelFile

Outputs = tuple[NDArray[np.float32], NDArray[np.float32]]


class Backend(Protocol):
    """A network ready to run.

    Each backend computes in batches of one fixed size, padding the last, so that the numbers of an image don't
    depend on how many others were handed over with it.
    """

    @property
    def description(self) -> str:
        """Runtime, device and precision, for the run record."""

    def infer(self, images: NDArray[np.uint8]) -> Outputs:
        """Probabilities (N, C) and features (N, D), float32, of uint8 RGB images (N, S, S, 3), N >= 1.

        The arrays belong to the caller; no later call changes them.
        """

    def close(self) -> None:
        """Release the runtime; closing twice is allowed."""


class BackendModule(Protocol):
    """What every module in the table offers."""

    def why_not(self, device: str) -> str:
        """Why the runtime can't run on `device` here, in a few words; empty if it can. Must be cheap."""

    def open_backend(self, model: ModelFile, device: str) -> Backend:
        """Load the model.

        Raises:
            BackendError: the runtime is there but can't run this model.
        """


def in_fixed_batches(images: NDArray[np.uint8], size: int, run: Callable[[NDArray[np.uint8]], Outputs]) -> Outputs:
    """Call `run` on batches of exactly `size` images and join the results; padding repeats the last image."""
    parts = [run(padded(images[start : start + size], size)) for start in range(0, len(images), size)]
    probabilities = np.concatenate([part[0] for part in parts])[: len(images)]
    features = np.concatenate([part[1] for part in parts])[: len(images)]
    return probabilities, features


def padded(images: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The images, the last one repeated until there are `size`."""
    missing = size - len(images)
    return images if missing == 0 else np.concatenate([images, np.repeat(images[-1:], missing, axis=0)])
