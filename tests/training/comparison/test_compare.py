"""`compare` on drawn cells: every kind of system, failures, interruptions, and the table."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import PROJECT, encode
from numpy.typing import NDArray
from PIL import Image
from processes import PATIENCE_S, crash, started, wait_until
from program_commands import app
from small_model import make_small_model
from typer.testing import CliRunner

from bloodcell_batch.cell_classes import DEFAULT_CLASSES
from bloodcell_batch.config.comparison import ClassicalConfig, CompareConfig
from bloodcell_batch.config.recipe import TrainConfig
from bloodcell_batch.errors import LockedError, TrainingError, UsageError
from bloodcell_batch.images.preprocessing import Preprocessing
from bloodcell_batch.model.file import save_model
from bloodcell_batch.progress import NullObserver
from bloodcell_batch.training.comparison import compare as comparison
from bloodcell_batch.training.comparison.compare import compare
from bloodcell_batch.training.comparison.report import SCHEMA, as_html, as_markdown, ranked, write_comparison
from bloodcell_batch.training.comparison.system_row import FAILED, FINISHED, NOT_RUN, Row, _check_split
from bloodcell_batch.training.comparison.systems import expanded, identity, read_system, read_systems
from bloodcell_batch.training.data import sources
from bloodcell_batch.training.data.class_names import ClassNames
from bloodcell_batch.training.data.labelled import load_labelled
from bloodcell_batch.training.data.seen import Seen, SeenPart
from bloodcell_batch.training.data.training_set import split_around
from bloodcell_batch.training.fit.train import train

for library in ("sklearn", "skimage", "imblearn"):
    pytest.importorskip(library, reason="needs the extra [compare]")

MODELS = sorted((PROJECT / "configs" / "models").glob("*.toml"))
FCNN = 'architecture = "cell_fcnn"\ninput_size = 28\nepochs = 6\nbatch_size = 16\nprecision = "fp32"\nema = 0.5\n'
MILD = "\n[augmentation]\n" + "".join(
    f"{key} = 0\n" for key in ("zoom_in", "zoom_out", "density", "stain", "neutral", "glare", "blur", "grey", "jpeg")
)
FOREST = 'classifier = "random_forest"\ninput_size = 32\ntrees = 20\n'
OPTIONS = CompareConfig(backend="pytorch", workers=1)
SHORT = OPTIONS.model_copy(update={"max_epochs": 1})  # where no figure is looked at


@pytest.fixture
def recipes(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "recipes"
    folder.mkdir()
    texts = {"a_net": FCNN + MILD, "b_broken": 'architecture = "no_such_network"\n', "c_forest": FOREST}
    for name, text in texts.items():
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    return [folder / f"{name}.toml" for name in texts]


def run(recipes: Sequence[Path], data: Path, out: Path, options: CompareConfig = OPTIONS) -> dict[str, Row]:
    rows = compare(recipes, data, out, options, NullObserver, isolated=False)
    return {row.name: row for row in rows}


def test_one_failed_system_does_not_stop_the_rest(recipes: list[Path], toy_cells: Path, tmp_path: Path) -> None:
    rows = run(recipes, toy_cells, tmp_path / "out")
    assert [row.status for row in rows.values()] == [FINISHED, FAILED, FINISHED]
    assert "no_such_network" in rows["b_broken"].reason
    net, forest = rows["a_net"], rows["c_forest"]
    assert net.accuracy is not None
    assert net.accuracy > 0.2  # grey leaves little of cells that differ in colour; chance is 0.125
    assert forest.accuracy is not None
    assert forest.accuracy > 0.8
    assert (net.images_train, net.images_validation, net.images_test) == (88, 24, 48)
    assert (forest.images_train, forest.images_validation, forest.images_test) == (88, 24, 48)
    assert net.parameters == 784 * 500 + 500 + 500 * 500 + 500 + 500 * 8 + 8
    assert net.size_bytes == (tmp_path / "out" / "models" / "a_net.safetensors").stat().st_size
    assert "PyTorch" in net.backend
    for row in (net, forest):
        assert np.sum(row.confusion) == 48
        assert np.trace(np.array(row.confusion)) / 48 == pytest.approx(row.accuracy)
        assert row.images_per_second
        assert row.training_s
        assert row.peak_memory_bytes
    assert not list((tmp_path / "out").rglob("*.pkl"))


def test_finished_rows_are_not_repeated_and_failed_ones_are(
    recipes: list[Path], toy_cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(recipes, toy_cells, tmp_path / "out", SHORT)
    made: list[str] = []
    make = comparison.make_row

    def counted(name: str, *rest: object) -> None:
        made.append(name)
        make(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(comparison, "make_row", counted)
    assert run(recipes, toy_cells, tmp_path / "out", SHORT) == first
    assert made == ["b_broken"]
    recipes[2].write_text(FOREST + 'smote = "features"\n', encoding="utf-8")
    run(recipes, toy_cells, tmp_path / "out", SHORT)
    assert made == ["b_broken", "b_broken", "c_forest"]
    run(recipes, toy_cells, tmp_path / "out", SHORT.model_copy(update={"seed": 1}))
    assert made[3:] == ["a_net", "b_broken", "c_forest"]


def test_folds_add_the_mean_over_them(recipes: list[Path], toy_cells: Path, tmp_path: Path) -> None:
    short = OPTIONS.model_copy(update={"folds": 2, "max_epochs": 2})
    rows = run([recipes[0], recipes[2]], toy_cells, tmp_path / "out", short)
    for row in rows.values():
        assert row.folds_accuracy is not None
        assert row.folds_accuracy > 1 / 8
        assert row.folds_sd is not None
    assert "accuracy over folds" in as_markdown(list(rows.values()), short, "compare")


def test_a_kill_in_the_middle_costs_nothing_finished(recipes: list[Path], toy_cells: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    recipes[2].rename(recipes[2].with_name("a_forest.toml"))
    recipes[0].write_text(FCNN.replace("epochs = 6", "epochs = 3000") + MILD, encoding="utf-8")
    run([recipes[2].with_name("a_forest.toml")], toy_cells, out)
    finished = (out / "rows" / "a_forest.json").stat().st_mtime_ns
    command = [sys.executable, "-m", "bloodcell_batch", "compare", str(recipes[2].with_name("a_forest.toml"))]
    command += [str(recipes[0]), "--data", str(toy_cells), "--out", str(out), "--backend", "pytorch"]
    history = out / "models" / "a_net.training" / "history.csv"

    def epochs() -> int:
        return len(history.read_text(encoding="utf-8").splitlines()) if history.exists() else 0

    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with started([*command, "-q"], env=environment, stderr=subprocess.PIPE) as process:
        wait_until(lambda: epochs() > 3, process)
        process.send_signal(signal.SIGKILL)
        # Returns only when the row's own process has ended, too: it holds the pipe.
        process.communicate(timeout=PATIENCE_S)
    assert (out / "rows" / "a_forest.json").stat().st_mtime_ns == finished
    assert not (out / "rows" / "a_net.json").exists()
    assert (out / "models" / "a_net.training" / "last.ckpt").exists()


def test_a_killed_training_goes_on_from_its_last_epoch(
    recipes: list[Path], toy_cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bloodcell_batch.training.fit.callbacks import Report  # noqa: PLC0415

    whole = run(recipes[:1], toy_cells, tmp_path / "whole")["a_net"]
    epochs: list[int] = []
    end = Report.on_train_epoch_end

    def counted(self: Report, trainer: object, module: object) -> None:
        epochs.append(module.current_epoch)  # type: ignore[attr-defined]
        end(self, trainer, module)  # type: ignore[arg-type]
        if len(epochs) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(Report, "on_train_epoch_end", counted)
    with pytest.raises(KeyboardInterrupt):
        run(recipes[:1], toy_cells, tmp_path / "out")
    row = run(recipes[:1], toy_cells, tmp_path / "out")["a_net"]
    assert epochs == [0, 1, 2, 3, 3, 4, 5]
    assert row.confusion == whole.confusion


def test_a_crashed_process_is_a_failed_row(
    recipes: list[Path], toy_cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "_child", crash)
    rows = compare(recipes[:1], toy_cells, tmp_path / "out", OPTIONS, NullObserver)
    assert rows[0].status == FAILED
    assert rows[0].reason == "its process ended with exit code 7"


def test_weights_that_know_the_test_part_are_refused(recipes: list[Path], toy_cells: Path, tmp_path: Path) -> None:
    run(recipes[:1], toy_cells, tmp_path / "first", SHORT)
    weights = {"cell_fcnn": tmp_path / "first" / "models" / "a_net.safetensors"}
    same = SHORT.model_copy(update={"weights": weights})
    assert run(recipes[:1], toy_cells, tmp_path / "same", same)["a_net"].status == FINISHED
    other = run(recipes[:1], toy_cells, tmp_path / "other", same.model_copy(update={"seed": 5}))["a_net"]
    assert other.status == FAILED
    assert "of the comparison's 48 test images" in other.reason
    assert " the same file, 0 the same picture in another file. " in other.reason


def test_the_official_split_of_a_medmnist_file_is_kept(recipes: list[Path], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    content: dict[str, NDArray[Any]] = {}
    for part, each in (("train", 12), ("val", 4), ("test", 5)):
        labels = np.repeat(np.arange(8), each)
        noise = rng.integers(0, 60, (len(labels), 28, 28, 3))
        content[f"{part}_images"] = (noise + labels[:, None, None, None] * 25).astype(np.uint8)
        content[f"{part}_labels"] = labels[:, None]
    np.savez(tmp_path / "bloodmnist.npz", **content)  # type: ignore[arg-type]
    row = run(recipes[2:], tmp_path / "bloodmnist.npz", tmp_path / "out")["c_forest"]
    assert (row.images_train, row.images_validation, row.images_test) == (96, 32, 40)
    assert row.accuracy is not None
    assert row.accuracy > 0.8
    with pytest.raises(UsageError, match="A part of a MedMNIST file"):
        run(recipes[2:], tmp_path / "bloodmnist.npz", tmp_path / "small", CompareConfig(quick=True))


def test_weights_that_know_the_test_part_in_other_files_are_refused(
    recipes: list[Path], toy_cells: Path, tmp_path: Path
) -> None:
    known = tmp_path / "known"
    for path in toy_cells.rglob("*.jpg"):
        (known / path.parent.name).mkdir(parents=True, exist_ok=True)
        (known / path.parent.name / f"{path.stem}.png").write_bytes(encode(Image.open(path), "PNG"))
    config = read_system(recipes[0])
    assert isinstance(config, TrainConfig)
    first = train(config.model_copy(update={"epochs": 1, "seed": 5}), known, tmp_path / "first.safetensors")
    assert first is not None
    options = OPTIONS.model_copy(update={"weights": {"cell_fcnn": first[0].path}})
    row = run(recipes[:1], toy_cells, tmp_path / "out", options)["a_net"]
    assert row.status == FAILED
    assert "of the comparison's 48 test images: 0 the same file, " in row.reason
    assert not list((tmp_path / "out").rglob("*.safetensors"))


def test_weights_that_would_change_the_test_part_are_refused(
    recipes: list[Path], toy_cells: Path, tmp_path: Path
) -> None:
    """They know some of the comparison's training images, as PNG and in their validation part."""
    config = read_system(recipes[0])
    assert isinstance(config, TrainConfig)
    terms = {"validation_fraction": OPTIONS.validation_fraction, "test_fraction": OPTIONS.test_fraction}
    config = config.model_copy(update=terms | {"seed": OPTIONS.seed})
    images = load_labelled(toy_cells, Preprocessing(input_size=28), 1, NullObserver())[0]
    nobody = Seen.nothing()
    _, split = split_around(nobody.recognise(images.digests, images.hashes), images, config)
    some = images.take(split.train[::3])
    seen = Seen(nobody.train, SeenPart.of(some.digests + np.uint64(1), some.hashes))
    small = make_small_model(tmp_path)
    tensors = {f"seen.{name}": value for name, value in seen.tensors().items()}
    weights = save_model(tmp_path / "w.safetensors", small.header, small.load_tensors("") | tensors).path
    _check_split(config, images, split)
    with pytest.raises(TrainingError, match=rf"know {len(some)} images of other parts \(0 the same file"):
        _check_split(config.model_copy(update={"init_weights": (weights,)}), images, split)


