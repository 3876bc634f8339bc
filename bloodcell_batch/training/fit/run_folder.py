"""The folder beside the model file in which a training keeps its log, its curves and what it needs to go on.

`model.safetensors` has `model.training/` with `recipe.json`, `audit.json`, `history.csv`, `curves.png` and, until the
training is done, `last.ckpt`.
"""

import csv
import hashlib
import io
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bloodcell_batch.config.base import not_compared
from bloodcell_batch.config.recipe import TrainConfig
from bloodcell_batch.errors import TrainingError
from bloodcell_batch.files.publishing import written_whole
from bloodcell_batch.files.writing import writing
from bloodcell_batch.training.data.labelled import LabelledImages

CHECKPOINT = "last.ckpt"
CONTRASTIVE_CHECKPOINT = "contrastive.ckpt"
_HINT = "Free some space or correct --out, then run it again; with --resume after an epoch was finished."


class RunFolder:
    """Reads and writes that folder. Every file appears whole or not at all."""

    def __init__(self, out: Path) -> None:
        self.path = out.with_suffix(".training")

    @property
    def checkpoint(self) -> Path:
        """Where the state of the training after its last whole epoch is kept."""
        return self.path / CHECKPOINT

    @property
    def unfinished(self) -> bool:
        """Whether a training was begun here and not ended."""
        return any((self.path / name).exists() for name in (CHECKPOINT, CONTRASTIVE_CHECKPOINT))

    def begin(self, config: TrainConfig, images: LabelledImages) -> None:
        """Start over: forget an earlier training here and keep the recipe and the identity of the data.

        Raises:
            OutputError: the folder can't be written.
        """
        with writing(f"to {self.path}", _HINT):
            for name in (CHECKPOINT, CONTRASTIVE_CHECKPOINT):
                (self.path / name).unlink(missing_ok=True)
            self.path.mkdir(parents=True, exist_ok=True)
        self.write_json("recipe.json", _identity(config, images))

    def check_same(self, config: TrainConfig, images: LabelledImages) -> None:
        """Make sure that a training to be resumed is this one.

        Raises:
            TrainingError: another recipe, or other images; the text says which keys differ.
        """
        try:
            before = json.loads((self.path / "recipe.json").read_text(encoding="utf-8"))
            recipe, data = before["recipe"], before["data"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            hint = "Start again with --overwrite."
            raise TrainingError(f"{self.path / 'recipe.json'} is missing or damaged: {error}.", hint=hint) from error
        now = _identity(config, images)
        changed = sorted(key for key in now["recipe"] if recipe.get(key) != now["recipe"][key])
        if data != now["data"]:
            changed.append("the images, their labels or their laboratories")
        if changed:
            hint = "Give the same recipe and data to continue, or --overwrite to start over."
            raise TrainingError(
                f"The training in {self.path} can't be resumed; changed since: {', '.join(changed)}.", hint=hint
            )

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a JSON file; OutputError if that fails."""
        self._write(name, (json.dumps(content, indent=2) + "\n").encode())

    def write_history(self, history: Sequence[Mapping[str, float]]) -> None:
        """Write `history.csv` of the epochs so far; OutputError if that fails."""
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
        self._write("history.csv", text.getvalue().encode())

    def draw_curves(self, history: Sequence[Mapping[str, float]]) -> None:
        """Draw `curves.png` of the epochs so far; OutputError if that fails."""
        self._write("curves.png", _draw_curves(history))

    def end(self) -> None:
        """The model file is written: what only a resumed training needs can go."""
        for name in (CHECKPOINT, CONTRASTIVE_CHECKPOINT):
            (self.path / name).unlink(missing_ok=True)
        shutil.rmtree(self.path / "images", ignore_errors=True)

    def _write(self, name: str, data: bytes) -> None:
        with writing(f"to {self.path}", _HINT), written_whole(self.path / name) as partial:
            partial.write_bytes(data)


def is_main_process() -> bool:
    """Whether this process writes files and talks to the user; others of a multi-GPU training stay silent."""
    return int(os.environ.get("LOCAL_RANK", "0")) == 0 and int(os.environ.get("NODE_RANK", "0")) == 0


def _identity(config: TrainConfig, images: LabelledImages) -> dict[str, Any]:
    order = np.argsort(images.digests, kind="stable")
    data = hashlib.sha256(images.digests[order].tobytes() + images.labels[order].tobytes())
    data.update("\0".join(images.laboratories[order].tolist()).encode())
    recipe = config.model_dump(mode="json", exclude=not_compared(TrainConfig))
    return {"recipe": recipe, "data": data.hexdigest()}


def _draw_curves(history: Sequence[Mapping[str, float]]) -> bytes:
    # Figure without pyplot: no window system, no global state.
    from matplotlib.figure import Figure  # noqa: PLC0415 - half a second that --help should not pay

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    losses, accuracies = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in history]
    for axes, keys in (
        (losses, {"train_loss": "training (varied images)", "validation_loss": "validation (as they are)"}),
        (accuracies, {"balanced_accuracy": "images as they are", "balanced_accuracy_changed": "varied images"}),
    ):
        for key, label in keys.items():
            axes.plot(epochs, [row[key] for row in history], marker="o", markersize=3, label=label)
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
        axes.xaxis.get_major_locator().set_params(integer=True)
    losses.set_ylabel("loss")
    losses.set_ylim(bottom=0)
    accuracies.set_ylabel("balanced accuracy, validation")
    accuracies.yaxis.set_major_formatter(lambda value, _position: f"{value:.0%}")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    return picture.getvalue()
