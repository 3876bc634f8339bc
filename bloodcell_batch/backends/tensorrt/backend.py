"""The backend: sidecar, probe, engine, canaries, and only then slides."""

import threading
from pathlib import Path

import numpy as np
import tensorrt as trt
import torch
from numpy.typing import NDArray

from bloodcell_batch.backends.canary import canary_images, disagreement
from bloodcell_batch.backends.contract import BackendOptions, Outputs
from bloodcell_batch.backends.device_batches import DeviceBatches
from bloodcell_batch.backends.tensorrt.probe import probe
from bloodcell_batch.backends.tensorrt.runtime import Plan
from bloodcell_batch.backends.tensorrt.sidecar import Sidecar, read_sidecar, this_machine
from bloodcell_batch.errors import BackendError
from bloodcell_batch.model.file import ModelFile

_REBUILD = "Make the plan again on this machine with bloodcell-batch export-trt, or leave --backend out."


class TensorRtBackend:
    """A plan that passed every check."""

    def __init__(self, model: ModelFile, path: Path, device: str, options: BackendOptions) -> None:
        self._lock = threading.Lock()  # batches share their buffers on the device
        try:
            self._sidecar, self._batches = _open(model, path, device, options)
        except BackendError as error:
            raise BackendError(f"{path}: {error.message}", hint=_REBUILD) from error
        except torch.OutOfMemoryError as error:
            raise BackendError(f"{path}: not enough GPU memory for the plan", hint=_REBUILD) from error

    @property
    def description(self) -> str:
        """Version, device, precision and batch."""
        machine = self._sidecar.machine
        batch = f"batches of {self._batches.size}"
        return f"TensorRT {machine.tensorrt}, {machine.gpu}, {self._sidecar.precision}, {batch}"

    def infer(self, images: NDArray[np.uint8]) -> Outputs:
        """See `Backend.infer`."""
        with self._lock:
            return self._batches(images)

    def close(self) -> None:
        """See `Backend.close`; PyTorch and TensorRT free their memory with the objects."""


def _open(model: ModelFile, path: Path, device: str, options: BackendOptions) -> tuple[Sidecar, DeviceBatches]:
    sidecar = read_sidecar(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BackendError(f"the plan can't be read: {error.strerror or error}") from error
    wrong = sidecar.mismatch(data, model, this_machine(device, trt.__version__))
    if wrong:
        raise BackendError(wrong)
    timing = sidecar.timing
    if timing.slower and not options.named:
        rates = f"{timing.tensorrt:,.0f} against {timing.pytorch:,.0f} images/s"
        raise BackendError(f"the plan was slower than PyTorch when it was built ({rates})")
    wrong = probe(path, device)
    if wrong:
        raise BackendError(wrong)
    batches = open_batches(Plan(data, torch.device(device)), torch.device(device))
    pictures = canary_images(model.header.preprocessing.input_size)
    wrong = disagreement(batches(pictures)[0], np.array(sidecar.canary, dtype=np.float32))
    if wrong:
        raise BackendError(f"the plan fails on the canary pictures: {wrong}")
    return sidecar, batches


def open_batches(plan: Plan, device: torch.device) -> DeviceBatches:
    """The plan's usual batch as a CUDA graph; the tail of a run is launched as small as it is."""
    shape = (plan.side, plan.side, 3)
    return DeviceBatches(device, plan.profile[1], shape, plan.widths, plan.launch, pad=False, graph=True)
