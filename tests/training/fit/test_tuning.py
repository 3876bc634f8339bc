"""`tune` at toy size: what is sampled, what is written, and what an interruption costs."""

import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from processes import started
from program_commands import app
from typer.testing import CliRunner

from bloodcell_batch.config.comparison import TuneConfig
from bloodcell_batch.config.recipe import AugmentationConfig, TrainConfig
from bloodcell_batch.config.resolve import resolve
from bloodcell_batch.errors import TrainingError
from bloodcell_batch.progress import NullObserver

optuna = pytest.importorskip("optuna", reason="needs the extra [compare]")
from bloodcell_batch.training.fit import tuning  # noqa: E402 - after the check for the extra

RECIPE = TrainConfig(architecture="cell_fcnn", input_size=28, epochs=2, batch_size=16, precision="fp32", workers=1)


def test_a_trial_changes_what_it_should() -> None:
    values = {
        "architecture": "cell_fcnn@0.5",
        "batch_size": 32,
        "epochs": 1,
        "learning_rate": 2e-3,
        "weight_decay": 1e-2,
        "augmentation_strength": 0.5,
    }
    found = tuning.sampled(RECIPE, optuna.trial.FixedTrial(values))
    assert (found.architecture, found.batch_size, found.epochs) == ("cell_fcnn@0.5", 32, 1)
    assert (found.learning_rate, found.weight_decay) == (2e-3, 1e-2)
    assert found.augmentation.density == RECIPE.augmentation.density / 2
    assert found.input_size == RECIPE.input_size


def test_augmentation_of_every_strength_is_in_range() -> None:
    before = AugmentationConfig(gentle=0.5, mixup=0.2)
    nothing, same, most = (tuning.strengthened(before, factor) for factor in (0.0, 1.0, 1.5))
    assert same == before
    assert (nothing.zoom_in, nothing.blur_factor, nothing.jpeg) == (0, 1, 0)
    assert (most.gentle, most.mixup) == (0.5, 0.2)
    assert most.density == pytest.approx(1.05)


def test_a_search_ends_with_a_recipe_that_trains(toy_cells: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('architecture = "cell_fcnn"\ninput_size = 28\nepochs = 2\nprecision = "fp32"\n', encoding="utf-8")
    out = tmp_path / "out"
    command = ["tune", str(recipe), "--data", str(toy_cells), "--out", str(out), "--trials", "4", "--workers", "1"]
    first = CliRunner().invoke(app, command)
    assert first.exit_code == 0, first.stderr
    assert first.stdout.startswith("best of 4 trials")
    best = resolve(TrainConfig, {}, out / "best.toml")
    assert best.architecture in {"cell_fcnn@0.5", "cell_fcnn", "cell_fcnn@2"}
    assert tomllib.loads((out / "best.toml").read_text(encoding="utf-8"))["input_size"] == 28
    assert (out / "importances.png").read_bytes().startswith(b"\x89PNG")
    again = CliRunner().invoke(app, command)
    assert "done already: 4 of 4 trials" in again.stderr
    assert "trial 5" not in again.stderr
    more = CliRunner().invoke(app, [*command[:-4], "--trials", "5", "--workers", "1"])
    assert "trial 5:" in more.stderr
    assert "trial 6" not in more.stderr
    study = optuna.load_study(study_name="recipe", storage=f"sqlite:///{out / 'study.db'}")
    assert len({str(trial.params) for trial in study.trials}) == 5
    other = CliRunner().invoke(app, [*command, "--set", "label_smoothing=0.3"])
    assert other.exit_code == 1
    assert "belongs to another recipe" in other.stderr


def test_trials_that_fall_behind_are_pruned() -> None:
    study = optuna.create_study(direction="maximize", pruner=optuna.pruners.MedianPruner(1, 0))
    first = study.ask()
    first.report(0.9, 1)
    study.tell(first, 0.9)

    class Trainer:
        callback_metrics = {"score": 0.1}  # noqa: RUF012 - stands in for Lightning's

    class Module:
        current_epoch = 0

    with pytest.raises(optuna.TrialPruned):
        tuning._Pruner(study.ask()).on_validation_end(Trainer(), Module())  # type: ignore[arg-type]


def test_a_pruned_fit_is_a_pruned_trial(toy_cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optuna.trial.Trial, "should_prune", lambda trial: trial.number > 0)
    found = tuning.tune(RECIPE, toy_cells, tmp_path / "out", TuneConfig(trials=3, workers=1), NullObserver())
    assert (found.trials, found.pruned) == (3, 2)


def test_a_search_without_a_good_end_says_so(toy_cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optuna.trial.Trial, "should_prune", lambda _trial: True)
    with pytest.raises(TrainingError, match="None of the 1 trial"):
        tuning.tune(RECIPE, toy_cells, tmp_path / "out", TuneConfig(trials=1, workers=1), NullObserver())


def test_a_killed_search_keeps_its_trials(toy_cells: Path, tmp_path: Path) -> None:
    recipe, out = tmp_path / "recipe.toml", tmp_path / "out"
    recipe.write_text('architecture = "cell_fcnn"\ninput_size = 28\nepochs = 2\nprecision = "fp32"\n', encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "bloodcell_batch",
        "tune",
        str(recipe),
        "--data",
        str(toy_cells),
        "--out",
        str(out),
    ]
    command += ["--trials", "500", "--workers", "1"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with started(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert any(line.startswith("trial 3") for line in process.stderr)
        process.send_signal(signal.SIGKILL)
    study = optuna.load_study(study_name="recipe", storage=f"sqlite:///{out / 'study.db'}")
    states = [trial.state.name for trial in study.trials]
    assert states[:2] == ["COMPLETE", "COMPLETE"]
    kept = [trial.params for trial in study.trials[:2]]
    result = CliRunner().invoke(app, [*command[3:-4], "--trials", "3", "--workers", "1"])
    assert result.exit_code == 0, result.stderr
    assert "done already: 2 of 3 trials" in result.stderr
    after = optuna.load_study(study_name="recipe", storage=f"sqlite:///{out / 'study.db'}")
    assert [trial.params for trial in after.trials[:2]] == kept
    assert sum(trial.state.name == "COMPLETE" for trial in after.trials) == 3
