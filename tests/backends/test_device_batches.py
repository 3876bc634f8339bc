"""Batches on a device, the memory that runs out, and one process per device; all on the CPU."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import draw_picture
from numpy.typing import NDArray
from small_model import make_small_model, small_pictures
from torch import Tensor, nn

from bloodcell_batch.backends import pytorch
from bloodcell_batch.backends.contract import BackendOptions
from bloodcell_batch.backends.device_batches import DeviceBatches
from bloodcell_batch.backends.multi_gpu import ProcessesBackend
from bloodcell_batch.cell_classes import DEFAULT_CLASSES
from bloodcell_batch.errors import BackendError
from bloodcell_batch.model.file import ModelFile, open_model
from bloodcell_batch.model.network import create_network, with_folded_batch_norms

SHAPE = (8, 8, 3)


@pytest.fixture(scope="module")
def model() -> ModelFile:
    return open_model()


def pictures(count: int, side: int) -> NDArray[np.uint8]:
    return np.stack([draw_picture(seed, side) for seed in range(count)])


@pytest.mark.parametrize("pad", [True, False])
@pytest.mark.parametrize("count", [1, 3, 4, 5, 8, 9, 17])
def test_every_image_gets_its_own_row(pad: bool, count: int) -> None:  # noqa: FBT001
    sizes: list[int] = []

    def launch(images: Tensor, probabilities: Tensor, features: Tensor) -> None:
        sizes.append(len(images))
        probabilities[:] = images[:, 0, 0, :2].float()
        features[:] = images.float().mean(dim=(1, 2, 3))[:, None]

    batches = DeviceBatches(torch.device("cpu"), 4, SHAPE, (2, 1), launch, pad=pad, graph=True)
    images = np.random.default_rng(0).integers(0, 256, (count, *SHAPE), dtype=np.uint8)
    probabilities, features = batches(images)
    np.testing.assert_array_equal(probabilities, images[:, 0, 0, :2].astype(np.float32))
    np.testing.assert_allclose(features[:, 0], images.mean(axis=(1, 2, 3)), rtol=1e-5)
    tail = count % 4
    assert sizes == [4] * (count // 4) + ([4 if pad else tail] if tail else [])


def test_out_of_memory_halves_the_batch_and_goes_on(model: ModelFile, monkeypatch: pytest.MonkeyPatch) -> None:
    side = model.header.preprocessing.input_size
    backend = pytorch.open_backend(model, "cpu", BackendOptions())
    images = pictures(5, side)
    expected, _ = backend.infer(images)
    assert "batches of 32" in backend.description
    launch = backend._launch

    def tight(pixels: Tensor, probabilities: Tensor, features: Tensor) -> None:
        if len(pixels) > 8:
            raise torch.OutOfMemoryError("CUDA out of memory")
        launch(pixels, probabilities, features)

    monkeypatch.setattr(backend, "_launch", tight)
    backend._batches = backend._make(32)
    found, _ = backend.infer(images)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert "batches of 8" in backend.description

    def none_left(*_: Tensor) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(backend, "_launch", none_left)
    backend._batches = backend._make(2)
    with pytest.raises(BackendError, match="Not enough GPU memory for a single image"):
        backend.infer(images)


def test_the_batch_that_fits_is_found_once_and_remembered(
    model: ModelFile, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    tried: list[int] = []
    original = pytorch.PyTorchBackend._launch

    def tight(self: pytorch.PyTorchBackend, pixels: Tensor, probabilities: Tensor, features: Tensor) -> None:
        tried.append(len(pixels))
        if len(pixels) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        original(self, pixels, probabilities, features)

    monkeypatch.setattr(pytorch.PyTorchBackend, "_launch", tight)
    assert "batches of 4" in pytorch.open_backend(model, "cpu", BackendOptions()).description
    assert tried == [32, 16, 8, 4]
    tried.clear()
    assert "batches of 4" in pytorch.open_backend(model, "cpu", BackendOptions()).description
    assert tried == [4]
    (tmp_path / "bloodcell-batch" / "batch_sizes.json").write_text("not JSON", encoding="utf-8")
    tried.clear()
    pytorch.open_backend(model, "cpu", BackendOptions())
    assert tried == [32, 16, 8, 4]


def test_half_precision_that_disagrees_is_not_used(
    model: ModelFile, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pytorch, "disagreement", lambda *_: "probabilities differ by up to 0.9 from float32")
    backend = pytorch.open_backend(model, "cpu", BackendOptions(precision="bf16"))
    assert "float32" in backend.description
    assert "bfloat16 is not used: probabilities differ" in caplog.text


@pytest.mark.parametrize(
    ("architecture", "follows"), [("mobilenetv2_100", True), ("resnet18", True), ("densenet121", False)]
)
def test_folding_batch_norms_changes_no_output(architecture: str, follows: bool) -> None:  # noqa: FBT001
    torch.manual_seed(0)
    network = create_network(architecture, len(DEFAULT_CLASSES)).eval()
    for norm in (module for module in network.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.running_mean.uniform_(-0.1, 0.1)  # type: ignore[union-attr]
        norm.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    folded = with_folded_batch_norms(network, 64)
    pixels = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(folded(pixels), network(pixels), rtol=1e-3, atol=1e-3)
    left = sum(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert (left == 0) == follows


def test_one_process_per_device_gives_the_same_rows(tmp_path: Path) -> None:
    model, images = make_small_model(tmp_path), small_pictures(21)
    options = BackendOptions(batch=4)
    alone = pytorch.open_backend(model, "cpu", options)
    expected, expected_features = alone.infer(images)
    both = ProcessesBackend(model, "pytorch", ["cpu", "cpu"], options)
    try:
        assert both.description.startswith("2 processes: PyTorch")
        for count in (1, 2, 21):
            probabilities, features = both.infer(images[:count])
            np.testing.assert_allclose(probabilities, expected[:count], atol=1e-5)
            np.testing.assert_allclose(features, expected_features[:count], atol=1e-4)
        both._workers[1]._process.kill()
        with pytest.raises(BackendError, match=r"The process for cpu ended unexpectedly \(exit code -9\)"):
            both.infer(images)
    finally:
        both.close()
        both.close()


def test_a_device_that_refuses_is_named(tmp_path: Path) -> None:
    model = make_small_model(tmp_path)
    with pytest.raises(BackendError, match="meta"):
        ProcessesBackend(model, "pytorch", ["meta"], BackendOptions(batch=4))


def test_a_call_that_failed_leaves_no_rows_behind() -> None:
    broken = [False]

    def launch(images: Tensor, probabilities: Tensor, features: Tensor) -> None:
        if broken[0] and int(images[0, 0, 0, 0]) == 200:
            raise RuntimeError("the card fell off the bus")
        probabilities[:] = images[:, 0, 0, :2].float()
        features[:] = 0

    batches = DeviceBatches(torch.device("cpu"), 2, SHAPE, (2, 1), launch, pad=True, graph=False)
    first = np.full((4, *SHAPE), 100, dtype=np.uint8)
    first[2:] = 200
    broken[0] = True
    with pytest.raises(RuntimeError):
        batches(first)
    again = np.full((1, *SHAPE), 7, dtype=np.uint8)
    assert (batches(again)[0] == 7).all()
