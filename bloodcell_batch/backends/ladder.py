"""Choosing a backend: the one that was named, or the best that works here, with the reasons for what was skipped."""

import ctypes
import importlib
import sys
from dataclasses import dataclass
from typing import cast

from bloodcell_batch.backends import AUTO_LADDER, BACKEND_NAMES, BACKENDS, Rung
from bloodcell_batch.backends.contract import Backend, BackendModule
from bloodcell_batch.errors import BackendError, UsageError
from bloodcell_batch.model_file import ModelFile


@dataclass(frozen=True, slots=True)
class Choice:
    """The backend in use, its name, and why each better rung of the ladder was skipped."""

    backend: Backend
    name: str
    skipped: tuple[str, ...]


def open_backend(model: ModelFile, name: str = "auto") -> Choice:
    """Open the named backend on the best device it has here, or the first rung of the ladder that works.

    Raises:
        UsageError: there is no backend of that name.
        BackendError: the named backend, or every rung of the ladder, can't run; the text says why.
    """
    if name not in BACKEND_NAMES:
        hint = f"Choose one of: {', '.join(BACKEND_NAMES)}."
        raise UsageError(f"There is no backend {name!r}.", hint=hint)
    rungs = [rung for rung in AUTO_LADDER if name in {"auto", rung.backend}]
    skipped: list[str] = []
    for rung in rungs:
        reason = why_not(rung)
        if not reason:
            try:
                return Choice(_module(rung).open_backend(model, rung.device), rung.backend, tuple(skipped))
            except BackendError as error:
                reason = error.message
        skipped.append(f"{rung.backend} on {rung.device}: {reason}")
    hint = "Run `bloodcell-batch doctor` to see what this machine has, or leave --backend out."
    raise BackendError(f"The backend {name!r} can't run here ({'; '.join(skipped)}).", hint=hint)


def why_not(rung: Rung) -> str:
    """Why a rung can't run here; empty if it can."""
    if rung.device == "cuda" and not _has_cuda_driver():
        return "no NVIDIA driver"
    return _module(rung).why_not(rung.device)


def _has_cuda_driver() -> bool:
    """Asked before any runtime is imported: importing PyTorch only to learn that there is no GPU takes seconds."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True


def _module(rung: Rung) -> BackendModule:
    return cast("BackendModule", importlib.import_module(BACKENDS[rung.backend]))
