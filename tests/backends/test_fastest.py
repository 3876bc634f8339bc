"""The fastest right setting wins, and is measured once."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bloodcell_batch.backends.canary import canary_images, disagreement_where_sure
from bloodcell_batch.backends.contract import BackendOptions, Outputs
from bloodcell_batch.backends.openvino import fastest, packaged
from bloodcell_batch.backends.openvino.backend import open_int8, open_on_cpu, settings_measured
from bloodcell_batch.backends.openvino.fastest import Measured, Setting, candidates, chosen
from bloodcell_batch.backends.openvino.int8 import Int8Network, has_int8, packaged_int8
from bloodcell_batch.backends.openvino.networks import Network, converted
from bloodcell_batch.backends.openvino.packaged import packaged_place
from bloodcell_batch.errors import BackendError
from bloodcell_batch.export.packaged_networks import MAX_LOSS
from bloodcell_batch.model.file import DEFAULT_MODEL, open_model

F32, F32_ONE = (Setting(arithmetic="f32", one_stream=one) for one in (False, True))
BF16, BF16_ONE = (Setting(arithmetic="bf16", one_stream=one) for one in (False, True))


def of(*rates: float, wrong: str = "") -> list[Measured]:
    settings = (F32, F32_ONE, BF16, BF16_ONE)[: len(rates)]
    return [
        Measured(setting=setting, rate=rate, wrong=wrong if setting.arithmetic == "bf16" else "")
        for setting, rate in zip(settings, rates, strict=True)
    ]


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        (of(840, 880, 600, 500), F32_ONE),
        (of(840, 850, 860, 870), F32),  # within what measuring errs
        (of(300, 310, 900, 600), BF16),
        (of(300, 310, 900, 990), BF16_ONE),
        (of(300, 310, 900, 600, wrong="a picture has another class"), F32),
        (of(840, 880, 600, 700)[2:], BF16_ONE),
        (of(840, 880, 600, 700, wrong="as asked, all the same")[2:], BF16),
        (of(500, 400), F32),
    ],
)
def test_the_fastest_right_one(measured: list[Measured], expected: Setting) -> None:
    assert chosen(measured) == expected


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in seconds, which passes only when a test says so."""
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    return now


class Timed:
    """Stands for a network that takes some time, and is right or wrong."""

    def __init__(self, clock: list[float], seconds: float, said: float) -> None:
        self.clock, self.seconds, self.said, self.runs = clock, seconds, said, 0

    def infer(self, images: NDArray[np.uint8]) -> Outputs:
        self.runs += 1
        self.clock[0] += self.seconds
        return np.full((len(images), 2), self.said, np.float32), np.zeros((len(images), 1), np.float32)


