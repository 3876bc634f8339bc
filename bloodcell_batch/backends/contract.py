"""What every backend promises, and the padding that lets it keep the promise."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bloodcell_batch.config.fields import Precision
from bloodcell_batch.model.file import ModelFile

Outputs = tuple[NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class BackendOptions:
    """What the user may ask of a backend.

    `named` is true if the user named the backend: it must then run or say why not. `batch` is the number of images
    that will be handed over at a time. `plan` is a TensorRT plan elsewhere than beside the model. `views` is how often
    each cell is looked at, as the model wants it if None, see `backends.views`. `threads` is how many processors to
    use; all that there are if None.
    """

    precision: Precision = "auto"
    batch: int = 256
    plan: Path | None = None
    named: bool = False
    views: int | None = None
    threads: int | None = None


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

        The arrays belong to the caller; no later call changes them. It may be called from several threads at once.
        """

    def close(self) -> None:
        """Release the runtime; closing twice is allowed."""


class BackendModule(Protocol):
    """What every module in the table offers."""

    def why_not(self, model: ModelFile, device: str, options: BackendOptions) -> str:
        """Why the runtime is not set up for `model` on `device`, in a few words; empty if it is. Must be cheap."""

    def open_backend(self, model: ModelFile, device: str, options: BackendOptions) -> Backend:
        """Load the model.

        Raises:
            BackendError: the runtime is there but can't run this model.
        """


def padded(images: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The images, the last one repeated until there are `size`."""
    missing = size - len(images)
    return images if missing == 0 else np.concatenate([images, np.repeat(images[-1:], missing, axis=0)])
