"""The backend: a queue of asynchronous requests, one per stream, over batches of a fixed size."""

import importlib.metadata
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import openvino
from numpy.typing import NDArray

from bloodcell_batch.backends.canary import disagreement, disagreement_where_sure
from bloodcell_batch.backends.contract import BackendOptions, Outputs, padded
from bloodcell_batch.backends.openvino.compiled import compiled
from bloodcell_batch.backends.openvino.fastest import Measured, Setting, candidates, chosen, measured_settings
from bloodcell_batch.backends.openvino.int8 import load_int8, require_canary
from bloodcell_batch.backends.openvino.networks import Network, converted
from bloodcell_batch.config.fields import Precision
from bloodcell_batch.errors import BackendError
from bloodcell_batch.model.file import ModelFile
from bloodcell_batch.parallel.cpus import available_cpus

_BATCH = 16  # fixed at compilation; measured fastest on two cores, and small batches keep every core busy
_FINDER_SIDE = 256  # of the tiles that finders are measured with
_FINDER_BATCH = 1  # a field is a few large tiles; padding them to more would cost several times the work


class OpenVinoBackend:
    """A compiled network.

    Args:
        network: what to run; its images are squares of `side` pixels.
        side: see there.
        setting: arithmetic and streams.
        precision: in words, for the description.
        threads: processors to use; all that there are if None.
        batch: images of one request.
    """

    def __init__(
        self,
        network: Network,
        side: int,
        setting: Setting,
        precision: str,
        threads: int | None,
        batch: int = _BATCH,
    ) -> None:
        self._precision, self._batch = precision, batch
        self._threads = threads or available_cpus()
        shape = (batch, side, side, 3)
        self._compiled, self._keep = compiled(network, shape, setting.for_openvino(self._threads))
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

    def kept(self) -> "OpenVinoBackend":
        """The same, with the compiled network in the cache for the next start."""
        self._keep()
        return self

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
        return _open_fastest(model, options)
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
    setting = Setting(arithmetic="f32", one_stream=False)
    return OpenVinoBackend(network, side, setting, f"int8 ({price})", threads).kept()


def _open_int8(model: ModelFile, threads: int | None) -> OpenVinoBackend:
    network, record = load_int8(model)
    side = model.header.preprocessing.input_size
    backend = open_int8(network, side, record.int8.as_text(), threads)
    require_canary(record, backend.infer, side)
    return backend


def settings_measured(model: ModelFile) -> tuple[Measured, ...]:
    """What the ways of running a model that may be the fastest came to on this machine, measured now if they never
    were.

    Raises:
        BackendError: OpenVINO can't convert or compile this network.
    """
    try:
        return _measured(model, converted(model), _arithmetics("auto"), {})
    except RuntimeError as error:
        raise BackendError(f"OpenVINO refused the network: {str(error).splitlines()[0]}") from error


def _open_fastest(model: ModelFile, options: BackendOptions) -> OpenVinoBackend:
    network, tried = converted(model), dict[Setting, OpenVinoBackend]()
    setting = chosen(_measured(model, network, _arithmetics(options.precision), tried))
    batch, side, *_ = shape = _shape(model)
    if setting in tried and shape == _shape_measured(model) and options.threads in {None, available_cpus()}:
        return tried[setting].kept()  # compiled for the measuring a moment ago
    return OpenVinoBackend(network, side, setting, setting.as_text(), options.threads, batch).kept()


def _measured(
    model: ModelFile, network: Network, arithmetics: Sequence[str], tried: dict[Setting, OpenVinoBackend]
) -> tuple[Measured, ...]:
    """Always with all processors of the machine: what shares them must compute the same numbers. What was compiled on
    the way is put into `tried`."""
    threads, shape = available_cpus(), _shape_measured(model)
    batch, side, *_ = shape

    def open_with(setting: Setting) -> OpenVinoBackend:
        tried[setting] = OpenVinoBackend(network, side, setting, setting.as_text(), threads, batch)
        return tried[setting]

    threshold = model.header.review_threshold
    compare = disagreement if model.header.finder else partial(disagreement_where_sure, threshold=threshold)
    return measured_settings(network, shape, candidates(arithmetics, threads), threads, open_with, compare)


def _shape(model: ModelFile) -> tuple[int, int, int, int]:
    side = model.header.preprocessing.input_size
    return (_BATCH if model.header.finder is None else _FINDER_BATCH, side, side, 3)


def _shape_measured(model: ModelFile) -> tuple[int, int, int, int]:
    """Finders have one shape, whatever their tiles: a look at a cut-out cell is in the same arithmetic as one at a
    field, which the description names."""
    batch, side, *_ = _shape(model)
    side = side if model.header.finder is None else _FINDER_SIDE
    return batch, side, side, 3


def _arithmetics(precision: Precision) -> tuple[str, ...]:
    """What may be used, as OpenVINO calls it, the most exact first."""
    native_bf16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision == "fp16" or (precision == "bf16" and not native_bf16):
        raise BackendError(f"OpenVINO can't compute in {precision} on this CPU.", hint="Use --precision fp32.")
    if precision == "auto":
        return ("f32", "bf16") if native_bf16 else ("f32",)
    return ("bf16",) if precision == "bf16" else ("f32",)
