"""The backend: a queue of asynchronous requests, one per stream, over batches of a fixed size."""

import importlib.metadata
from collections.abc import Callable
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

from bloodcell_batch.backends.contract import BackendOptions, Outputs, padded
from bloodcell_batch.backends.openvino.compiled import compiled
from bloodcell_batch.backends.openvino.int8 import load_int8, require_canary
from bloodcell_batch.backends.openvino.networks import Network, converted
from bloodcell_batch.config.fields import Precision
from bloodcell_batch.errors import BackendError
from bloodcell_batch.model.file import ModelFile
from bloodcell_batch.parallel.cpus import available_cpus

_BATCH = 16  # fixed at compilation; measured fastest on two cores, and small batches keep every core busy
_FINDER_BATCH = 1  # a field is a few large tiles; padding them to more would cost several times the work


class OpenVinoBackend:
    """A compiled network.

    Args:
        network: what to run; its images are squares of `side` pixels.
        side: see there.
        arithmetic: of whatever the network does not say itself, "f32" or "bf16".
        precision: in words, for the description.
        threads: processors to use; all that there are if None.
        batch: images of one request.
    """

    def __init__(
        self, network: Network, side: int, arithmetic: str, precision: str, threads: int | None, batch: int = _BATCH
    ) -> None:
        self._precision, self._batch = precision, batch
        self._threads = threads or available_cpus()
        settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "THROUGHPUT",
            "INFERENCE_NUM_THREADS": self._threads,
            "INFERENCE_PRECISION_HINT": arithmetic,
        }
        self._compiled = compiled(network, (batch, side, side, 3), settings)
        self._queue = openvino.AsyncInferQueue(self._compiled)

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
            stop = min(start + self._batch, len(images))
            # Copied out: the request's own buffers are reused by its next batch.
            probabilities[start:stop] = request.get_output_tensor(0).data[: stop - start]
            features[start:stop] = request.get_output_tensor(1).data[: stop - start]

        self._queue.set_callback(store)
        for start in range(0, len(images), self._batch):
            self._queue.start_async({0: padded(images[start : start + self._batch], self._batch)}, start)
        self._queue.wait_all()
        return probabilities, features

    def close(self) -> None:
        """See `Backend.close`."""
        self._queue.wait_all()


def open_on_cpu(model: ModelFile, options: BackendOptions) -> OpenVinoBackend:
    """Load the model.

    Raises:
        BackendError: OpenVINO can't convert or compile this network, or its int8 network does not pass a check.
    """
    try:
        if options.precision == "int8":
            return _open_int8(model, options.threads)
        arithmetic = _arithmetic(options.precision)
        side = model.header.preprocessing.input_size
        batch = _BATCH if model.header.finder is None else _FINDER_BATCH
        return OpenVinoBackend(converted(model), side, arithmetic, arithmetic, options.threads, batch)
    except RuntimeError as error:
        raise BackendError(f"OpenVINO refused the network: {str(error).splitlines()[0]}") from error


def infer_with(network: Network) -> Callable[[NDArray[np.uint8]], Outputs]:
    """A network in float32 for batches of any size, for comparisons.

    Raises:
        BackendError: OpenVINO refuses it.
    """
    core = openvino.Core()
    try:
        made = core.compile_model(network.read(core), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    except RuntimeError as error:
        raise BackendError(f"OpenVINO refuses the export: {str(error).splitlines()[0]}") from error

    def infer(images: NDArray[np.uint8]) -> Outputs:
        found = made(images)
        return found[0].copy(), found[1].copy()

    return infer


def open_int8(network: Network, side: int, price: str, threads: int | None = None) -> OpenVinoBackend:
    """An int8 network; `price` is what it costs in accuracy, for the description.

    Raises:
        RuntimeError: OpenVINO refuses it.
    """
    return OpenVinoBackend(network, side, "f32", f"int8 ({price})", threads)


def _open_int8(model: ModelFile, threads: int | None) -> OpenVinoBackend:
    network, record = load_int8(model)
    side = model.header.preprocessing.input_size
    backend = open_int8(network, side, record.int8.as_text(), threads)
    require_canary(record, backend.infer, side)
    return backend


def _arithmetic(precision: Precision) -> str:
    native_bf16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision == "fp16" or (precision == "bf16" and not native_bf16):
        raise BackendError(f"OpenVINO can't compute in {precision} on this CPU.", hint="Use --precision fp32.")
    return "f32" if precision == "fp32" or not native_bf16 else "bf16"
