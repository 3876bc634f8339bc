import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from bloodcell_batch.cell_classes import DEFAULT_CLASSES
from bloodcell_batch.config.recipe import TrainConfig
from bloodcell_batch.errors import OutputError, TrainingError
from bloodcell_batch.training.data.labelled import LabelledImages
from bloodcell_batch.training.fit.run_folder import RunFolder

DIGESTS = np.array([5, 3, 9], dtype=np.uint64)
LABELS = np.array([0, 1, 2])
SITES = np.array(["a", "b", "b"])
HISTORY = [
    {
        "epoch": float(i),
        "train_loss": 2 / i,
        "validation_loss": 1 / i,
        "balanced_accuracy": 1 - 0.5 / i,
        "balanced_accuracy_changed": 1 - 0.7 / i,
    }
    for i in (1, 2, 3)
]


def images(
    digests: NDArray[np.uint64] = DIGESTS, labels: NDArray[np.int64] = LABELS, sites: NDArray[np.str_] = SITES
) -> LabelledImages:
    pixels, parts = np.zeros((3, 1, 1, 3), np.uint8), np.full(3, -1, np.int8)
    hashes, paths = np.zeros((3, 2, 4), np.uint64), ("1", "2", "3")
    return LabelledImages(paths, pixels, labels, digests, hashes, np.arange(3), parts, sites, sites, DEFAULT_CLASSES)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    found = RunFolder(tmp_path / "m.safetensors")
    found.begin(TrainConfig(), images())
    return found


def test_the_same_recipe_and_images_go_on(folder: RunFolder) -> None:
    folder.check_same(TrainConfig(workers=3, tensorboard=True), images())
    shuffled = np.array([2, 0, 1])
    folder.check_same(TrainConfig(), images().take(shuffled))


def test_what_has_changed_is_named(folder: RunFolder) -> None:
    with pytest.raises(
        TrainingError, match=r"changed since: epochs, seed, the images, their labels or their laboratories\."
    ):
        folder.check_same(TrainConfig(epochs=3, seed=1), images(labels=LABELS + 1))
    with pytest.raises(TrainingError, match="changed since: the images, their labels or their laboratories"):
        folder.check_same(TrainConfig(), images(sites=SITES[::-1]))
    (folder.path / "recipe.json").write_text("{", encoding="utf-8")
    with pytest.raises(TrainingError, match="missing or damaged"):
        folder.check_same(TrainConfig(), images())


def test_the_log_is_a_table_and_a_picture(folder: RunFolder) -> None:
    folder.write_history(HISTORY)
    folder.draw_curves(HISTORY)
    lines = (folder.path / "history.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "epoch,train_loss,validation_loss,balanced_accuracy,balanced_accuracy_changed"
    assert lines[2] == "2.0,1.0,0.5,0.75,0.65"
    with Image.open(folder.path / "curves.png") as picture:
        assert picture.width > 800
        assert len(picture.convert("RGB").getcolors(1 << 20) or []) > 50


def test_a_new_training_forgets_the_old_one(folder: RunFolder) -> None:
    folder.checkpoint.write_bytes(b"state")
    assert folder.unfinished
    folder.begin(TrainConfig(seed=7), images())
    assert not folder.unfinished
    assert json.loads((folder.path / "recipe.json").read_text(encoding="utf-8"))["recipe"]["seed"] == 7


def test_the_end_keeps_the_log(folder: RunFolder) -> None:
    folder.checkpoint.write_bytes(b"state")
    folder.write_history(HISTORY)
    folder.draw_curves(HISTORY)
    folder.end()
    assert sorted(path.name for path in folder.path.iterdir()) == ["curves.png", "history.csv", "recipe.json"]


def test_a_full_disk_leaves_the_older_log(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write_history(HISTORY[:1])
    before = (folder.path / "history.csv").read_bytes()

    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as stream:
            stream.write(data[:5])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OutputError, match="No space left on device"):
            folder.write_history(HISTORY)
    assert (folder.path / "history.csv").read_bytes() == before
    assert not list(folder.path.glob(".*"))
