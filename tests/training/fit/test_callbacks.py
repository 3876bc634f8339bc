"""What a training tells of its epochs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bloodcell_batch.config.recipe import TrainConfig
from bloodcell_batch.images.preprocessing import Preprocessing
from bloodcell_batch.progress import NullObserver
from bloodcell_batch.training.fit import callbacks
from bloodcell_batch.training.fit.callbacks import Report
from bloodcell_batch.training.fit.lightning_module import CellClassifier
from bloodcell_batch.training.fit.run_folder import RunFolder


class Drawn(RunFolder):
    """Remembers of how many epochs it was asked for a table and for a picture."""

    def __init__(self, out: Path) -> None:
        super().__init__(out)
        self.written: list[int] = []
        self.drawn: list[int] = []

    def write_history(self, history: Sequence[Mapping[str, float]]) -> None:
        self.written.append(len(history))

    def draw_curves(self, history: Sequence[Mapping[str, float]]) -> None:
        self.drawn.append(len(history))


@pytest.mark.parametrize(("seconds", "drawn"), [(1.0, [5]), (6.0, [2, 4, 5]), (60.0, [1, 2, 3, 4, 5, 5])])
def test_curves_are_drawn_now_and_then_and_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, drawn: list[int]
) -> None:
    now = 100.0
    monkeypatch.setattr(callbacks, "time", SimpleNamespace(monotonic=lambda: now))
    folder = Drawn(tmp_path / "m.safetensors")
    report = Report(NullObserver(), folder)
    recipe = TrainConfig(architecture="test_efficientnet")
    classifier = CellClassifier(recipe, Preprocessing(input_size=32), 10, class_counts=[1, 1])
    figures = dict.fromkeys(("train_loss", "validation_loss", "balanced_accuracy", "balanced_accuracy_changed"), 0.5)
    trainer: Any = SimpleNamespace(is_global_zero=True, callback_metrics=figures)
    for _ in range(5):
        now += seconds
        report.on_train_epoch_end(trainer, classifier)
    report.on_train_end(trainer, classifier)
    assert (folder.written, folder.drawn) == ([1, 2, 3, 4, 5], drawn)
