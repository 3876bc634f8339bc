"""The backend: asynchronous requests over batches of a fixed size, shared by all that call it."""

import importlib.metadata
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue

import numpy as np
import openvino
from numpy.typing import NDArray

from bloodcell_batch.backends.canary import CANARIES, disagreement, disagreement_where_sure
from bloodcell_batch.backends.contract import BackendOptions, Outputs, padded
from bloodcell_batch.backends.openvino.compiled import compiled
from bloodcell_batch.backends.openvino.fastest import Measured, Setting, candidates, chosen, measured_settings
from bloodcell_batch.backends.openvino.int8 import Int8Network, load_int8, packaged_int8, require_canary
from bloodcell_batch.backends.openvino.networks import Network, converted
from bloodcell_batch.config.fields import Precision
from bloodcell_batch.errors import BackendError
from bloodcell_batch.model.file import ModelFile
from bloodcell_batch.parallel.cpus import available_cpus

_BINDING = threading.Lock()
"""Held where arrays go into OpenVINO or come out: at its first use, its Python binding looks NumPy up behind a lock of
C++'s, and a second thread that comes to it with the interpreter's lock makes both wait for ever."""

_REQUESTS_PER_STREAM = 2  # while one is computed, the next one waits, and no stream waits for the interpreter
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
        self._free: SimpleQueue[openvino.InferRequest] = SimpleQueue()
        for _ in range(_REQUESTS_PER_STREAM * self._compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")):
            self._free.put(self._compiled.create_infer_request())

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
        running: deque[tuple[int, openvino.InferRequest]] = deque()

        def finish() -> None:
            start, request = running.popleft()
            try:
                request.wait()
                stop = min(start + self._batch, len(images))
                with _BINDING:  # copied out: the request's own buffers are reused by its next batch
                    probabilities[start:stop] = request.get_output_tensor(0).data[: stop - start]
                    features[start:stop] = request.get_output_tensor(1).data[: stop - start]
            finally:
                self._free.put(request)

        try:
            for start in range(0, len(images), self._batch):
                running.append((start, self._next_request(finish, running)))
                batch = padded(images[start : start + self._batch], self._batch)
                with _BINDING:
                    running[-1][1].start_async({0: batch})
            while running:
                finish()
        finally:
            for _, request in running:  # after an error; others may be waiting for one
                self._free.put(request)
        return probabilities, features

    def _next_request(
        self, finish: Callable[[], None], running: deque[tuple[int, openvino.InferRequest]]
    ) -> openvino.InferRequest:
        """A free one. A caller waits for others only if it holds none, or callers could wait for each other."""
        while running:
            try:
                return self._free.get_nowait()
            except Empty:
                finish()
        return self._free.get()

    def kept(self) -> "OpenVinoBackend":
        """The same, with the compiled network in the cache for the next start."""
        self._keep()
        return self

    def close(self) -> None:
        """See `Backend.close`."""


def open_on_cpu(model: ModelFile, options: BackendOptions) -> OpenVinoBackend:
    """Load the model.

    Raises:
        BackendError: OpenVINO can't convert or compile this network, or its int8 network does not pass a check.
    """
    try:
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


def open_int8(network: Network, side: int) -> OpenVinoBackend:
    """An int8 network whose accuracy nobody knows yet.

    Raises:
        RuntimeError: OpenVINO refuses it.
    """
    setting = Setting(arithmetic="int8", one_stream=False)
    return OpenVinoBackend(network, side, setting, setting.as_text(), None).kept()


def settings_measured(model: ModelFile) -> tuple[Measured, ...]:
    """What the ways of running a model that may be the fastest came to on this machine, measured now if they never
    were.

    Raises:
        BackendError: OpenVINO can't convert or compile this network.
    """
    try:
        return _measured(model, _forms(model, "auto"), {})
    except RuntimeError as error:
        raise BackendError(f"OpenVINO refused the network: {str(error).splitlines()[0]}") from error


@dataclass(frozen=True)
class _Forms:
    """What may run: a network for each arithmetic, the most exact first; `int8` is the quantised one and its record."""

    networks: dict[str, Network]
    int8: Int8Network | None

    def of(self, setting: Setting) -> Network:
        """The network that a setting runs."""
        return self.networks[setting.arithmetic]

    def in_words(self, setting: Setting) -> str:
        """A setting, and what int8 costs where it is that."""
        price = f" ({self.int8.record.int8.as_text()})" if self.int8 and setting.arithmetic == "int8" else ""
        return setting.as_text() + price


def _forms(model: ModelFile, precision: Precision) -> _Forms:
    """What `precision` allows; `auto` takes the int8 network that comes with the package, whose price is known to be
    small, but none that a user made: who wants that one says so."""
    if precision == "int8":
        own = load_int8(model)
        return _Forms({"int8": own.network}, own)
    network = converted(model)
    networks = dict.fromkeys(_arithmetics(precision), network)
    int8 = packaged_int8(model) if precision == "auto" else None
    return _Forms(networks if int8 is None else networks | {"int8": int8.network}, int8)


def _open_fastest(model: ModelFile, options: BackendOptions) -> OpenVinoBackend:
    forms, tried = _forms(model, options.precision), dict[Setting, OpenVinoBackend]()
    setting = chosen(_measured(model, forms, tried))
    batch, side, *_ = shape = _shape(model)
    if setting in tried and shape == _shape_measured(model) and options.threads in {None, available_cpus()}:
        backend = tried[setting].kept()  # compiled for the measuring a moment ago
    else:
        words = forms.in_words(setting)
        backend = OpenVinoBackend(forms.of(setting), side, setting, words, options.threads, batch).kept()
    if options.precision == "int8" and forms.int8 is not None:
        require_canary(forms.int8, backend.infer, side)
    return backend


def _measured(model: ModelFile, forms: _Forms, tried: dict[Setting, OpenVinoBackend]) -> tuple[Measured, ...]:
    """Always with all processors of the machine: what shares them must compute the same numbers. What was compiled on
    the way is put into `tried`."""
    threads, shape = available_cpus(), _shape_measured(model)
    batch, side, *_ = shape

    def open_with(setting: Setting) -> OpenVinoBackend:
        tried[setting] = OpenVinoBackend(forms.of(setting), side, setting, forms.in_words(setting), threads, batch)
        return tried[setting]

    def compare(setting: Setting, probabilities: NDArray[np.float32], reference: NDArray[np.float32]) -> str:
        if forms.int8 is not None and setting.arithmetic == "int8":
            return forms.int8.other_numbers(probabilities[:CANARIES])
        if model.header.finder:
            return disagreement(probabilities, reference)
        return disagreement_where_sure(probabilities, reference, model.header.review_threshold)

    settings = candidates(tuple(forms.networks), threads)
    return measured_settings(tuple(forms.networks.values()), shape, settings, threads, open_with, compare)


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
