"""OpenVINO on the CPU: bfloat16 where the processor multiplies it natively, float32 elsewhere."""

import importlib.metadata
import logging
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import platformdirs
from numpy.typing import NDArray

from bloodcell_batch.backends.contract import BackendOptions, Outputs, padded
from bloodcell_batch.cpus import available_cpus
from bloodcell_batch.errors import BackendError
from bloodcell_batch.model_file import ModelFile

_log = logging.getLogger(__name__)

_BATCH = 16  # fixed at compilation; measured fastest on two cores, and small batches keep every core busy


def why_not(model: ModelFile, device: str, options: BackendOptions) -> str:
    """The wheel is a dependency; only its device plug-in may be missing."""
    return "" if "CPU" in openvino.Core().available_devices else f"OpenVINO finds no {device} device"


class OpenVinoBackend:
    """A queue of asynchronous requests, one per stream, over batches of a fixed size."""

    def __init__(self, model: ModelFile, options: BackendOptions) -> None:
        core = openvino.Core()
        threads = options.threads or available_cpus()
        self._precision = _precision(core, options)
        network = _convert(core, model)
        side = model.header.preprocessing.input_size
        network.reshape([_BATCH, side, side, 3])
        settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "THROUGHPUT",
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": self._precision,
        }
        self._compiled = core.compile_model(network, "CPU", settings)
        self._queue = openvino.AsyncInferQueue(self._compiled)
        self._threads = threads

    @property
    def description(self) -> str:
        """Version, device, precision and threads."""
        version = importlib.metadata.version("openvino")
        return f"OpenVINO {version}, CPU, {self._precision}, {self._threads} threads"

    def infer(self, images: NDArray[np.uint8]) -> Outputs:
        """See `Backend.infer`."""
        width = self._compiled.output(1).partial_shape[1].get_length()
        classes = self._compiled.output(0).partial_shape[1].get_length()
        probabilities = np.empty((len(images), classes), dtype=np.float32)
        features = np.empty((len(images), width), dtype=np.float32)

        def store(request: openvino.InferRequest, start: int) -> None:
            stop = min(start + _BATCH, len(images))
            # Copied out: the request's own buffers are reused by its next batch.
            probabilities[start:stop] = request.get_output_tensor(0).data[: stop - start]
            features[start:stop] = request.get_output_tensor(1).data[: stop - start]

        self._queue.set_callback(store)
        for start in range(0, len(images), _BATCH):
            self._queue.start_async({0: padded(images[start : start + _BATCH], _BATCH)}, start)
        self._queue.wait_all()
        return probabilities, features

    def close(self) -> None:
        """See `Backend.close`."""
        self._queue.wait_all()


def _precision(core: openvino.Core, options: BackendOptions) -> str:
    native_bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if options.precision == "fp16" or (options.precision == "bf16" and not native_bf16):
        raise BackendError(f"OpenVINO can't compute in {options.precision} on this CPU.", hint="Use --precision fp32.")
    return "f32" if options.precision == "fp32" or not native_bf16 else "bf16"


def open_backend(model: ModelFile, device: str, options: BackendOptions) -> OpenVinoBackend:
    """Load the model on the CPU.

    Raises:
        BackendError: OpenVINO can't convert or compile this network.
    """
    try:
        return OpenVinoBackend(model, options)
    except RuntimeError as error:
        raise BackendError(f"OpenVINO on {device} refused the network: {str(error).splitlines()[0]}") from error


def convert(model: ModelFile, *, half: bool) -> tuple[bytes, bytes]:
    """The network in OpenVINO's own format, for any batch: the XML and the weights, in float16 if `half`."""
    network = _convert_from_pytorch(model)
    side = model.header.preprocessing.input_size
    network.reshape([-1, side, side, 3])
    with tempfile.TemporaryDirectory(prefix="bloodcell-batch-") as folder:
        path = Path(folder) / "network.xml"
        openvino.save_model(network, path, compress_to_fp16=half)
        return path.read_bytes(), path.with_suffix(".bin").read_bytes()


def infer_with(xml: bytes, weights: bytes) -> Callable[[NDArray[np.uint8]], Outputs]:
    """A converted network on the CPU in float32, for comparisons.

    Raises:
        BackendError: OpenVINO refuses it.
    """
    core = openvino.Core()
    try:
        network = core.read_model(xml, openvino.Tensor(np.frombuffer(weights, dtype=np.uint8)))
        compiled = core.compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    except RuntimeError as error:
        raise BackendError(f"OpenVINO refuses the export: {str(error).splitlines()[0]}") from error

    def infer(images: NDArray[np.uint8]) -> Outputs:
        found = compiled(images)
        return found[0].copy(), found[1].copy()

    return infer


def _convert(core: openvino.Core, model: ModelFile) -> openvino.Model:
    """The network as OpenVINO's own representation, converted once per model and version, then read from the cache.

    Conversion imports PyTorch, which takes longer than classifying a small folder.
    """
    version = importlib.metadata.version("openvino")
    cached = platformdirs.user_cache_path("bloodcell-batch") / "openvino" / f"{model.sha256}-{version}.xml"
    if not (cached.is_file() and cached.with_suffix(".bin").is_file()):
        network = _convert_from_pytorch(model)
        try:
            _save(network, cached)
        except OSError as error:
            _log.info("the converted network could not be cached: %s", error)
            with tempfile.TemporaryDirectory(prefix="bloodcell-batch-") as folder:
                elsewhere = Path(folder) / cached.name
                openvino.save_model(network, elsewhere, compress_to_fp16=False)
                return _read(core, elsewhere)
    return _read(core, cached)


def _read(core: openvino.Core, path: Path) -> openvino.Model:
    """A saved network. Also the first run reads it back: fresh from the converter, the same network is compiled in
    another way, and the first run's numbers would differ in the last digits from those of all later ones."""
    return core.read_model(path.read_bytes(), openvino.Tensor(np.fromfile(path.with_suffix(".bin"), dtype=np.uint8)))


def _convert_from_pytorch(model: ModelFile) -> openvino.Model:
    import torch  # noqa: PLC0415 - only the first run of a model needs it

    from bloodcell_batch.network import load_inference_module  # noqa: PLC0415 - imports torch

    side = model.header.preprocessing.input_size
    example = torch.zeros((_BATCH, side, side, 3), dtype=torch.uint8)
    with warnings.catch_warnings():
        # OpenVINO's converter traces with torch.jit, which PyTorch deprecates; the user can do nothing about it.
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        return openvino.convert_model(load_inference_module(model), example_input=example)


def _save(network: openvino.Model, cached: Path) -> None:
    """Put the converted network into the cache, complete or not at all.

    Raises:
        OSError: the cache can't be written.
    """
    cached.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cached.parent) as folder:
        fresh = Path(folder) / cached.name
        openvino.save_model(network, fresh, compress_to_fp16=False)
        os.replace(fresh.with_suffix(".bin"), cached.with_suffix(".bin"))
        os.replace(fresh, cached)
