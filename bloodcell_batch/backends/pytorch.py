"""PyTorch on CUDA (half precision, channels-last, CUDA graphs) or on the CPU (float32, the reference)."""

import json
import logging
import threading
from pathlib import Path

import numpy as np
import platformdirs
import torch
from numpy.typing import NDArray
from torch import Tensor

from bloodcell_batch.backends.canary import canary_images, disagreement
from bloodcell_batch.backends.contract import BackendOptions, Outputs
from bloodcell_batch.backends.device_batches import DeviceBatches
from bloodcell_batch.errors import BackendError
from bloodcell_batch.model.file import ModelFile
from bloodcell_batch.model.network import InferenceModule, load_inference_module

_log = logging.getLogger(__name__)

_CPU_BATCH = 32
_FINDER_BATCH = 1  # on the CPU; a field is a few large tiles, and padding them would cost several times the work
_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_NAMES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}


def why_not(model: ModelFile, device: str, options: BackendOptions) -> str:
    """CUDA needs a driver and a device; the CPU is always there."""
    if device.startswith("cuda") and not torch.cuda.is_available():
        return "PyTorch finds no usable CUDA device"
    if options.precision == "int8":
        return "PyTorch does not run int8 networks"
    return ""


class PyTorchBackend:
    """Channels-last, in batches of one fixed size that shrinks when memory runs out."""

    def __init__(self, model: ModelFile, device: str, options: BackendOptions) -> None:
        self._lock = threading.Lock()  # batches share their buffers on the device
        self._device = torch.device(device)
        self._model = model
        self._side = model.header.preprocessing.input_size
        self._precision = options.precision
        if options.precision == "auto":
            self._precision = "fp16" if self._device.type == "cuda" else "fp32"
        self._module = self._load()
        self._width = self._feature_width()
        on_cpu = _CPU_BATCH if model.header.finder is None else _FINDER_BATCH
        size = options.batch if self._device.type == "cuda" else on_cpu
        size = min(size, _remembered(self._key) or size)
        self._batches = self._largest_that_fits(size)
        if self._batches.size < size:
            _remember(self._key, self._batches.size)

    @property
    def description(self) -> str:
        """Version, device, precision and batch."""
        where = torch.cuda.get_device_name(self._device) if self._device.type == "cuda" else "CPU"
        return f"PyTorch {torch.__version__}, {where}, {_NAMES[self._precision]}, batches of {self._batches.size}"

    @property
    def device(self) -> torch.device:
        """Where the network runs."""
        return self._device

    def infer(self, images: NDArray[np.uint8]) -> Outputs:
        """See `Backend.infer`."""
        with self._lock:
            return self._infer(images)

    def _infer(self, images: NDArray[np.uint8]) -> Outputs:
        while True:
            try:
                return self._batches(images)
            except torch.OutOfMemoryError as error:
                # Somebody else took memory since the start: go on with less, from the first image of this call.
                size = self._batches.size
                if size == 1:
                    raise BackendError(f"Not enough GPU memory for a single image: {error}.", hint=_FREE) from error
                _log.warning("out of GPU memory with batches of %d; going on with half of that", size)
                del self._batches
                self._batches = self._largest_that_fits(size // 2)

    def close(self) -> None:
        """See `Backend.close`."""
        self._module.to("cpu")

    @property
    def _key(self) -> str:
        where = torch.cuda.get_device_name(self._device) if self._device.type == "cuda" else "CPU"
        return f"{self._model.sha256} {where} {self._precision}"

    def _load(self) -> InferenceModule:
        """The module in the asked precision, or in float32 if half precision does not agree with it."""
        module = load_inference_module(self._model).to(self._device)
        module.network.to(memory_format=torch.channels_last)
        if self._precision == "fp32":
            return module
        pictures = torch.from_numpy(canary_images(self._side)).to(self._device)
        with torch.inference_mode():
            reference = module(pictures)[0].cpu().numpy()
            half = module.cast_body(_DTYPES[self._precision])
            half.network.to(memory_format=torch.channels_last)
            found = half(pictures)[0].cpu().numpy()
        wrong = disagreement(found, reference)
        if not wrong:
            return module
        _log.warning("%s is not used: %s", _NAMES[self._precision], wrong)
        self._precision = "fp32"
        return self._load()

    def _feature_width(self) -> int:
        with torch.inference_mode():
            blank = torch.zeros((1, self._side, self._side, 3), dtype=torch.uint8, device=self._device)
            return int(self._module(blank)[1].shape[1])

    def _launch(self, images: Tensor, probabilities: Tensor, features: Tensor) -> None:
        found, found_features = self._module(images)
        probabilities.copy_(found)
        features.copy_(found_features)

    def _make(self, size: int) -> DeviceBatches:
        shape = (self._side, self._side, 3)
        return DeviceBatches(
            self._device,
            size,
            shape,
            (self._model.header.outputs, self._width),
            self._launch,
            pad=True,
            graph=True,
        )

    def _largest_that_fits(self, size: int) -> DeviceBatches:
        """Batches of `size` images, or of half as many again and again until they fit."""
        while True:
            try:
                batches = self._make(size)
                batches(np.zeros((size, self._side, self._side, 3), dtype=np.uint8))
            except torch.OutOfMemoryError as error:
                if size == 1:
                    raise BackendError(f"Not enough GPU memory for a single image: {error}.", hint=_FREE) from error
                size //= 2
            else:
                return batches


_FREE = "Close other programs on this GPU, or use --backend openvino."


def open_backend(model: ModelFile, device: str, options: BackendOptions) -> PyTorchBackend:
    """Load the model on `device` ("cuda", "cuda:1" or "cpu").

    Raises:
        BackendError: the device refused the model.
    """
    try:
        return PyTorchBackend(model, device, options)
    except torch.OutOfMemoryError as error:
        raise BackendError(f"Not enough GPU memory: {error}.", hint=_FREE) from error
    except RuntimeError as error:
        # CUDA's own errors (a kernel that this card can't run, a driver that is too old) are RuntimeErrors.
        raise BackendError(f"PyTorch on {device} refused the network: {str(error).splitlines()[0]}") from error


def _remembered(key: str) -> int | None:
    """The batch that fitted last time, on this card with this model."""
    try:
        known = json.loads(_memory_file().read_text(encoding="utf-8"))
        size = known[key]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return size if isinstance(size, int) and size >= 1 else None


def _remember(key: str, size: int) -> None:
    path = _memory_file()
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({**known, key: size}, indent=1), encoding="utf-8")
    except OSError as error:
        _log.info("the batch size could not be remembered: %s", error)


def _memory_file() -> Path:
    return platformdirs.user_cache_path("bloodcell-batch") / "batch_sizes.json"