def test_two_comparisons_in_one_folder_are_refused(recipes: list[Path], toy_cells: Path, tmp_path: Path) -> None:
    with comparison._locked(tmp_path / "out"), pytest.raises(LockedError):
        run(recipes, toy_cells, tmp_path / "out")


def row(name: str, accuracy: float, rate: float) -> Row:
    return Row(name, FINISHED, accuracy=accuracy, balanced_accuracy=accuracy, images_per_second=rate)


def test_the_second_ranking_leaves_out_the_slow() -> None:
    rows = [row("slow", 0.99, 20), row("fast", 0.9, 900), row("middle", 0.95, 100), Row("off", NOT_RUN)]
    assert [found.name for found in ranked(rows)] == ["slow", "middle", "fast"]
    assert [found.name for found in ranked(rows, 100)] == ["middle", "fast"]


def test_the_table_is_written_in_three_forms(recipes: list[Path], toy_cells: Path, tmp_path: Path) -> None:
    options = OPTIONS.model_copy(update={"skip": ("a_net",)})
    rows = list(run(recipes, toy_cells, tmp_path / "out", options).values())
    write_comparison(rows, tmp_path / "out", options, "bloodcell-batch compare …")
    table = pq.read_table(tmp_path / "out" / "comparison.parquet")
    assert table.schema.equals(SCHEMA)
    assert table["status"].to_pylist() == [NOT_RUN, FAILED, FINISHED]
    assert table["rank_accuracy"].to_pylist() == [None, None, 1]
    assert np.sum(table["confusion"].to_pylist()[2]) == 48
    assert table["classes"].to_pylist()[2] == list(DEFAULT_CLASSES.reading_order)
    markdown = (tmp_path / "out" / "comparison.md").read_text(encoding="utf-8")
    assert "| a_net | not run |" in markdown
    assert "| b_broken | failed: Unknown architecture" in markdown
    page = (tmp_path / "out" / "comparison.html").read_text(encoding="utf-8")
    assert page.count("<tbody>") == 2
    assert "http" not in page.replace("http-equiv", "")


