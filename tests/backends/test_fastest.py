"""The fastest right setting wins, and is measured once."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bloodcell_batch.backends.canary import disagreement_where_sure
from bloodcell_batch.backends.contract import BackendOptions, Outputs
from bloodcell_batch.backends.openvino import fastest
from bloodcell_batch.backends.openvino.backend import open_on_cpu, settings_measured
from bloodcell_batch.backends.openvino.fastest import Measured, Setting, chosen
from bloodcell_batch.backends.openvino.networks import Network, converted
from bloodcell_batch.model.file import open_model

F32, F32_ONE = (Setting(arithmetic="f32", one_stream=one) for one in (False, True))
BF16, BF16_ONE = (Setting(arithmetic="bf16", one_stream=one) for one in (False, True))


def of(*rates: float, wrong: str = "") -> list[Measured]:
    settings = (F32, F32_ONE, BF16, BF16_ONE)[: len(rates)]
    return [
        Measured(setting=setting, rate=rate, wrong=wrong if setting.arithmetic == "bf16" else "")
        for setting, rate in zip(settings, rates, strict=True)
    ]


@pytest.mark.parametrize(
    ("measured", "arithmetic", "expected"),
    [
        (of(840, 880, 600, 500), None, F32_ONE),
        (of(840, 850, 860, 870), None, F32),  # within what measuring errs
        (of(300, 310, 900, 600), None, BF16),
        (of(300, 310, 900, 990), None, BF16_ONE),
        (of(300, 310, 900, 600, wrong="a picture has another class"), None, F32),
        (of(300, 400, 900, 600), "f32", F32_ONE),
        (of(840, 880, 600, 500), "bf16", BF16),
        (of(840, 880, 600, 700, wrong="as asked, all the same"), "bf16", BF16),
        (of(500, 400), None, F32),
    ],
)
def test_the_fastest_right_one(measured: list[Measured], arithmetic: str | None, expected: Setting) -> None:
    assert chosen(measured, arithmetic) == expected


def fake(opened: list[Setting]) -> Callable[[Setting], Callable[[NDArray[np.uint8]], Outputs]]:
    def open_with(setting: Setting) -> Callable[[NDArray[np.uint8]], Outputs]:
        opened.append(setting)
        return lambda images: (np.full((len(images), 2), 0.5, np.float32), np.zeros((len(images), 1), np.float32))

    return open_with


def test_it_is_measured_once_and_again_when_damaged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    opened: list[Setting] = []

    def measured(threads: int = 2) -> tuple[Measured, ...]:
        network = Network(b"graph", b"weights")
        return fastest.measured_settings(network, (4, 32, 32, 3), threads, fake(opened), lambda _a, _b: "")

    first = measured()
    assert [entry.setting for entry in first] == opened
    assert all(entry.rate > 0 for entry in first)
    assert measured() == first
    assert len(opened) == len(first)
    measured(threads=1)  # another machine, as far as speed goes
    assert len(opened) == 2 * len(first)
    for file in (tmp_path / "bloodcell-batch" / "openvino").glob("*.fastest"):
        file.write_bytes(file.read_bytes()[:-1])
    measured()
    assert len(opened) == 3 * len(first)


def test_a_named_precision_is_obeyed_and_the_description_says_what_runs() -> None:
    backend = open_on_cpu(open_model(), BackendOptions("fp32"))
    assert ", f32, " in backend.description
    assert "stream" in backend.description
    backend.close()
    assert converted(open_model()).xml


def test_the_packaged_model_has_rates_and_the_reference_is_right() -> None:
    measured = settings_measured(open_model())
    assert measured[0].setting == F32
    assert not measured[0].wrong
    assert {entry.setting.arithmetic for entry in measured} <= {"f32", "bf16"}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ([[0.97, 0.03], [0.2, 0.8]], ""),  # of the second, float32 was not sure
        ([[0.9, 0.1], [0.6, 0.4]], "differ"),
        ([[0.1, 0.9], [0.6, 0.4]], "differ"),
        ([[float("nan"), 0.1], [0.6, 0.4]], "not numbers"),
    ],
)
def test_what_bfloat16_may_change(changed: list[list[float]], said: str) -> None:
    reference = np.array([[0.96, 0.04], [0.6, 0.4]], np.float32)
    found = disagreement_where_sure(np.array(changed, np.float32), reference, 0.87)
    assert (said in found) if said else not found
    assert "none of the pictures" in disagreement_where_sure(reference, reference, 0.99)
