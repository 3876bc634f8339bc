"""OpenVINO's own side: its caches, and the checks before an int8 network is used."""

import hashlib
import json
import logging
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from small_model import SIDE, make_small_model, small_pictures

from bloodcell_batch.backends import selection as ladder
from bloodcell_batch.backends.canary import canary_images
from bloodcell_batch.backends.contract import BackendOptions, Outputs
from bloodcell_batch.backends.openvino.backend import infer_with, open_on_cpu
from bloodcell_batch.backends.openvino.cache import cache_folder, recall, store
from bloodcell_batch.backends.openvino.int8 import has_int8, int8_place, record_path
from bloodcell_batch.backends.openvino.networks import convert
from bloodcell_batch.errors import BackendError
from bloodcell_batch.model.file import ModelFile, open_model


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    return make_small_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def model(file: ModelFile, tmp_path: Path) -> ModelFile:
    """In a folder of its own."""
    return open_model(Path(shutil.copy(file.path, tmp_path)))


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return cache_folder()


def test_an_error_of_openvino_leaves_nobody_waiting(file: ModelFile) -> None:
    backend = open_on_cpu(file, BackendOptions())
    pictures = small_pictures(60)
    plain = backend.infer(pictures)
    wrong = np.zeros((60, SIDE + 1, SIDE, 3), dtype=np.uint8)
    for _ in range(12):  # more than there are requests
        with pytest.raises(RuntimeError):
            backend.infer(wrong)
    assert np.array_equal(backend.infer(pictures)[0], plain[0])


class Counted:
    """Stands in for a request and tells how many threads were in the binding at once: two at its first use can wait for
    each other for ever."""

    inside = most = 0

    def __init__(self, widths: Sequence[int]) -> None:
        self.widths = widths

    def _enter(self) -> None:
        Counted.inside += 1
        Counted.most = max(Counted.most, Counted.inside)
        time.sleep(0.002)
        Counted.inside -= 1

    def start_async(self, _inputs: object) -> None:
        self._enter()

    def wait(self) -> None:
        time.sleep(0.002)

    def get_output_tensor(self, number: int) -> SimpleNamespace:
        self._enter()
        return SimpleNamespace(data=np.zeros((16, self.widths[number])))


def test_one_thread_at_a_time_is_in_the_binding(file: ModelFile) -> None:
    backend = open_on_cpu(file, BackendOptions())
    widths = [found.shape[1] for found in backend.infer(small_pictures(1))]
    requests: SimpleQueue[Any] = SimpleQueue()
    for _ in range(4):
        requests.put(Counted(widths))
    backend._free = requests
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(backend.infer, [small_pictures(40)] * 8))
    assert Counted.most == 1


@pytest.fixture
def int8(model: ModelFile) -> Path:
    """The float32 network in the place of the int8 one, with a fitting record: what is checked is the same."""
    network = convert(model, half=False)
    path = model.path.with_name("m.int8.xml")
    path.write_bytes(network.xml)
    path.with_suffix(".bin").write_bytes(network.weights)
    counts = {"right": 990, "accepted_right": 950, "accepted_wrong": 5}
    check = {"images": 1000, "source": "slides", "calibration_images": 300, "same_class": 999, "same_decision": 995}
    check |= {"other_label": 0, "top_class_lost": 1, "review_float32": 45, "review_int8": 44, "max_difference": 0.1}
    record = {
        "format_version": 1,
        "precision": "int8",
        "sha256": hashlib.sha256(network.xml).hexdigest(),
        "weights_sha256": hashlib.sha256(network.weights).hexdigest(),
        "model": {"sha256": model.sha256, "name": "small"},
        "int8": {**check, "float32": {**counts, "right": 991}, "int8": counts},
        "canary": infer_with(network)(canary_images(SIDE))[0].tolist(),
    }
    record_path(path).write_text(json.dumps(record), encoding="utf-8")
    return path


def _edit(int8: Path, changes: dict[str, object]) -> None:
    record = json.loads(record_path(int8).read_text(encoding="utf-8"))
    record_path(int8).write_text(json.dumps(record | changes), encoding="utf-8")


def _run(model: ModelFile, precision: str = "fp32") -> Outputs:
    options = BackendOptions(precision)  # type: ignore[arg-type]
    return ladder.open_backend(model, "openvino", options).backend.infer(small_pictures(21))