def test_the_page_escapes_what_it_shows() -> None:
    page = as_html([Row("<b>x</b>", FAILED, "a <script> & b")], OPTIONS, "compare '<a>'")
    assert "<b>x" not in page
    assert "<script>" not in page


def test_the_command_says_so_when_a_system_failed(
    recipes: list[Path], toy_cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "compare", partial(compare, isolated=False))  # a process takes seconds to start
    arguments = ["compare", str(recipes[1]), "--data", str(toy_cells), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert "failed" in result.stdout
    assert json.loads((tmp_path / "out" / "rows" / "b_broken.json").read_text(encoding="utf-8"))["status"] == FAILED


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--skip", "zzz"], "'zzz'"),
        (["--weights", "resnet50"], "is not ARCHITECTURE=FILE"),
        (["--weights", "resnet50=x.safetensors"], "'resnet50', which no recipe has"),
        (["--max-epochs", "0"], "--max-epochs can't be 0"),
    ],
)
def test_wrong_options_are_named(
    recipes: list[Path], toy_cells: Path, tmp_path: Path, flags: list[str], words: str
) -> None:
    arguments = ["compare", str(recipes[0]), "--data", str(toy_cells), "--out", str(tmp_path / "out"), *flags]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert words in result.stderr


def test_two_recipes_of_one_name_are_refused(recipes: list[Path], tmp_path: Path) -> None:
    twin = tmp_path / recipes[0].name
    twin.write_text(FCNN, encoding="utf-8")
    with pytest.raises(UsageError, match="Two of the recipes are called"):
        read_systems([recipes[0], twin], OPTIONS)


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_every_system_has_its_own_name_and_trains_quickly(path: Path) -> None:
    system = read_system(path)
    assert system.name == path.stem
    quick = expanded(CompareConfig(quick=True))
    (small,) = read_systems([path], quick).values()
    assert small.input_size <= 80
    assert (small.seed, quick.images_per_class) == (0, 30)
    if isinstance(small, TrainConfig):
        assert small.epochs <= 15
        assert small.augmentation.gentle == 1
        assert (small.validation_fraction, small.test_fraction) == (0.14, 0.3)


