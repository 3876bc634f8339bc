"""A whole training at toy size: eight classes of drawn pictures, a tiny network, the real code path."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import encode
from PIL import Image
from program_commands import app
from safetensors.torch import save_file
from torchmetrics.functional.classification import multiclass_accuracy
from typer.testing import CliRunner

from bloodcell_batch.cell_classes import DEFAULT_CLASSES
from bloodcell_batch.config.classify import ClassifyConfig
from bloodcell_batch.config.evaluate import EvaluateConfig
from bloodcell_batch.config.recipe import TrainConfig
from bloodcell_batch.config.resolve import resolve
from bloodcell_batch.errors import InputError, ModelFileError, ModelRefusedError, OutputError, TrainingError
from bloodcell_batch.images.preprocessing import Preprocessing
from bloodcell_batch.model.file import SEEN_PREFIX, ModelFile, open_model, save_model
from bloodcell_batch.model.network import load_inference_module
from bloodcell_batch.progress import NullObserver
from bloodcell_batch.runs.pipeline import classify_slides
from bloodcell_batch.training.augmentation.augment import augment, plain
from bloodcell_batch.training.data.labelled import load_labelled, short_digest
from bloodcell_batch.training.data.seen import Counts
from bloodcell_batch.training.data.training_set import read_training_set
from bloodcell_batch.training.evaluation.evaluate import evaluate
from bloodcell_batch.training.evaluation.metrics import Metrics
from bloodcell_batch.training.fit.fit import fit
from bloodcell_batch.training.fit.initial_weights import read_weights
from bloodcell_batch.training.fit.train import check_model_path, train


@pytest.fixture(scope="module")
def trained(toy_cells: Path, toy_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("model") / "toy.safetensors"
    result = CliRunner().invoke(app, ["train", str(toy_cells), "--config", str(toy_recipe), "--out", str(out)])
    assert result.exit_code == 0, result.stderr
    return out, result.stdout


@pytest.fixture(scope="module")
def model(trained: tuple[Path, str]) -> ModelFile:
    return open_model(trained[0])


def test_training_learns_and_prints_the_figures_of_the_test_part(model: ModelFile, trained: tuple[Path, str]) -> None:
    assert model.header.metrics["accuracy"] >= 0.8
    assert model.header.metrics["images"] == model.header.training["split"]["test"] == 16
    assert f"accuracy              {model.header.metrics['accuracy']:.2%}" in trained[1]
    assert model.sha256 in trained[1]


def test_the_model_file_says_where_it_comes_from(model: ModelFile) -> None:
    training = model.header.training
    assert training["recipe"]["architecture"] == "test_efficientnet"
    assert training["images"] == dict.fromkeys(DEFAULT_CLASSES.names, 20)
    assert training["split"] == {"train": 128, "validation": 16, "test": 16}
    assert model.header.attribution == "drawn by a test"
    assert 0.4 <= model.header.review_threshold <= 0.999
    seen = model.load_tensors(SEEN_PREFIX)
    assert len(seen["train"]) == 128
    assert not set(seen["train"].tolist()) & set(seen["validation"].tolist())


def test_evaluate_leaves_out_what_training_saw(model: ModelFile, toy_cells: Path) -> None:
    report = evaluate(model, toy_cells, EvaluateConfig(backend="pytorch"), NullObserver())
    assert report.metrics.images == 16
    assert report.images_left_out == 144
    assert report.left_out == Counts(same_file=144, same_picture=0)
    assert report.metrics.accuracy == pytest.approx(model.header.metrics["accuracy"])
    assert report.metrics.ece == pytest.approx(model.header.metrics["ece"], abs=1e-3)
    everything = evaluate(model, toy_cells, EvaluateConfig(backend="pytorch", part="all"), NullObserver())
    assert everything.metrics.images == 160


@pytest.fixture(scope="module")
def copies(toy_cells: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy cells in other files: with a byte more, as PNG, at another quality, of another size, turned in turn."""
    folder = tmp_path_factory.mktemp("copies")
    for number, path in enumerate(sorted(toy_cells.rglob("*.jpg"))):
        place = folder / path.parent.name
        place.mkdir(exist_ok=True)
        image = Image.open(path)
        forms = (
            (".jpg", path.read_bytes() + b"\0"),
            (".png", encode(image, "PNG")),
            (".jpg", encode(image, quality=60)),
            (".png", encode(image.resize((128, 128)), "PNG")),
            (".bmp", encode(image.transpose(Image.Transpose.ROTATE_180), "BMP")),
        )
        suffix, data = forms[number % len(forms)]
        (place / (path.stem + suffix)).write_bytes(data)
    return folder


