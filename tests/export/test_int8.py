"""int8: which images are used for what, what the gate refuses, and the whole way through the command line."""

import json
import shutil
from pathlib import Path

import numpy as np
import openvino
import pytest
from conftest import draw_picture, encode
from numpy.typing import NDArray
from program_commands import app
from small_model import SIDE, make_small_model, small_pictures
from typer.testing import CliRunner

from bloodcell_batch.backends import selection as ladder
from bloodcell_batch.backends.contract import BackendOptions
from bloodcell_batch.backends.openvino.backend import OpenVinoBackend, open_int8
from bloodcell_batch.backends.openvino.int8 import AgainstLabels, Int8Check, packaged_int8, record_path
from bloodcell_batch.backends.openvino.networks import serialised, summed_weights
from bloodcell_batch.cell_classes import DEFAULT_CLASSES
from bloodcell_batch.config.export import ExportOpenVinoConfig
from bloodcell_batch.errors import BackendError, InputError, UsageError
from bloodcell_batch.export import calibration_images as choosing
from bloodcell_batch.export import int8 as exporting
from bloodcell_batch.export.calibration_images import Cells, load_cells
from bloodcell_batch.export.int8 import compare, quantised, require_accuracy, weight_bits
from bloodcell_batch.export.parity import reference_outputs
from bloodcell_batch.images.preprocessing import Preprocessing
from bloodcell_batch.model.file import ModelFile, open_model, save_model
from bloodcell_batch.progress import NullObserver
from bloodcell_batch.records import DecodedImage, ImageFacts, ImageFile, Quality
from bloodcell_batch.training.data.class_names import ClassNames
from bloodcell_batch.training.data.labelled import load_labelled
from bloodcell_batch.training.data.seen import Seen, SeenPart

QUIET = NullObserver()
LABELLED = AgainstLabels(right=980, accepted_right=950, accepted_wrong=10)
SAME = Int8Check(
    images=1000,
    source="slides",
    calibration_images=300,
    same_class=1000,
    same_decision=1000,
    other_label=0,
    top_class_lost=0,
    review_float32=40,
    review_int8=40,
    max_difference=0.01,
)