def test_every_claimed_system_has_a_recipe() -> None:
    systems = [read_system(path) for path in MODELS]
    networks = {system.architecture for system in systems if isinstance(system, TrainConfig)}
    assert networks >= {
        *("cell_cnn2", "cell_fcnn", "cell_cnn28", "cell_unet", "inception_xception", "resnet50", "densenet201"),
        *("vgg16_bn", "mobilenetv2_100", "inception_v3", "legacy_xception", "efficientnet_b3"),
    }
    classical = [system for system in systems if isinstance(system, ClassicalConfig)]
    assert {system.classifier for system in classical} == {"random_forest", "gradient_boosting", "svm", "voting"}
    assert {system.smote for system in classical} == {"none", "features", "pixels"}
    assert any(system.contrastive_epochs for system in systems if isinstance(system, TrainConfig))


def test_what_does_not_change_a_row_does_not_repeat_it() -> None:
    system = ClassicalConfig(classifier="svm")
    key = identity(system, OPTIONS, "images")
    assert key == identity(system, OPTIONS.model_copy(update={"throughput_floor": 7.0, "workers": 9}), "images")
    assert key != identity(system, OPTIONS.model_copy(update={"test_fraction": 0.2}), "images")
    assert key != identity(system, OPTIONS, "other images")


def test_a_part_of_the_images_is_taken_from_wherever_they_are(toy_cells: Path, tmp_path: Path) -> None:
    source = sources.open_source(toy_cells, ClassNames(DEFAULT_CLASSES), NullObserver())
    data, part = comparison._subset(toy_cells, source, 3, tmp_path / "subset.csv")
    again, same = comparison._subset(toy_cells, source, 3, tmp_path / "subset.csv")
    assert (data, part.entries) == (again, same.entries)
    assert Counter(entry.label for entry in part.entries) == dict.fromkeys(range(8), 3)
    originals = {path.read_bytes() for path in toy_cells.rglob("*.jpg")}
    assert {(tmp_path / entry.file.path).read_bytes() for entry in part.entries} <= originals
