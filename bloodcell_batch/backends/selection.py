"""Choosing a backend: the one that was named, or the best that works here, with the reasons for what was skipped."""

import importlib.util
from dataclasses import dataclass, replace
from typing import cast

from bloodcell_batch.backends import AUTO_LADDER, BACKEND_NAMES, BACKENDS, Rung
from bloodcell_batch.backends.contract import Backend, BackendModule, BackendOptions
from bloodcell_batch.backends.cuda_driver import has_driver
from bloodcell_batch.backends.views import with_views
from bloodcell_batch.errors import BackendError, UsageError, did_you_mean
from bloodcell_batch.model.file import ModelFile


@dataclass(frozen=True, slots=True)
class Choice:
    """The backend in use, its name, why each better rung of the ladder was skipped, and the device ("cuda" or "cpu").

    `refused` are those of the skipped that are set up here and should have worked: somebody should look at them.
    """

    backend: Backend
    name: str
    skipped: tuple[str, ...]
    refused: tuple[str, ...] = ()
    device: str = "cpu"


def open_backend(model: ModelFile, name: str = "auto", options: BackendOptions | None = None) -> Choice:
    """Open the named backend on the best device it has here, or the first rung of the ladder that works.

    Raises:
        UsageError: there is no backend of that name.
        BackendError: the named backend, or every rung of the ladder, can't run; the text says why.
    """
    if name not in BACKEND_NAMES:
        hint = f"Choose one of: {', '.join(BACKEND_NAMES)}."
        raise UsageError(f"There is no backend {name!r}{did_you_mean(name, BACKEND_NAMES) or '.'}", hint=hint)
    options = replace(options or BackendOptions(), named=name != "auto")
    skipped: list[str] = []
    refused: list[str] = []
    hint = "Run `bloodcell-batch doctor` to see what this machine has, or leave --backend and --precision out."
    for rung in AUTO_LADDER:
        if name not in {"auto", rung.backend}:
            continue
        reason = why_not(rung, model, options)
        if not reason:
            try:
                opened = _open(rung, model, options)
                backend = with_views(opened, options.views, model.header.second_look)
                return Choice(backend, rung.backend, tuple(skipped), tuple(refused), rung.device)
            except BackendError as error:
                reason, hint = error.message, error.hint or hint
                refused.append(f"{rung.backend} on {rung.device} is not used: {reason}")
        elif rung.backend == "tensorrt" and options.plan is not None:
            refused.append(f"the plan {options.plan} is not used: {reason}")
        skipped.append(f"{rung.backend} on {rung.device}: {reason}")
    raise BackendError(f"The backend {name!r} can't run here ({'; '.join(skipped)}).", hint=hint)


def why_not(rung: Rung, model: ModelFile, options: BackendOptions | None = None) -> str:
    """Why a rung is not set up here; empty if it is."""
    if rung.device == "cuda" and not has_driver():
        return "no NVIDIA driver"
    if rung.backend == "pytorch" and importlib.util.find_spec("torch") is None:
        return "PyTorch is not installed"
    return _module(rung).why_not(model, rung.device, options or BackendOptions())


def _open(rung: Rung, model: ModelFile, options: BackendOptions) -> Backend:
    if rung.device == "cuda":
        import torch  # noqa: PLC0415 - it takes seconds, and only CUDA needs it here

        if torch.cuda.device_count() > 1:
            from bloodcell_batch.backends.multi_gpu import ProcessesBackend  # noqa: PLC0415 - few machines need it

            devices = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
            return ProcessesBackend(model, rung.backend, devices, options)
    return _module(rung).open_backend(model, rung.device, options)


def _module(rung: Rung) -> BackendModule:
    return cast("BackendModule", importlib.import_module(BACKENDS[rung.backend]))
