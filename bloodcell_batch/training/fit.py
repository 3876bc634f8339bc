"""The fit itself: weights, batches and Lightning's trainer."""

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch.utils.data import DataLoader, Dataset, RandomSampler, Sampler, WeightedRandomSampler

from bloodcell_batch.recipe import TrainConfig
from bloodcell_batch.errors import InputError
from bloodcell_batch.labels import CLASS_NAMES
from bloodcell_batch.model_file import NETWORK_PREFIX
from bloodcell_batch.preprocessing import Preprocessing
from bloodcell_batch.progress import Observer
from bloodcell_batch.training.classifier import Batch, CellClassifier
from bloodcell_batch.training.dataset import LabelledImages, Split


class _InMemory(Dataset[Batch]):
    """Hands out whole batches by fancy indexing; single-item access would copy every image twice."""

    def __init__(self, images: LabelledImages) -> None:
        self._pixels = images.pixels
        self._labels = torch.from_numpy(images.labels)

    def __len__(self) -> int:
        return len(self._pixels)

    def __getitems__(self, index: list[int]) -> Batch:
        return torch.from_numpy(self._pixels[index]), self._labels[index]


class _Report(Callback):
    """Passes Lightning's epochs on to the observer."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def on_train_batch_end(self, trainer: Trainer, *_unused: object, **_also_unused: object) -> None:
        self._observer.advanced(trainer.global_step)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        logged = trainer.callback_metrics
        epoch, loss = pl_module.current_epoch + 1, float(logged["train_loss"])
        plain, changed = (float(logged[f"validation_balanced_accuracy{kind}"]) for kind in ("", "_changed"))
        text = (
            f"epoch {epoch}: training loss {loss:.3f}, balanced validation accuracy {plain:.2%}, changed {changed:.2%}"
        )
        fields = {"train_loss": loss, "balanced_accuracy": plain, "balanced_accuracy_changed": changed}
        self._observer.note(text, epoch=epoch, **fields)


def fit(
    config: TrainConfig, preprocessing: Preprocessing, images: LabelledImages, split: Split, observer: Observer
) -> CellClassifier:
    """Train on `split.train`, choose the epoch on `split.validation`.

    Args:
        config: the recipe.
        preprocessing: of the network.
        images: at twice the input size (see `augment`).
        split: parts of `images`.
        observer: told of every step and epoch.

    Returns:
        The classifier on the CPU, with `best_state` filled.

    Raises:
        InputError: the initial weights can't be read.
        TrainingError: the loss became NaN or infinite.
    """
    seed_everything(config.seed, verbose=False)
    training = images.take(split.train)
    batches = len(training) // config.batch_size or 1
    total = batches * config.epochs
    classifier = CellClassifier(config, preprocessing, total)
    if config.init_weights is not None:
        replaced = classifier.load_initial_weights(_read_weights(config.init_weights))
        observer.note(f"started from {config.init_weights.name}; {len(replaced)} tensors start afresh: {replaced[:4]}")
    classifier.network.to(memory_format=torch.channels_last)
    loader = DataLoader(
        _InMemory(training),
        batch_size=config.batch_size,
        sampler=_sampler(config, training),
        drop_last=len(training) >= config.batch_size,
        collate_fn=_identity,
    )
    checking = DataLoader(_InMemory(images.take(split.validation)), batch_size=128, collate_fn=_identity)
    callbacks: list[Callback] = [_Report(observer)]
    if config.ema:
        callbacks.append(EMAWeightAveraging(decay=config.ema, use_buffers=True))
    _quieten_lightning()
    trainer = Trainer(
        max_epochs=config.epochs,
        precision="bf16-mixed" if _use_bf16(config) else "32-true",
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    observer.started("training", total)
    with warnings.catch_warnings():
        # The batches are made in memory by this process: more loader workers would only copy them about.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        trainer.fit(classifier, loader, checking)
    observer.finished()
    return classifier.cpu()


def _identity(batch: Any) -> Any:  # noqa: ANN401 - DataLoader's own types are no better
    return batch


def _sampler(config: TrainConfig, images: LabelledImages) -> Sampler[int]:
    generator = torch.Generator().manual_seed(config.seed)
    if config.sampling == "none":
        return RandomSampler(images.paths, generator=generator)
    counts = np.bincount(images.labels, minlength=len(CLASS_NAMES))
    weights = (1 / counts)[images.labels]
    return WeightedRandomSampler(weights.tolist(), len(images), generator=generator)


def _use_bf16(config: TrainConfig) -> bool:
    """bf16 pays where the processor multiplies it natively; elsewhere it is emulated and slower than fp32."""
    if config.precision != "auto":
        return config.precision == "bf16"
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu.get_capabilities().get("avx512_bf16") or torch.cpu.get_capabilities().get("amx_bf16"))


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a bare safetensors file, or of the network in one of our model files."""
    try:
        state = safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        hint = "Give a safetensors file with the weights of the same architecture."
        raise InputError(f"Can't read the initial weights {path}: {error}.", hint=hint) from error
    ours = {
        name.removeprefix(NETWORK_PREFIX): value for name, value in state.items() if name.startswith(NETWORK_PREFIX)
    }
    return ours or state


def _quieten_lightning() -> None:
    """Lightning's banner about devices says nothing that the observer does not."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