def test_evaluate_leaves_out_what_training_saw_in_other_files(model: ModelFile, copies: Path, tmp_path: Path) -> None:
    """And says how many, and why, in its text, its report and its JSON."""
    out, report = tmp_path / "found.json", tmp_path / "report"
    arguments = ["evaluate", str(model.path), str(copies), "--bootstrap", "0", "--out", str(out)]
    result = CliRunner().invoke(app, [*arguments, "--report", str(report)])
    assert result.exit_code == 0, result.stderr
    content = json.loads(out.read_text(encoding="utf-8"))
    assert content["images_left_out"] == 144
    assert content["left_out"] == {"same_file": 0, "same_picture": 144, "never_seen": 0}
    assert content["metrics"]["images"] == 16
    told = (
        "left out: 144 images that the model was trained or calibrated on (0 the same file, 144 the same picture in "
        "another file)"
    )
    assert told in result.stdout
    assert told in " ".join(result.stderr.split())
    assert f"({told})" in (report / "evaluation.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("part", "images", "left_out"), [("training", 128, (0, 16, 16)), ("validation", 16, (0, 128, 16))]
)
def test_copies_belong_to_the_part_of_their_picture(
    model: ModelFile, copies: Path, part: str, images: int, left_out: tuple[int, int, int]
) -> None:
    report = evaluate(model, copies, EvaluateConfig.model_validate({"part": part, "bootstrap": 0}), NullObserver())
    assert report.metrics.images == images
    assert report.left_out == Counts(*left_out)


def test_a_model_that_knows_files_only_says_so(model: ModelFile, copies: Path, tmp_path: Path) -> None:
    tensors = {name: value for name, value in model.load_tensors("").items() if not name.endswith("_hashes")}
    old = save_model(tmp_path / "old.safetensors", model.header, tensors)
    result = CliRunner().invoke(app, ["evaluate", str(old.path), str(copies), "--bootstrap", "0"])
    assert result.exit_code == 0, result.stderr
    assert "knows 144 images of its training by their bytes only" in " ".join(result.stderr.split())
    assert "left out" not in result.stdout
    assert result.stdout.splitlines()[0].split() == ["images", "160"]


def test_evaluate_without_unseen_images_says_what_to_do(model: ModelFile, toy_cells: Path, tmp_path: Path) -> None:
    seen = set(model.load_tensors(SEEN_PREFIX)["train"].tolist())
    for path in toy_cells.rglob("*.jpg"):
        if short_digest(hashlib.sha256(path.read_bytes()).hexdigest()) in seen:
            target = tmp_path / path.relative_to(toy_cells)
            target.parent.mkdir(exist_ok=True)
            target.symlink_to(path)
    with pytest.raises(InputError, match="No image of 128 in") as caught:
        evaluate(model, tmp_path, EvaluateConfig(), NullObserver())
    assert "--part all" in caught.value.hint


@pytest.mark.parametrize("backend", ["openvino", "pytorch"])
def test_a_trained_model_classifies(trained: tuple[Path, str], toy_cells: Path, tmp_path: Path, backend: str) -> None:
    settings = ClassifyConfig(model=trained[0], backend=backend, min_confidence=0.0, outlier_threshold=1e9)
    result = classify_slides(toy_cells, str(tmp_path / "r.csv"), settings)
    assert {slide.slide_id for slide in result.slides} == set(DEFAULT_CLASSES.names)
    assert sum(slide.classified for slide in result.slides) == 160
    right = sum(slide.shares[slide.slide_id].count for slide in result.slides if slide.slide_id in slide.shares)
    assert right >= 0.8 * 120