OTHER_CLASSES = SAME.model_copy(update={"same_class": 998})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    return make_small_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def backend(model: ModelFile) -> OpenVinoBackend:
    pytest.importorskip("nncf", reason="the extra [int8] is not installed")
    return open_int8(quantised(model, small_pictures(40)), SIDE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty pictures in two class folders, one copy, one broken file, and one of no class."""
    root = tmp_path_factory.mktemp("cells")
    for seed in range(40):
        place = root / DEFAULT_CLASSES.names[seed % 2]
        place.mkdir(exist_ok=True)
        (place / f"{seed:02}.png").write_bytes(encode(draw_picture(seed, 40), "PNG"))
    (root / DEFAULT_CLASSES.names[0] / "copy.png").write_bytes(
        (root / DEFAULT_CLASSES.names[0] / "00.png").read_bytes()
    )
    (root / DEFAULT_CLASSES.names[0] / "broken.png").write_bytes(b"\x89PNG broken")
    (root / "smudge").mkdir()
    (root / "smudge" / "x.png").write_bytes(encode(draw_picture(99, 40), "PNG"))
    return root


def _config(images: Path, **changes: object) -> ExportOpenVinoConfig:
    config = ExportOpenVinoConfig(precision="int8", images=images, max_loss=0.05)
    return config.model_copy(update={"calibration_images": 10, **changes})


def _cells(labels: NDArray[np.int64] | None, count: int = 21) -> Cells:
    facts = ImageFacts("0" * 64, bytes(32), SIDE, SIDE, Quality(128.0, 40.0, 100.0), bytes(16))
    pictures = small_pictures(count)
    images = (DecodedImage(ImageFile(f"{i}.png", "s", 1, 1), facts, pixels) for i, pixels in enumerate(pictures))
    return Cells(tuple(images), labels)


def test_calibration_and_comparison_share_no_image(
    model: ModelFile, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choosing, "LEAST_COMPARED", 25)
    calibration, compared = load_cells(model, folder, _config(folder), QUIET)
    names = [{image.file.path for image in part.images} for part in (calibration, compared)]
    assert (len(names[0]), len(names[1])) == (10, 30)
    assert len(names[0] | names[1]) == 40  # the copy and the picture of no class are left out
    assert compared.labels is not None
    assert [DEFAULT_CLASSES.names[label] for label in compared.labels] == [
        image.file.path.split("/")[0] for image in compared.images
    ]
    again = load_cells(model, folder, _config(folder), QUIET)[1]
    assert [image.file for image in again.images] == [image.file for image in compared.images]


def test_images_of_the_training_only_calibrate(
    model: ModelFile, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choosing, "LEAST_COMPARED", 20)
    everything = load_cells(model, folder, _config(folder), QUIET)
    digests = {image.file.path: image.facts.sha256 for part in everything for image in part.images}
    trained = {path for path in digests if path.startswith(DEFAULT_CLASSES.names[0])}
    seen = np.array([int(digests[path][:16], 16) for path in sorted(trained)], dtype=np.uint64)
    other = save_model(tmp_path / "m.safetensors", model.header, model.load_tensors("") | {"seen.train": seen})
    calibration, compared = load_cells(other, folder, _config(folder), QUIET)
    assert {image.file.path for image in calibration.images} <= trained
    assert not {image.file.path for image in compared.images} & trained


def test_copies_of_the_training_are_not_compared_on(
    model: ModelFile, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The twenty basophils were trained on, as BMP."""
    monkeypatch.setattr(choosing, "LEAST_COMPARED", 20)
    place = tmp_path / "cells" / DEFAULT_CLASSES.names[0]
    place.mkdir(parents=True)
    for seed in range(0, 40, 2):
        (place / f"{seed}.bmp").write_bytes(encode(draw_picture(seed, 40), "BMP"))
    trained, _ = load_labelled(
        tmp_path / "cells", Preprocessing(input_size=SIDE), 1, QUIET, names=ClassNames(DEFAULT_CLASSES)
    )
    seen = Seen(SeenPart.of(trained.digests, trained.hashes), Seen.nothing().validation)
    tensors = {f"seen.{name}": value for name, value in seen.tensors().items()}
    other = save_model(tmp_path / "m.safetensors", model.header, model.load_tensors("") | tensors)
    calibration, compared = load_cells(other, folder, _config(folder), QUIET)
    assert {image.file.path.split("/")[0] for image in calibration.images} == {DEFAULT_CLASSES.names[0]}
    assert {image.file.path.split("/")[0] for image in compared.images} == {DEFAULT_CLASSES.names[1]}


def test_a_folder_without_classes_has_no_labels(
    model: ModelFile, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choosing, "LEAST_COMPARED", 5)
    for number, place in enumerate(sorted(path for path in folder.iterdir() if path.is_dir())):
        shutil.copytree(place, tmp_path / f"slide {number}")
    _, compared = load_cells(model, tmp_path, _config(tmp_path, max_images=7), QUIET)
    assert compared.labels is None
    assert len(compared.images) == 7


def test_too_few_images_are_refused(model: ModelFile, folder: Path) -> None:
    with pytest.raises(InputError, match=r"Only 30 images .* can be compared; int8 needs 500") as caught:
        load_cells(model, folder, _config(folder), QUIET)
    assert "Besides 10 for calibration" in caught.value.hint


def test_the_network_is_in_int8_and_nearly_the_same(model: ModelFile, backend: OpenVinoBackend) -> None:
    images = small_pictures(60)[40:]
    found, features = backend.infer(images)
    expected, expected_features = ladder.open_backend(model, "openvino", BackendOptions("fp32")).backend.infer(images)
    assert not np.array_equal(found, expected)
    assert np.abs(found - expected).max() < 0.05
    assert np.corrcoef(features.ravel(), expected_features.ravel())[0, 1] > 0.98


def test_no_sum_of_two_products_overflows_16_bits(model: ModelFile) -> None:
    """Processors without VNNI instructions add pairs of channels in 16 bits, and cut off what is larger."""
    pytest.importorskip("nncf", reason="the extra [int8] is not installed")
    packaged = packaged_int8(open_model())
    assert packaged is not None
    assert packaged.record.weight_bits == 7
    for network in (quantised(model, small_pictures(40)), packaged.network):
        assert summed_weights(network.read())
        assert weight_bits(network) == 7


@pytest.mark.parametrize(
    ("shape", "largest", "bits"),
    [
        ((4, 3, 1, 1), 64, 7),
        ((4, 3, 1, 1), 65, 8),
        ((2, 2, 3, 1, 1), 127, 8),  # groups of three channels
    ],
)
def test_the_record_says_how_large_the_weights_are(shape: tuple[int, ...], largest: int, bits: int) -> None:
    summed = openvino.opset13.constant(np.full(shape, -largest, np.int8))
    depthwise = openvino.opset13.constant(np.full((6, 1, 1, 3, 3), 127, np.int8))
    network = serialised(openvino.Model([summed, depthwise], [], "weights"))
    assert [weights.shape for weights in summed_weights(network.read())] == [shape]
    assert weight_bits(network) == bits


def test_a_row_does_not_depend_on_its_batch(backend: OpenVinoBackend) -> None:
    images = small_pictures(37)
    rows, features = backend.infer(images)
    turned, turned_features = backend.infer(images[::-1].copy())
    assert np.array_equal(turned[::-1], rows)
    assert np.array_equal(turned_features[::-1], features)
    assert np.array_equal(backend.infer(images[7:8])[0][0], rows[7])


def test_a_copy_costs_nothing(model: ModelFile) -> None:
    reference = reference_outputs(model, _cells(None).pixels)
    labels = reference[0].argmax(axis=1)
    labels[:3] = (labels[:3] + 1) % 8
    exact = ladder.open_backend(model, "pytorch").backend
    check = compare(model, exact, _cells(labels), 10, "slides")  # type: ignore[arg-type]
    assert (check.same_class, check.same_decision, check.other_label, check.top_class_lost) == (21, 21, 0, 0)
    assert check.float32 == check.int8
    assert check.int8 is not None
    assert check.int8.right == 18
    assert check.int8.accepted_right + check.int8.accepted_wrong + check.review_int8 == 21
    assert check.loss == 0


class _Turned:
    """Says of every third image that it is of the next class."""

    def __init__(self, model: ModelFile) -> None:
        self._model = model

    def infer(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        probabilities, features = reference_outputs(self._model, images)
        probabilities[::3] = np.roll(probabilities[::3], 1, axis=1)
        return probabilities, features


@pytest.mark.parametrize("labelled", [True, False])
def test_every_lost_class_is_counted(model: ModelFile, labelled: bool) -> None:  # noqa: FBT001 - a parameter
    header = model.header.model_copy(update={"review_threshold": 0.0})
    model = ModelFile(model.path, model.sha256, header)  # so that every cell gets a label
    truth = reference_outputs(model, _cells(None).pixels)[0].argmax(axis=1)
    check = compare(model, _Turned(model), _cells(truth if labelled else None), 10, "slides")  # type: ignore[arg-type]
    assert (check.same_class, check.top_class_lost) == (14, 7)
    assert (check.other_label, check.same_decision, check.review_int8) == (7, 14, 0)
    assert check.loss == 7 / 21
    assert check.lost_at_most > 7 / 21
    with pytest.raises(BackendError, match=r"int8 costs 33.33%, more than 5.00%: ") as caught:
        require_accuracy(check, 0.05)
    assert ("folder per class" in caught.value.hint) is not labelled


@pytest.mark.parametrize(
    ("check", "loss"),
    [
        (SAME, 0.0),
        (OTHER_CLASSES, 0.002),
        (SAME.model_copy(update={"review_int8": 43}), 0.003),
        (SAME.model_copy(update={"review_int8": 37}), 0.003),
        (OTHER_CLASSES.model_copy(update={"float32": LABELLED, "int8": LABELLED}), 0.0),
        *(
            (SAME.model_copy(update={"float32": LABELLED, "int8": LABELLED.model_copy(update=change)}), loss)
            for change, loss in (
                ({"right": 979}, 0.001),
                ({"right": 990}, 0.0),
                ({"accepted_right": 946}, 0.004),
                ({"accepted_wrong": 12}, 0.002),
            )
        ),
    ],
)
def test_the_largest_cost_counts(check: Int8Check, loss: float) -> None:
    assert check.loss == loss
    require_accuracy(check, loss)
    if loss:
        with pytest.raises(BackendError, match="int8 costs"):
            require_accuracy(check, loss - 0.0005)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--precision", "int8"], "needs --images"),
        (["--precision", "int8", "--images", "nowhere"], "nowhere"),
        (["--precision", "int8", "--images", ".", "--max-loss", "0.5"], "--max-loss"),
        (["--precision", "int8", "--images", ".", "--out", "m.onnx"], "must end in .xml"),
        (["--precision", "fp32"], "--out is missing"),
    ],
)
def test_wrong_use_says_what(options: list[str], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["export-openvino", *options])
    assert result.exit_code in {1, 2}
    assert text in result.stderr
    assert not list(tmp_path.iterdir())


