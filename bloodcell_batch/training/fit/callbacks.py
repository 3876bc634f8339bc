"""What happens at the end of steps and epochs: averages of weights, the log, the checkpoint."""

import math
import time
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, EMAWeightAveraging, WeightAveraging

from bloodcell_batch.config.recipe import TrainConfig
from bloodcell_batch.files.writing import writing
from bloodcell_batch.progress import Observer
from bloodcell_batch.training.fit.lightning_module import CellClassifier
from bloodcell_batch.training.fit.run_folder import RunFolder

_REDRAW_S = 10.0
"""Seconds between two pictures of the curves: one takes longer than an epoch of a small training."""


def averages_and_stops(config: TrainConfig, epoch_steps: int) -> list[Callback]:
    """The callbacks that a recipe asks for; `epoch_steps` are the optimisation steps of one epoch."""
    callbacks: list[Callback] = []
    if config.ema:
        callbacks.append(EMAWeightAveraging(decay=config.ema, use_buffers=True))
    if config.swa:
        first = config.epochs - math.ceil(config.swa * config.epochs)
        callbacks.append(_TailAveraging(first * epoch_steps, epoch_steps))
    if config.patience:
        callbacks.append(EarlyStopping("score", mode="max", patience=config.patience))
    return callbacks


class _TailAveraging(WeightAveraging):
    """Stochastic weight averaging (Izmailov et al., 2018): the mean of the weights at the end of the last epochs."""

    def __init__(self, first_step: int, epoch_steps: int) -> None:
        super().__init__(use_buffers=True)
        self._first_step, self._epoch_steps = first_step, epoch_steps

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """After the last step of each of those epochs, so that validation sees the average."""
        return step_idx is not None and step_idx >= self._first_step and (step_idx + 1) % self._epoch_steps == 0

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the average once there is one; until then it is a copy of the start."""
        if trainer.global_step > self._first_step:
            super().on_validation_epoch_start(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the trained weights back where the average was measured."""
        if trainer.global_step > self._first_step:
            super().on_validation_epoch_end(trainer, pl_module)


class Report(Callback):
    """Passes Lightning's steps and epochs on to the observer and to the run folder."""

    def __init__(self, observer: Observer, folder: RunFolder | None) -> None:
        self._observer, self._folder = observer, folder
        self._drawn = time.monotonic()

    def on_train_batch_end(self, trainer: Trainer, *_unused: object, **_also_unused: object) -> None:
        """Tell how many steps are done."""
        self._observer.advanced(trainer.global_step)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell the figures of the epoch, and add them to the log."""
        epoch = pl_module.current_epoch + 1
        logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if not isinstance(pl_module, CellClassifier):
            self._observer.note(f"contrastive epoch {epoch}: loss {logged['train_loss']:.3f}")
            return
        keys = ("train_loss", "validation_loss", "balanced_accuracy", "balanced_accuracy_changed")
        row = {"epoch": float(epoch)} | {key: logged[key] for key in keys}
        pl_module.history.append(row)
        if self._folder is not None and trainer.is_global_zero:
            self._folder.write_history(pl_module.history)
            if time.monotonic() - self._drawn > _REDRAW_S:
                self._draw(pl_module, self._folder)
        text = f"epoch {epoch}: training loss {row['train_loss']:.3f}, balanced validation accuracy "
        text += f"{row['balanced_accuracy']:.2%}, varied {row['balanced_accuracy_changed']:.2%}"
        self._observer.note(text, **row)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the epochs that the last picture lacks."""
        if not isinstance(pl_module, CellClassifier) or self._folder is None or not trainer.is_global_zero:
            return
        if pl_module.history:
            self._draw(pl_module, self._folder)

    def _draw(self, classifier: CellClassifier, folder: RunFolder) -> None:
        folder.draw_curves(classifier.history)
        self._drawn = time.monotonic()


class Checkpoint(Callback):
    """Keeps the state after every whole epoch. The earlier one stays until the new one is complete."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Replace the checkpoint; OutputError if it can't be written."""
        del pl_module
        partial = self._path.with_name(f".{self._path.name}.partial")
        hint = "Free some space, then run it again with --resume: the state after the last whole epoch is intact."
        with writing(f"the checkpoint {self._path}", hint):
            try:
                trainer.save_checkpoint(partial)
                if trainer.is_global_zero:
                    partial.replace(self._path)
            except OSError:
                partial.unlink(missing_ok=True)
                raise
