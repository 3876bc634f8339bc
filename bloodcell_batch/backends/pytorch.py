"""PyTorch: the reference in float32, on CUDA or the CPU."""

import numpy as np
import torch
from numpy.typing import NDArray

from bloodcell_batch.backends.contract import Outputs, in_fixed_batches
from bloodcell_batch.errors import BackendError
from bloodcell_batch.model_file import ModelFile
from bloodcell_batch.network import load_inference_module

_BATCH = {"cpu": 32, "cuda": 256}


def why_not(device: str) -> str:
    """CUDA needs a driver and a device; the CPU is always there."""
    if device == "cuda" and not torch.cuda.is_available():
        return "PyTorch finds no usable CUDA device"
    return ""


class PyTorchBackend:
    """Float32, channels-last."""

    def __init__(self, model: ModelFile, device: str) -> None:
        self._device = torch.device(device)
        self._module = load_inference_module(model).to(self._device)
        self._module.network.to(memory_format=torch.channels_last)
        self._batch = _BATCH[device]

    @property
    def description(self) -> str:
        """Version, device and precision."""
        where = torch.cuda.get_device_name(self._device) if self._device.type == "cuda" else "CPU"
        return f"PyTorch {torch.__version__}, {where}, float32"

    def infer(self, images: NDArray[np.uint8]) -> Outputs:
        """See `Backend.infer`."""
        return in_fixed_batches(images, self._batch, self._run)

    def close(self) -> None:
        """See `Backend.close`."""
        self._module.to("cpu")

    def _run(self, images: NDArray[np.uint8]) -> Outputs:
        with torch.inference_mode():
            probabilities, features = self._module(torch.from_numpy(images).to(self._device))
            return probabilities.cpu().numpy(), features.cpu().numpy()


def open_backend(model: ModelFile, device: str) -> PyTorchBackend:
    """Load the model on `device` ("cuda" or "cpu").

    Raises:
        BackendError: the device refused the model.
    """
    try:
        return PyTorchBackend(model, device)
    except torch.cuda.OutOfMemoryError as error:
        raise BackendError(f"not enough GPU memory: {error}") from error