def test_without_nncf_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UsageError) as caught:
        exporting.export_int8(None, None, _config(folder), QUIET)
    assert "bloodcell-batch[int8]" in caught.value.hint


def test_the_whole_way(pbc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exported beside the model, found there by evaluate, and nothing published when the price is too high."""
    pytest.importorskip("nncf", reason="the extra [int8] is not installed")
    monkeypatch.setattr(choosing, "LEAST_COMPARED", 60)
    default = open_model()
    some = tmp_path / "some"
    for name in DEFAULT_CLASSES.names:
        (some / name).mkdir(parents=True)
        for path in sorted((pbc / name).iterdir())[:60]:
            (some / name / path.name).symlink_to(path)
    model = tmp_path / "m.safetensors"
    model.write_bytes(default.path.read_bytes())
    few = ["--calibration-images", "100", "--max-images", "60", "--images", str(some), "--precision", "int8"]
    result = CliRunner().invoke(app, ["export-openvino", str(model), *few, "--max-loss", "0.05"])
    assert result.exit_code == 0, result.stderr
    assert "on 60 images (some) that the model was not trained on" in result.stdout
    network = tmp_path / "m.int8.xml"
    record = json.loads(record_path(network).read_text(encoding="utf-8"))
    assert record["model"]["sha256"] == default.sha256
    assert (record["int8"]["images"], record["int8"]["calibration_images"]) == (60, 100)
    assert set(record["made_with"]) == {"openvino", "nncf"}
    assert b"FakeQuantize" in network.read_bytes()
    choice = ladder.open_backend(open_model(model), options=BackendOptions("int8"))
    assert ", int8, " in choice.backend.description
    assert "(accuracy " in choice.backend.description
    choice.backend.close()
    again = CliRunner().invoke(app, ["export-openvino", str(model), *few])
    assert "exists already" in again.stderr


def test_nothing_is_published_if_it_costs_too_much(
    model: ModelFile, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("nncf", reason="the extra [int8] is not installed")
    monkeypatch.setattr(choosing, "LEAST_COMPARED", 20)
    monkeypatch.setattr(exporting, "compare", lambda *_: SAME.model_copy(update={"same_class": 900}))
    with pytest.raises(BackendError, match=r"int8 costs 10.00%, more than 5.00%"):
        exporting.export_int8(model.path, tmp_path / "m.xml", _config(folder), QUIET)
    assert not list(tmp_path.iterdir())
