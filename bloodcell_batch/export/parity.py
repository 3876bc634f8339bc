"""How far an exported network is from PyTorch in float32, and how far it may be."""

import itertools
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from bloodcell_batch.backends.contract import Outputs
from bloodcell_batch.errors import BackendError
from bloodcell_batch.export.parity_images import Sample
from bloodcell_batch.model.file import ModelFile
from bloodcell_batch.model.network import load_inference_module
from bloodcell_batch.progress import counted

_BATCH = 32
_LEAST_AGREEMENT = 0.9995
_LARGEST_DIFFERENCE = {"fp32": 1e-4, "fp16": 0.02}


@dataclass(frozen=True, slots=True)
class Parity:
    """The comparison. `max_difference` is of a probability; `top1_agreement` the share of equal top classes, 0-1."""

    images: int
    source: str
    top1_agreement: float
    max_difference: float

    def as_text(self) -> str:
        """One line."""
        agree = f"same class on {self.top1_agreement:.2%} of {counted(self.images, 'image')} ({self.source})"
        return f"against PyTorch float32: {agree}, probabilities differ by at most {self.max_difference:.2g}"

    def as_dict(self) -> dict[str, object]:
        """For a sidecar."""
        return asdict(self)


def reference_outputs(model: ModelFile, images: NDArray[np.uint8]) -> Outputs:
    """Probabilities and features of PyTorch on the CPU in float32."""
    module = load_inference_module(model)
    with torch.inference_mode():
        parts = [module(torch.from_numpy(images[start : start + _BATCH])) for start in range(0, len(images), _BATCH)]
    return torch.cat([part[0] for part in parts]).numpy(), torch.cat([part[1] for part in parts]).numpy()


def measure_parity(sample: Sample, reference: Outputs, infer: Callable[[NDArray[np.uint8]], Outputs]) -> Parity:
    """Compare a network with PyTorch's `reference` on the sample, in batches of 1, 2 and many."""
    images = sample.images
    cuts = sorted({0, min(1, len(images)), min(3, len(images)), *range(3 + _BATCH, len(images), _BATCH), len(images)})
    parts = [infer(images[start:stop])[0] for start, stop in itertools.pairwise(cuts)]
    found = np.concatenate(parts)
    return Parity(
        images=len(images),
        source=sample.source,
        top1_agreement=float((found.argmax(axis=1) == reference[0].argmax(axis=1)).mean()),
        max_difference=float(np.abs(found - reference[0]).max()) if np.isfinite(found).all() else float("inf"),
    )


def require_parity(parity: Parity, precision: str, what: str) -> None:
    """Refuse a network that is not the same as PyTorch's.

    Raises:
        BackendError: it differs by more than its precision explains.
    """
    if parity.top1_agreement >= _LEAST_AGREEMENT and parity.max_difference <= _LARGEST_DIFFERENCE[precision]:
        return
    need = f"needed: {_LEAST_AGREEMENT:.2%} and {_LARGEST_DIFFERENCE[precision]:g}"
    hint = "Nothing was published. Try --precision fp32, and report it if that fails too."
    raise BackendError(f"The {what} is not the same network: {parity.as_text()} ({need}).", hint=hint)
