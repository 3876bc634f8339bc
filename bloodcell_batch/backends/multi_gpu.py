"""One process per GPU: Python can't keep several GPUs busy from one interpreter.

Pixels and results travel through shared memory; the pipes carry only counts and errors.
"""

import multiprocessing
import signal
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from bloodcell_batch.backends import BACKENDS
from bloodcell_batch.backends.contract import BackendModule, BackendOptions, Outputs
from bloodcell_batch.errors import BackendError, BloodcellBatchError
from bloodcell_batch.model.file import ModelFile, open_network

_START_TIMEOUT_S = 300  # a cold PyTorch on a network drive takes minutes
_END_TIMEOUT_S = 10
_FEATURES_AT_MOST = 4096  # room for the features of one image in the shared memory


@dataclass(frozen=True, slots=True)
class _WorkerSetup:
    """What a worker process is started with."""

    backend: str
    model: Path
    model_sha256: str
    device: str
    options: BackendOptions
    pixels: str
    results: str


class ProcessesBackend:
    """The same backend in one process per device; every call is divided evenly among them.

    Args:
        model: the model file; each process reads it by itself.
        backend: name of the backend that every process opens.
        devices: one process for each.
        options: see `BackendOptions`.

    Raises:
        BackendError: a process could not open its device; the others were stopped.
    """

    def __init__(self, model: ModelFile, backend: str, devices: Sequence[str], options: BackendOptions) -> None:
        self._lock = threading.Lock()  # one message at a time in each pipe
        self._side = model.header.preprocessing.input_size
        self._capacity = options.batch
        self._workers: list[_Worker] = []
        with ExitStack() as undo:
            undo.callback(self.close)
            for device in devices:
                self._workers.append(_Worker(model, backend, device, options))
            told = [worker.answer(_START_TIMEOUT_S) for worker in self._workers]
            undo.pop_all()
        self._description = f"{len(devices)} processes: {told[0]}"

    @property
    def description(self) -> str:
        """The first process's description, and how many there are."""
        return self._description

    def infer(self, images: NDArray[np.uint8]) -> Outputs:
        """See `Backend.infer`."""
        step = self._capacity * len(self._workers)
        with self._lock:
            parts = [self._infer_step(images[start : start + step]) for start in range(0, len(images), step)]
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])

    def close(self) -> None:
        """See `Backend.close`."""
        for worker in self._workers:
            worker.stop()
        self._workers = []

    def _infer_step(self, images: NDArray[np.uint8]) -> Outputs:
        shares = np.array_split(images, len(self._workers))
        busy = [(worker, share) for worker, share in zip(self._workers, shares, strict=True) if len(share)]
        for worker, share in busy:
            worker.begin(share)
        results = [worker.results(len(share)) for worker, share in busy]
        return np.concatenate([part[0] for part in results]), np.concatenate([part[1] for part in results])


class _Worker:
    """The parent's end of one process."""

    def __init__(self, model: ModelFile, backend: str, device: str, options: BackendOptions) -> None:
        side = model.header.preprocessing.input_size
        self._device = device
        self._pixels = SharedMemory(create=True, size=options.batch * side * side * 3)
        self._classes = model.header.outputs
        room = max(_FEATURES_AT_MOST, self._classes)  # a finder has two maps of sizes beside its three of centres
        self._results = SharedMemory(create=True, size=options.batch * (self._classes + room) * 4)
        self._shape = (side, side, 3)
        context = multiprocessing.get_context("spawn")  # a forked process can't use CUDA
        self._pipe, other = context.Pipe()
        job = _WorkerSetup(backend, model.path, model.sha256, device, options, self._pixels.name, self._results.name)
        self._process: SpawnProcess = context.Process(target=_serve, args=(other, job), daemon=True)
        self._process.start()
        other.close()

    def begin(self, images: NDArray[np.uint8]) -> None:
        """Hand images over; the process starts at once."""
        _pixel_view(self._pixels, len(images), self._shape)[...] = images
        try:
            self._pipe.send(len(images))
        except OSError as error:
            raise self._died() from error

    def results(self, count: int) -> Outputs:
        """Wait for the results of the images that were handed over."""
        width = int(self.answer(None))
        probabilities, features = _result_views(self._results, count, self._classes, width)
        return probabilities.copy(), features.copy()

    def answer(self, timeout: float | None) -> str:
        """The process's next message.

        Raises:
            BackendError: it reports an error, is silent for `timeout` seconds, or is gone.
        """
        try:
            if timeout is not None and not self._pipe.poll(timeout):
                raise BackendError(f"The process for {self._device} did not start within {timeout:.0f} s.")
            good, text = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise self._died() from error
        if not good:
            raise BackendError(f"{self._device}: {text}")
        return str(text)

    def stop(self) -> None:
        """End the process and give the shared memory back."""
        self._pipe.close()  # the process ends when its pipe does
        self._process.join(_END_TIMEOUT_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        for memory in (self._pixels, self._results):
            memory.close()
            memory.unlink()

    def _died(self) -> BackendError:
        self._process.join(_END_TIMEOUT_S)
        text = f"The process for {self._device} ended unexpectedly (exit code {self._process.exitcode})."
        return BackendError(text, hint="Run it again; if it happens again, leave this GPU out: CUDA_VISIBLE_DEVICES.")


def _serve(pipe: Connection, job: _WorkerSetup) -> None:
    """The child's whole life: open the backend, then answer until the pipe closes.

    An error that nobody thought of ends the child with its traceback, and the parent says that it ended.
    """
    import importlib  # noqa: PLC0415 - only the child needs it

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    pixels, results = SharedMemory(job.pixels), SharedMemory(job.results)
    try:
        model = open_network(job.model, job.model_sha256)
        module = cast("BackendModule", importlib.import_module(BACKENDS[job.backend]))
        backend = module.open_backend(model, job.device, job.options)
        side = model.header.preprocessing.input_size
        pipe.send((True, backend.description))
        while True:
            count = pipe.recv()
            probabilities, features = backend.infer(_pixel_view(pixels, count, (side, side, 3)))
            width = features.shape[1]
            _store(results, probabilities, features)
            pipe.send((True, width))
    except (EOFError, BrokenPipeError):
        return
    except BloodcellBatchError as error:
        pipe.send((False, error.message))
    except (RuntimeError, OSError, MemoryError) as error:  # CUDA's errors are RuntimeErrors
        pipe.send((False, f"{type(error).__name__}: {error}"))
    finally:
        pixels.close()
        results.close()


def _store(memory: SharedMemory, probabilities: NDArray[np.float32], features: NDArray[np.float32]) -> None:
    """In a function of its own, because shared memory can't be closed while an array still looks at it."""
    views = _result_views(memory, len(features), probabilities.shape[1], features.shape[1])
    for view, found in zip(views, (probabilities, features), strict=True):
        view[...] = found


def _pixel_view(memory: SharedMemory, count: int, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    return np.ndarray((count, *shape), dtype=np.uint8, buffer=memory.buf)


def _result_views(
    memory: SharedMemory, count: int, classes: int, width: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Probabilities (N, C) and features (N, D) as they lie in the shared memory."""
    split = count * classes * 4
    return (
        np.ndarray((count, classes), dtype=np.float32, buffer=memory.buf),
        np.ndarray((count, width), dtype=np.float32, buffer=memory.buf, offset=split),
    )
