"""Training in two processes on the CPU: what several GPUs and nodes do, by Lightning's own means."""

import os
import subprocess
import sys
from pathlib import Path

from bloodcell_batch.model.file import open_model


def test_two_processes_train_one_model(toy_cells: Path, toy_recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.safetensors"
    command = [sys.executable, "-m", "bloodcell_batch", "train", str(toy_cells), "--config", str(toy_recipe)]
    command += ["--set", "devices=2", "--epochs", "3", "--out", str(out)]
    environment = {key: value for key, value in os.environ.items() if key not in {"LOCAL_RANK", "NODE_RANK"}}
    environment["OMP_NUM_THREADS"] = "1"
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("accuracy of the rest") == 1
    assert done.stderr.count("epoch 3: training loss") == 1
    # Half of the images per process and 16 per step and process: 4 steps an epoch instead of 8.
    assert "training: 12 to do" in done.stderr
    assert open_model(out).header.training["split"]["train"] == 128