def test_a_model_that_learnt_nothing_is_told_of(toy_recipe: Path, toy_cells: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.safetensors"
    words = ["train", str(toy_cells), "--config", str(toy_recipe), "--epochs", "0", "--out", str(out), "--quiet"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.stderr
    assert "is not better than chance at its own test images" in " ".join(result.stderr.split())
    with pytest.raises(ModelRefusedError, match="not better than chance"):
        classify_slides(toy_cells, str(tmp_path / "r.csv"), ClassifyConfig(model=out))


def test_the_same_seed_gives_the_same_model(toy_cells: Path, tmp_path: Path) -> None:
    config = TrainConfig(architecture="test_efficientnet", input_size=32, epochs=1, batch_size=16, precision="fp32")

    def weights(name: str, seed: int) -> tuple[dict[str, torch.Tensor], Metrics]:
        result = train(config.model_copy(update={"seed": seed}), toy_cells, tmp_path / name)
        assert result is not None
        model, metrics = result
        return {key: torch.from_numpy(value) for key, value in model.load_tensors("network.").items()}, metrics

    first, second, other = weights("a.safetensors", 1), weights("b.safetensors", 1), weights("c.safetensors", 2)
    assert all(torch.equal(first[0][key], second[0][key]) for key in first[0])
    assert first[1] == second[1] or first[1].as_dict().keys() == second[1].as_dict().keys()
    assert any(not torch.equal(first[0][key], other[0][key]) for key in first[0])


def test_training_starts_from_given_weights(
    trained: tuple[Path, str], toy_recipe: Path, toy_cells: Path, tmp_path: Path
) -> None:
    out = tmp_path / "next.safetensors"
    arguments = ["train", str(toy_cells), "--config", str(toy_recipe), "--epochs", "1", "--learning-rate", "1e-9"]
    result = CliRunner().invoke(app, [*arguments, "--init-weights", str(trained[0]), "--out", str(out)])
    assert result.exit_code == 0, result.stderr
    assert "0 tensors start afresh" in result.stderr
    assert open_model(out).header.training["best_validation_score"] >= 0.7


def test_bare_weights_start_a_training_too(toy_cells: Path, tmp_path: Path) -> None:
    import timm  # noqa: PLC0415

    bare = timm.create_model("test_efficientnet", num_classes=1000)
    save_file(bare.state_dict(), tmp_path / "bare.safetensors")
    config = TrainConfig(
        architecture="test_efficientnet", input_size=32, epochs=1, init_weights=(tmp_path / "bare.safetensors",)
    )
    result = train(config, toy_cells, tmp_path / "m.safetensors")
    assert result is not None
    assert result[0].header.training["recipe"]["init_weights"] == "bare.safetensors"


def test_bad_starts_are_refused_before_the_work(toy_cells: Path, tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"nonsense")
    with pytest.raises(InputError, match="initial weights"):
        train(TrainConfig(init_weights=(tmp_path / "w.safetensors",), epochs=1), toy_cells, tmp_path / "m.safetensors")
    with pytest.raises(ModelFileError, match="Unknown architecture 'resnet9999'"):
        train(TrainConfig(architecture="resnet9999", epochs=1), toy_cells, tmp_path / "m.safetensors")
    (tmp_path / "there.safetensors").write_bytes(b"")
    for name in ("m.pt", "there.safetensors", "no/m.safetensors"):
        with pytest.raises(OutputError):
            check_model_path(tmp_path / name, overwrite=False, resume=False)
    assert not (tmp_path / "m.safetensors").exists()


def test_the_kept_weights_are_those_that_were_measured(toy_cells: Path) -> None:
    """With a moving average, validation sees other weights than training, and these must be the ones kept."""
    config = TrainConfig(
        architecture="test_efficientnet", input_size=32, epochs=2, batch_size=16, precision="fp32", ema=0.9, warmup=0
    )
    training_set = read_training_set(config, toy_cells, NullObserver())
    classifier = fit(config, training_set, NullObserver())
    assert set(classifier.best_state) == set(classifier.network.state_dict())
    classifier.network.load_state_dict(classifier.best_state)
    classifier.eval()
    validation = training_set.images.take(training_set.split.validation)
    pixels = torch.from_numpy(validation.pixels)
    random = torch.Generator().manual_seed(config.seed)
    with torch.inference_mode():
        guesses = [
            classifier(plain(pixels, 32)).argmax(dim=1),
            classifier(augment(pixels, 32, config.augmentation, random)).argmax(dim=1),
        ]
    labels = torch.from_numpy(validation.labels)
    scores = [float(multiclass_accuracy(guess, labels, num_classes=8, average="macro")) for guess in guesses]
    assert sum(scores) / 2 == pytest.approx(classifier.best_score, abs=1e-6)


def test_a_loss_that_is_no_number_stops_the_training(toy_cells: Path, tmp_path: Path) -> None:
    config = TrainConfig(architecture="test_efficientnet", input_size=32, epochs=2, learning_rate=1e30, warmup=0)
    with pytest.raises(TrainingError, match="The loss became"):
        train(config, toy_cells, tmp_path / "m.safetensors")
    assert not list(tmp_path.glob("*.safetensors"))


def test_several_starts_are_averaged(tmp_path: Path) -> None:
    import timm  # noqa: PLC0415

    states = []
    for seed in range(2):
        torch.manual_seed(seed)
        states.append(timm.create_model("test_efficientnet", num_classes=8).state_dict())
        save_file(states[-1], tmp_path / f"{seed}.safetensors")
    mean = read_weights([tmp_path / "0.safetensors", tmp_path / "1.safetensors"])
    for name, value in mean.items():
        torch.testing.assert_close(value, ((states[0][name] + states[1][name]) / 2).to(value.dtype))
    assert read_weights([tmp_path / "1.safetensors"])["conv_stem.weight"].equal(states[1]["conv_stem.weight"])
    save_file({"conv_stem.weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="can't be averaged"):
        read_weights([tmp_path / "0.safetensors", tmp_path / "other.safetensors"])


def test_what_the_first_weights_saw_stays_out_of_the_test_part(
    model: ModelFile, toy_cells: Path, tmp_path: Path
) -> None:
    """Another seed would shuffle known images into the test part, and the figures would be too good."""
    config = TrainConfig(
        architecture="test_efficientnet", input_size=32, epochs=1, seed=99, init_weights=(model.path,), precision="fp32"
    )
    result = train(config, toy_cells, tmp_path / "next.safetensors")
    assert result is not None
    before, after = model.load_tensors(SEEN_PREFIX), result[0].load_tensors(SEEN_PREFIX)
    assert before.keys() == after.keys() == {"train", "train_hashes", "validation", "validation_hashes"}
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value)
    assert result[1].images == 16


def test_known_test_images_are_warned_of(model: ModelFile, toy_cells: Path, tmp_path: Path) -> None:
    seen = set(model.load_tensors(SEEN_PREFIX)["train"].tolist())
    for path in toy_cells.rglob("*.jpg"):
        if short_digest(hashlib.sha256(path.read_bytes()).hexdigest()) in seen:
            target = tmp_path / "cells" / path.relative_to(toy_cells)
            target.parent.mkdir(exist_ok=True, parents=True)
            target.symlink_to(path)
    arguments = ["train", str(tmp_path / "cells"), "--init-weights", str(model.path), "--epochs", "1"]
    options = ["--architecture", "test_efficientnet", "--input-size", "32", "--out", str(tmp_path / "m.safetensors")]
    result = CliRunner().invoke(app, [*arguments, *options])
    assert result.exit_code == 0, result.stderr
    assert "test images already" in " ".join(result.stderr.split())


def test_copies_of_what_the_first_weights_saw_stay_out_of_the_test_part(
    model: ModelFile, copies: Path, toy_recipe: Path, tmp_path: Path
) -> None:
    out = tmp_path / "next.safetensors"
    arguments = ["train", str(copies), "--config", str(toy_recipe), "--epochs", "1", "--seed", "99", "--out", str(out)]
    result = CliRunner().invoke(app, [*arguments, "--init-weights", str(model.path)])
    assert result.exit_code == 0, result.stderr
    told = "known to the initial weights: 144 images (0 the same file, 144 the same picture in another file)"
    assert told in " ".join(result.stderr.split())
    training = open_model(out).header.training
    assert training["split"] == {"train": 128, "validation": 16, "test": 16}
    assert training["known_to_initial_weights"] == {"same_file": 0, "same_picture": 144, "never_seen": 16}
    assert len(open_model(out).load_tensors(SEEN_PREFIX)["train"]) == 256


def test_cross_validation_tells_of_images_that_its_weights_know(
    model: ModelFile, copies: Path, toy_recipe: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "again.toml"
    start = f"epochs = 1\ninit_weights = ['{model.path}']\n"
    recipe.write_text(start + toy_recipe.read_text(encoding="utf-8").replace("epochs = 8\n", ""), encoding="utf-8")
    result = CliRunner().invoke(app, ["evaluate", str(copies), "--folds", "2", "--recipe", str(recipe)])
    assert result.exit_code == 0, result.stderr
    told = "the initial weights have seen 144 of the 160 images already (0 the same file, 144 the same picture"
    assert told in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    "settings",
    [
        ["optimiser=lion", "augmentation.mixup=0.2", "augmentation.cutmix=1.0", "loss=focal", "gradient_clip=1"],
        [
            "augmentation.augmix=12",
            "augmentation.randaugment=9",
            "fine_labels=1",
            "non_cells=0.2",
            "schedule=linear",
            "optimiser=adam",
        ],
        ["class_weights=true", "sampling=none", "optimiser=rmsprop", "patience=1", "swa=0.5", "ema=0"],
    ],
    ids=["mixing", "policies", "balance"],
)
def test_every_ingredient_can_be_asked_for(
    trained: tuple[Path, str], toy_recipe: Path, toy_cells: Path, tmp_path: Path, settings: list[str]
) -> None:
    recipe = resolve(TrainConfig, {"epochs": 2, "teachers": (trained[0],)}, toy_recipe, settings)
    result = train(recipe, toy_cells, tmp_path / "m.safetensors")
    assert result is not None
    recorded = open_model(result[0].path).header.training["recipe"]
    assert recorded["teachers"] == "toy.safetensors"
    assert recorded["optimiser"] == recipe.optimiser
    assert 0 <= result[1].ece <= 1


def test_a_student_follows_its_teacher(
    trained: tuple[Path, str], toy_recipe: Path, toy_cells: Path, tmp_path: Path
) -> None:
    """With the teacher's word alone, and no weight on the labels."""
    start = {"epochs": 3, "learning_rate": 0.01}
    taught = resolve(TrainConfig, start | {"teachers": (trained[0],), "distillation": 1.0}, toy_recipe)
    result = train(taught, toy_cells, tmp_path / "student.safetensors")
    assert result is not None
    images, _ = load_labelled(toy_cells, Preprocessing(input_size=32), 0, NullObserver())
    teacher, student = (load_inference_module(model) for model in (open_model(trained[0]), result[0]))
    pixels = torch.from_numpy(images.pixels)
    with torch.inference_mode():
        agreement = (teacher(pixels)[0].argmax(dim=1) == student(pixels)[0].argmax(dim=1)).float().mean()
    assert agreement > 0.6
    assert not any("teacher" in name for name in result[0].load_tensors("network."))


def test_tensorboard_logs_go_to_the_run_folder(toy_recipe: Path, toy_cells: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard is an extra")
    recipe = resolve(TrainConfig, {"epochs": 1, "tensorboard": True}, toy_recipe)
    train(recipe, toy_cells, tmp_path / "m.safetensors")
    assert list((tmp_path / "m.training" / "tensorboard").glob("events.*"))


def test_no_epochs_only_calibrates_the_initial_weights(
    model: ModelFile, toy_cells: Path, toy_recipe: Path, tmp_path: Path
) -> None:
    recipe = resolve(TrainConfig, {"epochs": 0, "init_weights": (model.path,), "outlier_quantile": 0.9}, toy_recipe)
    result = train(recipe, toy_cells, tmp_path / "again.safetensors")
    assert result is not None
    before, after = model.load_tensors("network."), result[0].load_tensors("network.")
    assert all(np.array_equal(before[name], value) for name, value in after.items())
    assert result[0].header.outlier.threshold < model.header.outlier.threshold
