"""The fit itself, on Lightning's trainer."""

import logging
import warnings
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch import Tensor

from bloodcell_batch.config.finder import TrainFinderConfig
from bloodcell_batch.errors import InputError
from bloodcell_batch.model.file import NETWORK_PREFIX
from bloodcell_batch.progress import Observer
from bloodcell_batch.training.finder.drawing import Artist
from bloodcell_batch.training.finder.lightning_module import FinderTraining
from bloodcell_batch.training.fit.callbacks import Checkpoint

_GRADIENT_NORM = 5.0
_BODY = "body."


class _Report(Callback):
    """Passes steps and epochs on to the observer."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def on_train_batch_end(self, trainer: Trainer, *_unused: object, **_also_unused: object) -> None:
        """Tell how many steps are done."""
        self._observer.advanced(trainer.global_step)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell the losses of the epoch."""
        logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
        text = f"epoch {pl_module.current_epoch + 1}: loss of the centres {logged['centres_loss']:.3f}, "
        self._observer.note(text + f"of the sizes {logged['size_loss']:.3f}", **logged)


def fit(config: TrainFinderConfig, artist: Artist, observer: Observer, checkpoint: Path) -> FinderTraining:
    """Train; from the checkpoint if there is one.

    Raises:
        InputError: the initial weights can't be read.
        TrainingError: the loss became NaN or infinite.
        OutputError: the checkpoint can't be written.
    """
    seed_everything(config.seed, verbose=False)
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    training = FinderTraining(config, artist)
    if config.init_weights is not None:
        taken = _start_from(training, config.init_weights)
        observer.note(f"started from {config.init_weights.name}: {taken} tensors")
    training.network.to(memory_format=torch.channels_last)
    callbacks: list[Callback] = [_Report(observer), Checkpoint(checkpoint)]
    if config.ema:
        callbacks.insert(0, EMAWeightAveraging(decay=config.ema, use_buffers=True))
    trainer = Trainer(
        accelerator="gpu" if torch.cuda.is_available() else "cpu",
        devices=1,
        max_epochs=config.epochs,
        precision="32-true" if config.precision == "fp32" else "bf16-mixed",
        gradient_clip_val=_GRADIENT_NORM,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    observer.started("training", training.total_steps)
    try:
        with warnings.catch_warnings():
            # The crops are drawn by this process: more of them would only copy the fields about.
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            # Lightning 2.6 calls a function of its own that PyTorch 2.15 deprecated.
            warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
            trainer.fit(training, ckpt_path=checkpoint if checkpoint.exists() else None, weights_only=True)
    except SystemExit as stop:
        # Lightning turns Ctrl-C into an exit code of its own after tidying up.
        raise KeyboardInterrupt from stop
    finally:
        observer.finished()
    training.network.eval()
    return training


def _start_from(training: FinderTraining, path: Path) -> int:
    """Take over the weights of a finder, or those of a classifier's body; the number of tensors."""
    weights = _read(path)
    if any(name.startswith(_BODY) for name in weights):
        try:
            training.network.load_state_dict(weights)
        except RuntimeError as error:
            hint = "Give a finder that this release trained."
            raise InputError(f"The weights in {path} are of another finder.", hint=hint) from error
        return len(weights)
    taken = training.network.load_body(weights)
    if not taken:
        hint = "Give a finder, or a mobilenetv2_100 of timm's."
        raise InputError(f"No tensor in {path} fits the finder.", hint=hint)
    return taken


def _read(path: Path) -> dict[str, Tensor]:
    try:
        state = safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        hint = "Give a safetensors file: a finder, or weights of a mobilenetv2_100."
        raise InputError(f"Can't read the initial weights {path}: {error}.", hint=hint) from error
    ours = {
        name.removeprefix(NETWORK_PREFIX): value for name, value in state.items() if name.startswith(NETWORK_PREFIX)
    }
    return ours or state
