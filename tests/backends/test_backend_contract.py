"""One golden batch through every backend that this machine has."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import draw_picture
from numpy.typing import NDArray

from bloodcell_batch.backends import AUTO_LADDER, BACKENDS, Rung
from bloodcell_batch.backends import selection as ladder
from bloodcell_batch.backends.contract import Backend, BackendOptions, padded
from bloodcell_batch.backends.openvino.packaged import recall_packaged
from bloodcell_batch.cell_classes import DEFAULT_CLASSES
from bloodcell_batch.errors import BackendError, UsageError
from bloodcell_batch.model.file import ModelFile, open_model
from bloodcell_batch.model.network import load_inference_module

GOLDEN = 37  # more than two internal batches, and no multiple of any


@pytest.fixture(scope="module")
def model() -> ModelFile:
    return open_model()


@pytest.fixture(scope="module")
def golden(model: ModelFile) -> NDArray[np.uint8]:
    side = model.header.preprocessing.input_size
    return np.stack([draw_picture(seed, side) for seed in range(GOLDEN)])


@pytest.fixture(scope="module")
def reference(model: ModelFile, golden: NDArray[np.uint8]) -> NDArray[np.float32]:
    import torch  # noqa: PLC0415

    with torch.inference_mode():
        probabilities: NDArray[np.float32] = load_inference_module(model)(torch.from_numpy(golden))[0].numpy()
    return probabilities


@pytest.fixture(scope="module", params=AUTO_LADDER, ids=lambda rung: f"{rung.backend}-{rung.device}")
def backend(request: pytest.FixtureRequest, model: ModelFile) -> Backend:
    rung: Rung = request.param
    reason = ladder.why_not(rung, model)
    if reason:
        pytest.skip(reason)
    opened: Backend = ladder._module(rung).open_backend(model, rung.device, BackendOptions())
    return opened


def test_agrees_with_float32_pytorch(
    backend: Backend, golden: NDArray[np.uint8], reference: NDArray[np.float32]
) -> None:
    probabilities, features = backend.infer(golden)
    assert probabilities.shape == (GOLDEN, len(DEFAULT_CLASSES.names))
    assert probabilities.dtype == features.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-3)
    int8 = ", int8, " in backend.description  # which says what float32 has; on real cells it differs by 0.26 at most
    tolerance = 0.3 if int8 else 1e-4 if "float32" in backend.description else 0.1
    assert np.abs(probabilities - reference).max() <= tolerance
    sure = np.sort(reference, axis=1)[:, -1] - np.sort(reference, axis=1)[:, -2] > 2 * tolerance
    assert (probabilities.argmax(axis=1) == reference.argmax(axis=1))[sure].all()


@pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 32, 33])
def test_numbers_do_not_depend_on_the_batch(backend: Backend, golden: NDArray[np.uint8], count: int) -> None:
    whole, features = backend.infer(golden)
    some, some_features = backend.infer(golden[:count])
    np.testing.assert_allclose(some, whole[:count], atol=1e-3)
    np.testing.assert_allclose(some_features, features[:count], atol=2e-2)
    again, _ = backend.infer(golden[:count])
    assert np.array_equal(again, some)


def test_a_row_is_the_same_to_the_bit_wherever_and_beside_whatever_it_stands(
    backend: Backend, golden: NDArray[np.uint8]
) -> None:
    whole = backend.infer(golden)
    turned = backend.infer(golden[::-1].copy())
    alone = backend.infer(golden[7:8])
    beside = backend.infer(np.concatenate([np.repeat(golden[:1], 5, axis=0), golden[7:8], golden[20:31]]))
    for rows, others, again, among in zip(whole, turned, alone, beside, strict=True):
        assert np.array_equal(others[::-1], rows)
        assert np.array_equal(again[0], rows[7])
        assert np.array_equal(among[5], rows[7])


def test_the_result_belongs_to_the_caller(backend: Backend, golden: NDArray[np.uint8]) -> None:
    first, features = backend.infer(golden)
    kept, kept_features = first.copy(), features.copy()
    backend.infer(golden[::-1].copy())
    assert np.array_equal(first, kept)
    assert np.array_equal(features, kept_features)


def test_several_threads_may_call_at_once(backend: Backend, golden: NDArray[np.uint8]) -> None:
    parts = [golden[start : start + 1 + start % 20] for start in range(0, GOLDEN, 3)]
    alone = [backend.infer(part) for part in parts]
    with ThreadPoolExecutor(6) as threads:
        together = list(threads.map(backend.infer, parts))
    for rows, others in zip(alone, together, strict=True):
        assert np.array_equal(rows[0], others[0])
        assert np.array_equal(rows[1], others[1])


def test_closing_twice_is_allowed(model: ModelFile) -> None:
    for name in set(BACKENDS) - {"tensorrt"}:
        choice = ladder.open_backend(model, name)
        choice.backend.close()
        choice.backend.close()


def test_auto_records_why_better_rungs_were_skipped(model: ModelFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ladder, "why_not", lambda rung, *_: "broken" if rung.device == "cuda" else "")
    choice = ladder.open_backend(model)
    assert choice.name == "openvino"
    assert choice.skipped == ("tensorrt on cuda: broken", "pytorch on cuda: broken")


def test_auto_goes_on_when_a_runtime_refuses_the_model(model: ModelFile, monkeypatch: pytest.MonkeyPatch) -> None:
    openvino = pytest.importorskip("bloodcell_batch.backends.openvino")

    def refuse(*_: object) -> None:
        raise BackendError("unsupported operation")

    monkeypatch.setattr(ladder, "why_not", lambda rung, *_: "no driver" if rung.device == "cuda" else "")
    monkeypatch.setattr(openvino, "open_backend", refuse)
    choice = ladder.open_backend(model)
    assert choice.name == "pytorch"
    assert choice.skipped == (
        "tensorrt on cuda: no driver",
        "pytorch on cuda: no driver",
        "openvino on cpu: unsupported operation",
    )
    assert choice.refused == ("openvino on cpu is not used: unsupported operation",)


def test_a_named_backend_that_can_not_run_is_an_error(model: ModelFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ladder, "why_not", lambda *_: "no such device")
    with pytest.raises(BackendError, match="openvino on cpu: no such device") as caught:
        ladder.open_backend(model, "openvino")
    assert caught.value.exit_code == 4


def test_an_unknown_backend_names_the_known_ones(model: ModelFile) -> None:
    with pytest.raises(UsageError, match="cray") as caught:
        ladder.open_backend(model, "cray")
    assert "openvino" in caught.value.hint


def test_padding_repeats_the_last_image() -> None:
    images = np.arange(2 * 3, dtype=np.uint8).reshape(2, 1, 1, 3)
    assert np.array_equal(padded(images, 4)[2:], np.repeat(images[1:], 2, axis=0))
    assert padded(images, 2) is images


def test_first_run_later_runs_and_runs_without_a_cache_agree_to_the_last_bit(
    model: ModelFile, golden: NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    outputs = []
    for cache in (tmp_path / "cache", tmp_path / "cache", tmp_path / "file" / "no cache can be here"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
        outputs.append(ladder.open_backend(model, "openvino", BackendOptions("fp32")).backend.infer(golden))
    kept = sorted(path.suffix for path in (tmp_path / "cache").rglob("*") if path.is_file())
    converted_here = [] if recall_packaged(model, "network") else [".network"]
    assert kept == [".compiled", ".fastest", ".lock", *converted_here]
    for probabilities, features in outputs[1:]:
        assert np.array_equal(probabilities, outputs[0][0])
        assert np.array_equal(features, outputs[0][1])
