"""Which arithmetic and how many streams are the fastest for a network on this processor: measured, then remembered.

What a processor can do says little about what is fast on it: bfloat16 is twice as fast as float32 where there are
matrix units (AMX) and slower on many that only have instructions for it.
"""

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

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

_SECONDS = 0.1  # that each setting runs for that may be the fastest
_ROUNDS = 3  # that it runs at least
_BEATEN = 1.3  # a setting that took so much longer than the best in its first round is not run again
_WORTH = 1.04  # how much faster another setting must be than the one before it in the list: measuring is not exact
_CLEAR = 1.15  # how much faster it is where no doubt is left
_CONFIRMED = 8  # rounds after which it counts, clear or not
_PATIENCE = 120.0  # seconds to wait for another process that measures


class Setting(BaseModel):
    """How OpenVINO may run a network.

    Attributes:
        arithmetic: "f32" or "bf16", of whatever the network does not say itself; "int8" for a quantised network, whose
            rest is computed in float32.
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
            "INFERENCE_PRECISION_HINT": "f32" if self.arithmetic == "int8" else self.arithmetic,
        }

    def as_text(self) -> str:
        """In a few words."""
        return f"{self.arithmetic}, {'one stream' if self.one_stream else 'several streams'}"


Compare = Callable[[Setting, NDArray[np.float32], NDArray[np.float32]], str]
"""What is wrong with probabilities that a setting gave, given those of the first setting; empty if nothing is."""


class Measured(BaseModel):
    """What a setting came to: images/s, and what is wrong with its results (empty if nothing is)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    setting: Setting
    rate: float
    wrong: str = ""


class _Remembered(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    measured: tuple[Measured, ...]


class Runs(Protocol):
    """A network, ready to run with a setting."""

    def infer(self, images: NDArray[np.uint8]) -> Outputs:
        """See `Backend.infer`."""


def candidates(arithmetics: Sequence[str], threads: int) -> tuple[Setting, ...]:
    """What may be the fastest, the most exact and usual first; one processor has no use for several streams."""
    streams = (False, True) if threads > 1 else (True,)
    return tuple(Setting(arithmetic=name, one_stream=one) for name in arithmetics for one in streams)


def chosen(measured: Sequence[Measured]) -> Setting:
    """The fastest setting of those that are right; an earlier one unless a later one is faster by more than measuring
    errs."""
    right = [entry for entry in measured if not entry.wrong] or [*measured[:1]]
    best = right[0]
    for entry in right[1:]:
        if entry.rate > best.rate * _WORTH:
            best = entry
    return best.setting


def measured_settings(
    networks: Sequence[Network],
    shape: tuple[int, ...],
    settings: Sequence[Setting],
    threads: int,
    open_with: Callable[[Setting], Runs],
    compare: Compare,
) -> tuple[Measured, ...]:
    """The rates of the settings that may be the fastest, for inputs of `shape` (batch, side, side, 3) on `threads`
    processors; measured by the first process of this user that asks on this kind of machine, remembered for all others.

    Args:
        networks: what runs: the network, and its quantised form if that is among the settings.
        shape: see there.
        settings: what to choose from; the results of the first are the reference.
        threads: see there.
        open_with: makes a network ready to run with a setting; from any thread.
        compare: says whether a setting's results will do.

    Raises:
        RuntimeError: OpenVINO refuses the network.
    """
    core = openvino.Core()
    asked: dict[str, Any] = {str(number): setting.as_text() for number, setting in enumerate(settings)}
    asked |= {"threads": threads, "networks": [network.digest.hex() for network in networks]}
    name = f"{compilation_key(core, networks[0], shape, asked)}.fastest"
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
    settings: Sequence[Setting], shape: tuple[int, ...], open_with: Callable[[Setting], Runs], compare: Compare
) -> tuple[Measured, ...]:
    """Each arithmetic once; then, of those that are not far behind, the other ways to divide the processors."""
    batch, side = shape[0], shape[1]
    images = np.concatenate([canary_images(side, batch)] * 2)
    race = _Race(images, open_with, compare)
    race.enter([setting for setting in settings if setting.one_stream == settings[0].one_stream])
    near = {setting.arithmetic for setting in race.leaders()}
    race.enter([other for other in settings if other.arithmetic in near and other not in race.took])
    race.finish()
    race.confirm(settings)
    return tuple(
        Measured(setting=setting, rate=len(images) / min(race.took[setting]), wrong=race.wrong[setting])
        for setting in settings
        if setting in race.took
    )


class _Race:
    """Runs settings on the same images and keeps their times: the shortest counts, as other work on the machine only
    makes them longer. The results of the first are what the others are compared with."""

    def __init__(self, images: NDArray[np.uint8], open_with: Callable[[Setting], Runs], compare: Compare) -> None:
        self._images, self._open_with, self._compare = images, open_with, compare
        self._ready: dict[Setting, Runs] = {}
        self._reference: NDArray[np.float32] | None = None
        self.wrong: dict[Setting, str] = {}
        self.took: dict[Setting, list[float]] = {}

    def enter(self, settings: Sequence[Setting]) -> None:
        """Make settings ready, all at once, then run one after the other: the first time for the memory, the second for
        the clock."""
        if not settings:
            return
        with ThreadPoolExecutor(len(settings)) as threads:
            self._ready |= dict(zip(settings, threads.map(self._open_with, settings), strict=True))
        for setting in settings:
            probabilities = self._ready[setting].infer(self._images)[0]
            self._reference = probabilities if self._reference is None else self._reference
            self.wrong[setting] = self._compare(setting, probabilities, self._reference)
            self.took[setting] = []
            self._run(setting)

    def leaders(self) -> list[Setting]:
        """Those that may still be the fastest of the right ones."""
        right = [setting for setting, wrong in self.wrong.items() if not wrong] or [*self.wrong][:1]
        best = min(min(self.took[setting]) for setting in right)
        return [setting for setting in right if min(self.took[setting]) <= _BEATEN * best]

    def finish(self) -> None:
        """Run the leaders by turns until the clock errs little: what slows the machine down slows all of them down."""
        while unsure := [setting for setting in self.leaders() if self._is_unsure(setting)]:
            for setting in unsure:
                self._run(setting)

    def confirm(self, settings: Sequence[Setting]) -> None:
        """Where a later setting beat an earlier one, but not clearly, run both again: a disturbance of the earlier one
        alone would look the same."""
        best: Setting | None = None
        for setting in settings:
            if self.wrong.get(setting, "not run"):
                continue
            while best and _WORTH < self._gain(best, setting) < _CLEAR and len(self.took[setting]) < _CONFIRMED:
                self._run(best)
                self._run(setting)
            if best is None or self._gain(best, setting) > _WORTH:
                best = setting

    def _gain(self, before: Setting, after: Setting) -> float:
        return min(self.took[before]) / min(self.took[after])

    def _is_unsure(self, setting: Setting) -> bool:
        times = self.took[setting]
        return len(times) < _ROUNDS or sum(times) < _SECONDS

    def _run(self, setting: Setting) -> None:
        start = time.perf_counter()
        self._ready[setting].infer(self._images)
        self.took[setting].append(time.perf_counter() - start)


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