@pytest.mark.parametrize(
    ("seconds", "bf16_says", "entered", "best"),
    [
        ((0.10, 0.09, 0.14, 0.07), 0.5, 3, F32_ONE),  # so far behind that dividing it otherwise makes up for nothing
        ((0.10, 0.09, 0.11, 0.08), 0.5, 4, BF16_ONE),
        ((0.30, 0.20, 0.10, 0.12), 0.5, 3, BF16),
        ((0.30, 0.20, 0.10, 0.12), 0.9, 3, F32_ONE),  # bfloat16 is wrong, however fast it is
        ((0.10, 0.10, 0.10, 0.10), 0.5, 4, F32),
    ],
)
def test_what_can_not_win_is_not_run_again(
    clock: list[float],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    seconds: tuple[float, ...],
    bf16_says: float,
    entered: int,
    best: Setting,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    settings = candidates(("f32", "bf16"), 2)
    assert settings == (F32, F32_ONE, BF16, BF16_ONE)
    networks = {
        setting: Timed(clock, took, bf16_says if setting.arithmetic == "bf16" else 0.5)
        for setting, took in zip(settings, seconds, strict=True)
    }
    network, opened = Network(b"graph", b"weights"), []

    def open_with(setting: Setting) -> Timed:
        opened.append(setting)
        return networks[setting]

    def compare(_setting: Setting, found: NDArray[np.float32], right: NDArray[np.float32]) -> str:
        return "" if (found == right).all() else "wrong"

    measured = fastest.measured_settings([network], (4, 32, 32, 3), settings, 2, open_with, compare)
    assert chosen(measured) == best
    assert {entry.setting for entry in measured} == set(opened)
    assert len(opened) == entered
    for entry in measured:
        assert entry.rate == pytest.approx(8 / networks[entry.setting].seconds)
        assert bool(entry.wrong) == (networks[entry.setting].said != 0.5)
        far = entry.wrong or entry.rate < chosen_rate(measured) / 1.3
        runs = networks[entry.setting].runs
        assert runs == 2 if far else runs >= 4  # one of them for the memory


def chosen_rate(measured: tuple[Measured, ...]) -> float:
    return max(entry.rate for entry in measured if not entry.wrong)


def test_a_setting_that_was_disturbed_is_not_beaten(
    clock: list[float], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    class Disturbed(Timed):
        """Takes a fifth longer until it has run five times."""

        def infer(self, images: NDArray[np.uint8]) -> Outputs:
            self.clock[0] += self.seconds / 5 if self.runs < 5 else 0
            return super().infer(images)

    networks = {F32: Disturbed(clock, 0.1, 0.5), F32_ONE: Timed(clock, 0.108, 0.5)}
    settings, network = candidates(("f32",), 2), Network(b"graph", b"weights")
    measured = fastest.measured_settings([network], (4, 32, 32, 3), settings, 2, networks.__getitem__, lambda *_: "")
    assert chosen(measured) == F32
    assert {found.runs for found in networks.values()} <= {5, 6, 7}


def test_one_processor_has_no_use_for_several_streams() -> None:
    assert candidates(("f32", "bf16"), 1) == (F32_ONE, BF16_ONE)


def test_it_is_measured_once_and_again_when_damaged(
    clock: list[float], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    opened: list[Setting] = []

    def open_with(setting: Setting) -> Timed:
        opened.append(setting)
        return Timed(clock, 0.1, 0.5)

    networks = [Network(b"graph", b"weights")]

    def measured(threads: int = 2) -> tuple[Measured, ...]:
        settings = candidates(("f32",), threads)
        return fastest.measured_settings(networks, (4, 32, 32, 3), settings, threads, open_with, lambda *_: "")

    first = measured()
    assert [entry.setting for entry in first] == opened == [F32, F32_ONE]
    assert all(entry.rate > 0 for entry in first)
    assert measured() == first
    assert len(opened) == 2
    measured(threads=3)  # another machine, as far as speed goes
    assert len(opened) == 4
    networks.append(Network(b"quantised graph", b"weights"))
    measured()
    assert len(opened) == 6
    for file in (tmp_path / "bloodcell-batch" / "openvino").glob("*.fastest"):
        file.write_bytes(file.read_bytes()[:-1])
    measured()
    assert len(opened) == 8


def test_a_named_precision_is_obeyed_and_the_description_says_what_runs() -> None:
    backend = open_on_cpu(open_model(), BackendOptions("fp32"))
    assert ", f32, " in backend.description
    assert "stream" in backend.description
    backend.close()
    assert converted(open_model()).xml


def test_the_packaged_model_has_rates_and_the_reference_is_right() -> None:
    measured = settings_measured(open_model())
    assert measured[0].setting.arithmetic == "f32"
    assert not measured[0].wrong
    assert {entry.setting.arithmetic for entry in measured} <= {"f32", "bf16", "int8"}


@pytest.fixture
def int8(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Int8Network:
    """The int8 network in the package, which measures here as faster than anything else, and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(fastest, "_WORTH", 0.0)
    found = packaged_int8(open_model())
    assert found is not None, "run python -m bloodcell_batch.export.packaged_networks INT8.xml"
    return found


def test_auto_runs_the_int8_network_of_the_package_and_says_what_it_costs(int8: Int8Network) -> None:
    if int8.other_numbers(open_int8(int8.network, 128).infer(canary_images(128))[0]):
        pytest.skip("int8 computes other numbers on this processor")
    backend = open_on_cpu(open_model(), BackendOptions())
    assert ", int8, " in backend.description
    assert int8.record.int8.as_text() in backend.description
    assert int8.record.int8.loss <= MAX_LOSS
    named = open_on_cpu(open_model(), BackendOptions("int8"))
    images = canary_images(128, 20)
    assert np.array_equal(backend.infer(images)[0], named.infer(images)[0])
    assert ", f32, " in open_on_cpu(open_model(), BackendOptions("fp32")).description


def test_auto_does_not_run_int8_where_the_numbers_are_others(
    int8: Int8Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a processor without VNNI."""
    canary = (np.array(int8.record.canary) * 0.9).tolist()
    other = replace(int8, record=int8.record.model_copy(update={"canary": canary}))
    monkeypatch.setattr("bloodcell_batch.backends.openvino.backend.packaged_int8", lambda _model: other)
    monkeypatch.setattr("bloodcell_batch.backends.openvino.backend.load_int8", lambda _model: other)
    measured = settings_measured(open_model())
    refused = [entry for entry in measured if entry.setting.arithmetic == "int8"]
    assert refused
    assert all("from those of the machine that measured the accuracy" in entry.wrong for entry in refused)
    assert "int8" not in open_on_cpu(open_model(), BackendOptions()).description
    with pytest.raises(BackendError, match="computes other numbers on this machine"):
        open_on_cpu(open_model(), BackendOptions("int8"))


@pytest.mark.parametrize(("bits", "moved", "accepted"), [(7, 0.015, True), (7, 0.03, False), (8, 0.015, False)])
def test_a_network_that_can_overflow_must_come_out_closer(
    int8: Int8Network,
    bits: int,
    moved: float,
    accepted: bool,  # noqa: FBT001 - a parameter
) -> None:
    network = replace(int8, record=int8.record.model_copy(update={"weight_bits": bits}))
    probabilities = np.array(int8.record.canary, dtype=np.float32)
    probabilities[0, 0] += moved if probabilities[0, 0] < 0.5 else -moved
    assert (network.other_numbers(probabilities) == "") is accepted


def test_only_a_sound_int8_network_of_the_model_is_used(int8: Int8Network, monkeypatch: pytest.MonkeyPatch) -> None:
    assert has_int8(open_model())
    place = packaged_place(DEFAULT_MODEL, "int8")
    with monkeypatch.context() as patch:
        data = place.read_bytes()
        patch.setattr(packaged, "PACKAGED", (Path("nowhere/default_model.safetensors"),))
        assert packaged_int8(open_model()) is None
        folder = Path(os.environ["XDG_CACHE_HOME"])
        patch.setattr(packaged, "PACKAGED", (folder / "m.safetensors",))
        for content, sound in ((data, True), (data[:-1], False), (bytes(32) + data[32:], False)):
            (folder / "m.int8").write_bytes(content)
            assert (packaged_int8(open_model()) == int8) is sound
            assert (packaged_int8(open_model()) is None) is not sound


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
