"""A training that was killed and resumed ends with the very weights of one that was left alone."""

import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from processes import started, wait_until
from program_commands import app
from typer.testing import CliRunner

from bloodcell_batch.config.recipe import TrainConfig
from bloodcell_batch.config.resolve import resolve
from bloodcell_batch.errors import OutputError, TrainingError
from bloodcell_batch.model.file import ModelFile, open_model
from bloodcell_batch.progress import NullObserver
from bloodcell_batch.training.fit.train import train


class _StopAfter(NullObserver):
    """Breaks a training off in the middle of an epoch, as a crash would."""

    def __init__(self, step: int, error: BaseException) -> None:
        self.step, self.error = step, error
        self.task = ""

    def started(self, task: str, total: int) -> None:
        del total
        self.task = task

    def advanced(self, done: int, counts: object = None) -> None:
        del counts
        if self.task == "training" and done == self.step:
            raise self.error


def tensors(model: ModelFile) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    return {name: value for prefix in ("network.", "outlier.") for name, value in model.load_tensors(prefix).items()}


def assert_same(first: ModelFile, second: ModelFile) -> None:
    one, other = tensors(first), tensors(second)
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)
    assert first.header.metrics == second.header.metrics


def run_training(config: TrainConfig, data: Path, out: Path, observer: NullObserver | None = None) -> ModelFile:
    result = train(config, data, out, observer)
    assert result is not None
    return result[0]


@pytest.fixture(scope="module")
def config(toy_recipe: Path) -> TrainConfig:
    return resolve(TrainConfig, {"epochs": 4, "drop_rate": 0.3}, toy_recipe)


@pytest.fixture(scope="module")
def untouched(config: TrainConfig, toy_cells: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    return run_training(config, toy_cells, tmp_path_factory.mktemp("untouched") / "m.safetensors")


def test_a_killed_training_is_continued_exactly(
    untouched: ModelFile, config: TrainConfig, toy_cells: Path, toy_recipe: Path, tmp_path: Path
) -> None:
    out = tmp_path / "m.safetensors"
    options = ["--epochs", "4", "--config", str(toy_recipe), "--out", str(out), "--log-format", "json"]
    recipe = tmp_path / "drop.toml"
    recipe.write_text(f"drop_rate = {config.drop_rate}\n" + toy_recipe.read_text(encoding="utf-8"), encoding="utf-8")
    options[options.index(str(toy_recipe))] = str(recipe)
    command = [sys.executable, "-m", "bloodcell_batch", "train", str(toy_cells), *options]
    checkpoint = tmp_path / "m.training" / "last.ckpt"
    log = tmp_path / "log"
    # Sums on another number of threads differ in their last bits.
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    with log.open("wb") as stream, started(command, stderr=stream, stdout=stream, env=environment) as process:
        wait_until(checkpoint.exists, process)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert not out.exists()
    assert (tmp_path / "m.training" / "history.csv").read_text(encoding="utf-8").count("\n") < 5

    again = CliRunner().invoke(app, command[3:])
    assert again.exit_code == 1
    assert "interrupted training lies in" in again.stderr
    resumed = CliRunner().invoke(app, [*command[3:], "--resume"])
    assert resumed.exit_code == 0, resumed.stderr
    assert_same(open_model(out), untouched)
    assert sorted(path.name for path in (tmp_path / "m.training").iterdir()) == [
        "audit.json",
        "curves.png",
        "history.csv",
        "recipe.json",
    ]
    lines = (tmp_path / "m.training" / "history.csv").read_text(encoding="utf-8").splitlines()
    assert [line.split(",")[0] for line in lines] == ["epoch", "1.0", "2.0", "3.0", "4.0"]


KINDS: dict[str, dict[str, object]] = {
    "ema": {},
    "swa": {"ema": 0.0, "swa": 0.5},
    "contrastive": {"ema": 0.0, "contrastive_epochs": 2},
    "sgd-patience-fine": {"optimiser": "sgd", "patience": 3, "fine_labels": 0.5},
}


@pytest.fixture(scope="module", params=list(KINDS.values()), ids=list(KINDS))
def kind(
    request: pytest.FixtureRequest, config: TrainConfig, toy_cells: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[TrainConfig, ModelFile]:
    """A recipe, and the model of a training that was left alone."""
    recipe = config.model_copy(update={"epochs": 3, **request.param})
    return recipe, run_training(recipe, toy_cells, tmp_path_factory.mktemp("whole") / "m.safetensors")


@pytest.mark.parametrize("step", [4, 21])
def test_every_kind_of_training_is_continued_exactly(
    kind: tuple[TrainConfig, ModelFile], toy_cells: Path, tmp_path: Path, step: int
) -> None:
    recipe, whole = kind
    out = tmp_path / "m.safetensors"
    with pytest.raises(RuntimeError, match="power cut"):
        run_training(recipe, toy_cells, out, _StopAfter(step, RuntimeError("power cut")))
    assert not out.exists()
    assert_same(run_training(recipe, toy_cells, out), whole)


def test_another_recipe_or_other_images_are_no_continuation(
    config: TrainConfig, toy_cells: Path, tmp_path: Path
) -> None:
    out = tmp_path / "m.safetensors"
    with pytest.raises(RuntimeError):
        train(config, toy_cells, out, _StopAfter(12, RuntimeError("power cut")))
    with pytest.raises(TrainingError, match=r"changed since: batch_size, seed\."):
        train(config.model_copy(update={"batch_size": 8, "seed": 1, "workers": 1}), toy_cells, out)
    fewer = tmp_path / "cells"
    for path in sorted(toy_cells.rglob("*.jpg"))[1:]:
        target = fewer / path.relative_to(toy_cells)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(path)
    with pytest.raises(TrainingError, match="the images, their labels or their laboratories"):
        train(config, fewer, out)
    assert (tmp_path / "m.training" / "last.ckpt").exists()


def test_ctrl_c_keeps_the_last_epoch(config: TrainConfig, toy_cells: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(config, toy_cells, tmp_path / "m.safetensors", _StopAfter(12, KeyboardInterrupt()))
    assert (tmp_path / "m.training" / "last.ckpt").exists()


def test_a_full_disk_keeps_the_last_good_checkpoint(
    untouched: ModelFile, config: TrainConfig, toy_cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lightning.pytorch import Trainer  # noqa: PLC0415

    out = tmp_path / "m.safetensors"
    original = Trainer.save_checkpoint
    saved: list[Path] = []

    def full(self: Trainer, path: Path) -> None:
        if len(saved) == 2:
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        saved.append(path)
        original(self, path)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "save_checkpoint", full)
        with pytest.raises(OutputError, match="No space left on device") as caught:
            train(config, toy_cells, out)
    assert "--resume" in caught.value.hint
    assert sorted(path.name for path in (tmp_path / "m.training").glob("*.ckpt*")) == ["last.ckpt"]
    assert not list((tmp_path / "m.training").glob(".*"))
    assert_same(run_training(config, toy_cells, out), untouched)
