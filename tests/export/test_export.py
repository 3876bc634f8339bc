"""Exports through the command line, compared with PyTorch on the CPU."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import draw_picture, encode
from program_commands import app
from typer.testing import CliRunner

from bloodcell_batch.errors import BackendError
from bloodcell_batch.export.parity import measure_parity, reference_outputs, require_parity
from bloodcell_batch.export.parity_images import Sample, load_sample
from bloodcell_batch.model.file import ModelFile, open_model
from bloodcell_batch.progress import NullObserver

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra [onnx] is not installed")
pytest.importorskip("onnxscript", reason="the extra [onnx] is not installed")


@pytest.fixture(scope="module")
def model() -> ModelFile:
    return open_model()


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cells")
    for seed in range(9):
        (folder / f"{seed}.jpg").write_bytes(encode(draw_picture(seed, 140)))
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    return folder


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_onnx_is_the_same_network_for_any_batch(model: ModelFile, tmp_path: Path, precision: str, pbc: Path) -> None:
    out = tmp_path / "m.onnx"
    options = ["--precision", precision, "--images", str(pbc), "--max-images", "40", "--out", str(out)]
    result = CliRunner().invoke(app, ["export-onnx", *options])
    assert result.exit_code == 0, result.stderr
    assert "same class on 100.00% of 40 images (pbc)" in result.stdout
    record = json.loads((tmp_path / "m.onnx.json").read_text(encoding="utf-8"))
    assert record["model"]["sha256"] == model.sha256
    assert record["parity"]["max_difference"] <= {"fp32": 1e-4, "fp16": 0.02}[precision]
    session = onnxruntime.InferenceSession(out.read_bytes(), providers=["CPUExecutionProvider"])
    (image_input,) = session.get_inputs()
    assert (image_input.name, image_input.type, image_input.shape) == (
        "images",
        "tensor(uint8)",
        ["batch", 128, 128, 3],
    )
    assert [output.type for output in session.get_outputs()] == ["tensor(float)", "tensor(float)"]
    images = np.stack([draw_picture(seed, 128) for seed in range(7)])
    whole = session.run(None, {"images": images})[0]
    for count in (1, 2, 7):
        part = session.run(None, {"images": images[:count]})[0]
        np.testing.assert_allclose(part, whole[:count], atol=1e-3)
    if precision == "fp16":
        assert out.stat().st_size < 6e6  # half the weights' bytes: the body really is in half precision


def test_openvino_is_the_same_network(cells: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.xml"
    result = CliRunner().invoke(app, ["export-openvino", "--images", str(cells), "--out", str(out)])
    assert result.exit_code == 0, result.stderr
    assert "of 9 images" in result.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.bin", "m.xml", "m.xml.json"]
    again = CliRunner().invoke(app, ["export-openvino", "--images", str(cells), "--out", str(out)])
    assert again.exit_code == 1
    assert "exists already" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["export-onnx", "--out", "m.pb"], "must end in .onnx"),
        (["export-onnx", "--out", "no/such/folder/m.onnx"], "There is no folder"),
        (["export-openvino", "--out", "m.onnx"], "must end in .xml"),
        (["export-onnx", "--out", "m.onnx", "--images", "nowhere"], "nowhere"),
        (["export-onnx", "missing.safetensors", "--out", "m.onnx"], "missing.safetensors"),
        (["export-onnx", "--out", "m.onnx", "--precision", "int4"], "--precision"),
    ],
)
def test_wrong_use_says_what_and_where(
    arguments: list[str], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code in {1, 2}
    assert text in result.stderr
    assert not list(tmp_path.iterdir())


def test_another_network_is_refused(model: ModelFile) -> None:
    sample = load_sample(None, 8, model.header.preprocessing, 0, NullObserver())
    sample = Sample(sample.images[:8], sample.source)
    reference = reference_outputs(model, sample.images)
    same = measure_parity(sample, reference, lambda images: reference_outputs(model, images))
    require_parity(same, "fp32", "copy")
    other = measure_parity(
        sample, (np.roll(reference[0], 1, axis=1), reference[1]), lambda i: reference_outputs(model, i)
    )
    with pytest.raises(BackendError, match="The copy is not the same network"):
        require_parity(other, "fp32", "copy")
    broken = (np.full_like(reference[0], np.nan), reference[1])
    nothing = measure_parity(sample, reference, lambda images: (broken[0][: len(images)], broken[1]))
    with pytest.raises(BackendError, match="inf"):
        require_parity(nothing, "fp16", "copy")
