"""Which arithmetic and how many streams are the fastest for a network on this processor: measured, then remembered.

What a processor can do says little about what is fast on it: bfloat16 is twice as fast as float32 where there are
matrix units (AMX) and slower on many that only have instructions for it.
"""

import json
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import openvino
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from bloodcell_batch.backends.canary import canary_images
from bloodcell_batch.backends.contract import Outputs
from bloodcell_batch.backends.openvino.cache import cache_folder, recall, store
from bloodcell_batch.backends.openvino.compiled import compilation_key
from bloodcell_batch.backends.openvino.networks import Network

_SECONDS = 0.15  # that each setting runs for
_ROUNDS = 3  # that it runs at least
_WORTH = 1.04  # how much faster another setting must be than the one before it in the list: measuring is not exact
_PATIENCE = 120.0  # seconds to wait for another process that measures

Infer = Callable[[NDArray[np.uint8]], Outputs]
Compare = Callable[[NDArray[np.float32], NDArray[np.float32]], str]
"""What is wrong with probabilities, given those of float32; empty if nothing is."""


class Setting(BaseModel):
    """How OpenVINO may run a network.

    Attributes:
        arithmetic: "f32" or "bf16", of whatever the network does not say itself.
        one_stream: whether one request at a time has all processors, or several run side by side.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    arithmetic: str
    one_stream: bool

    def for_openvino(self, threads: int) -> dict[str, Any]:
        """As OpenVINO's properties."""
        return {
            "PERFORMANCE_HINT": "LATENCY" if self.one_stream else "THROUGHPUT",
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": self.arithmetic,
        }

    def as_text(self) -> str:
        """In a few words."""
        return f"{self.arithmetic}, {'one stream' if self.one_stream else 'several streams'}"


class Measured(BaseModel):
    """What a setting came to: images/s, and what is wrong with its results (empty if nothing is)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    setting: Setting
    rate: float
    wrong: str = ""


class _Remembered(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    measured: tuple[Measured, ...]


def candidates(*, bf16: bool) -> tuple[Setting, ...]:
    """What is measured, the most exact and usual first."""
    arithmetics = ("f32", "bf16") if bf16 else ("f32",)
    return tuple(Setting(arithmetic=name, one_stream=one) for name in arithmetics for one in (False, True))


def chosen(measured: Sequence[Measured], arithmetic: str | None) -> Setting:
    """The fastest setting of those that are right, or of `arithmetic` alone; an earlier one unless a later one is
    faster by more than measuring errs."""
    allowed = [entry for entry in measured if arithmetic in {None, entry.setting.arithmetic}]
    right = [entry for entry in allowed if not entry.wrong] or allowed[:1]
    best = right[0]
    for entry in right[1:]:
        if entry.rate > best.rate * _WORTH:
            best = entry
    return best.setting


def measured_settings(
    network: Network, shape: tuple[int, ...], threads: int, open_with: Callable[[Setting], Infer], compare: Compare
) -> tuple[Measured, ...]:
    """Every setting's rate for inputs of `shape` (batch, side, side, 3) on `threads` processors; measured by the first
    process of this user that asks on this kind of machine, remembered for all others.

    Args:
        network: what runs.
        shape: see there.
        threads: see there.
        open_with: gives the inference with a setting.
        compare: says whether a setting's results will do.

    Raises:
        RuntimeError: OpenVINO refuses the network.
    """
    core = openvino.Core()
    settings = candidates(bf16="BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
    asked = {str(number): setting.as_text() for number, setting in enumerate(settings)}
    name = f"{compilation_key(core, network, shape, asked | {'threads': threads})}.fastest"
    remembered = _remembered(name)
    if remembered is not None:
        return remembered
    with _alone():
        remembered = _remembered(name)  # another process may have measured in the meantime
        if remembered is not None:
            return remembered
        measured = _measure(settings, shape, open_with, compare)
        store(name, _Remembered(measured=measured).model_dump_json().encode())
    return measured


def _measure(
    settings: Sequence[Setting], shape: tuple[int, ...], open_with: Callable[[Setting], Infer], compare: Compare
) -> tuple[Measured, ...]:
    batch, side = shape[0], shape[1]
    images = np.concatenate([canary_images(side, batch)] * 2)
    reference: NDArray[np.float32] | None = None
    found = []
    for setting in settings:
        infer = open_with(setting)
        probabilities = infer(images)[0]
        reference = probabilities if reference is None else reference
        wrong = compare(probabilities, reference)
        found.append(Measured(setting=setting, rate=len(images) / _shortest(partial(infer, images)), wrong=wrong))
    return tuple(found)


def _shortest(run: Callable[[], object]) -> float:
    """The shortest of some runs, in seconds: other work on the machine only makes them longer."""
    took: list[float] = []
    while len(took) < _ROUNDS or sum(took) < _SECONDS:
        start = time.perf_counter()
        run()
        took.append(time.perf_counter() - start)
    return min(took)


def _remembered(name: str) -> tuple[Measured, ...] | None:
    data = recall(name)
    if data is None:
        return None
    try:
        return _Remembered.model_validate(json.loads(data)).measured
    except (ValidationError, ValueError):
        return None


def _alone() -> AbstractContextManager[object]:
    """Keeps other processes from measuring at the same time, unless the cache can't be written or is held for long."""
    try:
        cache_folder().mkdir(parents=True, exist_ok=True)
        return FileLock(cache_folder() / "measuring.lock").acquire(timeout=_PATIENCE)
    except (OSError, Timeout):
        return nullcontext()