def test_nothing_is_reported_to_openvinos_makers() -> None:
    code = (
        "import sys; import bloodcell_batch.backends.openvino.backend, openvino.tools.ovc\n"
        "assert not [name for name in sys.modules if name.startswith('openvino_telemetry.')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_openvinos_converter_is_there_for_others() -> None:
    code = (
        "import sys; import bloodcell_batch.backends.openvino, openvino\n"
        "assert 'openvino.tools.ovc' not in sys.modules\n"
        "try:\n"
        "    openvino.convert_model('nowhere.onnx')\n"
        "except Exception as error:\n"
        "    assert 'nowhere.onnx' in str(error), error\n"
        "from openvino.tools.ovc import convert_model\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_cache_gives_back_what_was_stored(empty_cache: Path) -> None:
    assert recall("network") is None
    store("network", b"weights")
    assert recall("network") == b"weights"
    assert [path.name for path in empty_cache.iterdir()] == ["network"]


@pytest.mark.parametrize("damage", ["changed", "shortened", "emptied"])
def test_a_damaged_file_is_not_given_back(damage: str, empty_cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    store("network", b"weights")
    path = empty_cache / "network"
    data = path.read_bytes()
    path.write_bytes({"changed": data[:-1] + b"S", "shortened": data[:-1], "emptied": b""}[damage])
    assert recall("network") is None
    assert "damaged and is made again" in caplog.text


def test_a_cache_that_can_not_be_used_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    store("network", b"weights")
    assert recall("network") is None
    assert "could not be cached" in caplog.text


@pytest.mark.usefixtures("empty_cache")
def test_writers_at_once_never_leave_a_mixture() -> None:
    contents = [bytes([i]) * 100_000 for i in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: store("network", contents[i % 4]), range(40)))
    assert recall("network") in {*contents, None}
    store("network", b"weights")
    assert recall("network") == b"weights"


def test_starts_from_a_full_an_empty_and_a_damaged_cache_give_the_same_bits(
    model: ModelFile, empty_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = _run(model)
    assert not caplog.records
    kept = {path.suffix: path for path in empty_cache.iterdir() if path.suffix != ".lock"}
    assert set(kept) == {".network", ".compiled", ".fastest"}
    stamps = {path: path.stat().st_mtime_ns for path in kept.values()}
    outputs = [_run(model)]
    assert stamps == {path: path.stat().st_mtime_ns for path in kept.values()}
    for suffix in (".compiled", ".network"):
        data = bytearray(kept[suffix].read_bytes())
        data[len(data) // 2] ^= 255
        kept[suffix].write_bytes(data)
        caplog.clear()
        outputs.append(_run(model))
        assert f"{kept[suffix].name} is damaged and is made again" in caplog.text
    for path in empty_cache.glob("*.compiled"):
        store(path.name, b"no network of OpenVINO's")
    outputs.append(_run(model))
    assert "OpenVINO refuses the compiled network" in caplog.text
    outputs.append(_run(model))
    for found in outputs:
        assert np.array_equal(found[0], first[0])
        assert np.array_equal(found[1], first[1])


@pytest.mark.usefixtures("int8")
def test_int8_runs_only_if_named_and_says_what_it_costs(model: ModelFile) -> None:
    choice = ladder.open_backend(model, options=BackendOptions("int8"))
    assert choice.name == "openvino"
    assert "int8, " in choice.backend.description
    assert "(accuracy 99.00%, float32 99.10%, on 1,000 images)" in choice.backend.description
    assert np.array_equal(choice.backend.infer(small_pictures(5))[0], _run(model, "fp32")[0][:5])
    assert "int8" not in ladder.open_backend(model, "openvino").backend.description


def test_the_network_for_the_models_of_the_package_is_in_the_cache(
    model: ModelFile, int8: Path, empty_cache: Path
) -> None:
    assert has_int8(model)
    assert int8_place(model) == int8
    assert int8_place(open_model()).parent == empty_cache
    empty_cache.mkdir(parents=True)
    moved = empty_cache / f"{model.sha256}.int8.xml"
    for suffix in (".xml", ".bin", ".xml.json"):
        int8.with_name(f"m.int8{suffix}").rename(empty_cache / f"{model.sha256}.int8{suffix}")
    assert has_int8(model)
    assert moved.is_file()
    assert len(_run(model, "int8")[0]) == 21


@pytest.mark.parametrize("backend", ["auto", "openvino", "pytorch"])
def test_without_an_int8_network_the_error_says_how_to_make_one(model: ModelFile, backend: str) -> None:
    with pytest.raises(BackendError) as caught:
        ladder.open_backend(model, backend, BackendOptions("int8"))
    assert caught.value.exit_code == 4
    expected = "PyTorch does not run int8" if backend == "pytorch" else "export-openvino --precision int8"
    assert expected in caught.value.message


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"model": {"sha256": "0" * 64}}, "it is of another model (000000000000, not "),
        ({"sha256": "0" * 64}, "the graph was changed after its record was written"),
        ({"weights_sha256": "0" * 64}, "the weights were changed after their record was written"),
        ({"precision": "fp32"}, "m.int8.xml.json is wrong at precision"),
        ({"int8": {}}, "m.int8.xml.json is wrong at int8.images"),
        ({"canary": [[1.0] + [0.0] * 7] * 16}, "the int8 network computes other numbers on this machine"),
        ({"canary": [[1.0]]}, "the shape is (16, 8), not (1, 1)"),
    ],
)
def test_a_record_that_does_not_fit_is_refused(
    model: ModelFile, int8: Path, changes: dict[str, object], text: str
) -> None:
    _edit(int8, changes)
    with pytest.raises(BackendError) as caught:
        _run(model, "int8")
    assert text in caught.value.message
    assert "--overwrite" in caught.value.hint


@pytest.mark.parametrize("name", ["m.int8.bin", "m.int8.xml.json"])
def test_a_missing_file_is_named(model: ModelFile, int8: Path, name: str) -> None:
    int8.with_name(name).unlink()
    with pytest.raises(BackendError, match=name):
        _run(model, "int8")


def test_weights_that_were_damaged_on_the_disk_are_refused(model: ModelFile, int8: Path) -> None:
    weights = int8.with_suffix(".bin")
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    with pytest.raises(BackendError, match="the weights were changed"):
        _run(model, "int8")
