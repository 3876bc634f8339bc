"""The network under training: loss, optimiser, schedule and validation, as a Lightning module."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.nn import functional
from torchmetrics.functional.classification import multiclass_accuracy

from bloodcell_batch.recipe import TrainConfig
from bloodcell_batch.errors import TrainingError
from bloodcell_batch.labels import CLASS_NAMES
from bloodcell_batch.network import create_network
from bloodcell_batch.preprocessing import Preprocessing
from bloodcell_batch.training.augmentation import augment, plain

Batch = tuple[Tensor, Tensor]


class CellClassifier(LightningModule):
    """Trains a timm network on uint8 batches (N, 2S, 2S, 3) with int64 labels (N,).

    After the fit, `best_state` holds the weights (moving average, if there is one) of the epoch with the highest
    score on the validation part, `best_score` that score and `best_epoch` its number from 1. The score is the mean of
    the balanced accuracies on the images as they are and on changed ones: images as they are would prefer the epochs
    that know this laboratory best and other laboratories least.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: TrainConfig, preprocessing: Preprocessing, total_steps: int) -> None:
        super().__init__()
        self.config = config
        self.total_steps = total_steps
        self.side = preprocessing.input_size
        self.network = create_network(config.architecture, pretrained=config.pretrained, drop_rate=config.drop_rate)
        self.random = torch.Generator().manual_seed(config.seed)
        self.register_buffer("mean", torch.tensor(preprocessing.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(preprocessing.std).view(1, 3, 1, 1), persistent=False)
        self.best_state: dict[str, Tensor] = {}
        self._measured: dict[str, Tensor] = {}
        self.best_score = -math.inf
        self.best_epoch = 0
        self._seen: list[tuple[Tensor, Tensor, Tensor]] = []
        self._validation_random = torch.Generator()

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (N, C) of pixels (N, 3, S, S) in 0-1."""
        normalised = ((pixels - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        logits: Tensor = self.network(normalised)
        return logits

    def training_step(self, batch: Batch, _index: int) -> Tensor:
        """Cross-entropy of an augmented batch."""
        images, labels = batch
        logits = self(augment(images, self.side, self.config.augmentation, self.random))
        loss = functional.cross_entropy(logits.float(), labels, label_smoothing=self.config.label_smoothing)
        if not torch.isfinite(loss):
            hint = "Lower --learning-rate, or use --precision fp32."
            raise TrainingError(f"The loss became {float(loss.detach())} in epoch {self.current_epoch + 1}.", hint=hint)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Batch, _index: int) -> None:
        """Collect the predictions of a batch as it is, and changed in the same way in every epoch."""
        images, labels = batch
        changed = augment(images, self.side, self.config.augmentation, self._validation_random)
        as_it_is = self(plain(images, self.side)).argmax(dim=1)
        self._seen.append((as_it_is, self(changed).argmax(dim=1), labels))

    def on_validation_epoch_start(self) -> None:
        """Start the changes of the validation images anew, and remember the weights that are about to be measured.

        Remembered here, not when the epoch ends: by then the callback of the moving average has put the unaveraged
        weights back, and another network than the measured one would be kept.
        """
        self._validation_random.manual_seed(self.config.seed)
        self._measured = {name: value.detach().clone() for name, value in self.network.state_dict().items()}

    def on_validation_epoch_end(self) -> None:
        """Keep the weights if this epoch is the best so far."""
        as_they_are, changed, labels = (torch.cat(parts) for parts in zip(*self._seen, strict=True))
        self._seen.clear()
        plain_accuracy, changed_accuracy = (
            float(multiclass_accuracy(predicted, labels, num_classes=len(CLASS_NAMES), average="macro"))
            for predicted in (as_they_are, changed)
        )
        self.log("validation_balanced_accuracy", plain_accuracy)
        self.log("validation_balanced_accuracy_changed", changed_accuracy)
        score = (plain_accuracy + changed_accuracy) / 2
        if score > self.best_score:
            self.best_score, self.best_epoch = score, self.current_epoch + 1
            self.best_state = self._measured

    def configure_optimizers(self) -> Any:  # noqa: ANN401 - Lightning's own type is a union of eight
        """AdamW without decay on biases and norms; linear warm-up, then cosine to zero, step by step."""
        decayed = [weight for weight in self.parameters() if weight.ndim > 1]
        plain_weights = [weight for weight in self.parameters() if weight.ndim <= 1]
        groups: list[dict[str, Any]] = [{"params": decayed}, {"params": plain_weights, "weight_decay": 0.0}]
        optimiser = torch.optim.AdamW(groups, lr=self.config.learning_rate, weight_decay=self.config.weight_decay)
        warm = max(1, round(self.total_steps * self.config.warmup))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, warm, self.total_steps))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def load_initial_weights(self, state: Mapping[str, Tensor]) -> list[str]:
        """Take over every tensor whose name and shape fit; returns the names that the network lacks or shapes
        differently (usually the old classifier)."""
        own = self.network.state_dict()
        fitting = {name: value for name, value in state.items() if name in own and own[name].shape == value.shape}
        self.network.load_state_dict(fitting, strict=False)
        return sorted(set(own) - set(fitting))


def _rate(step: int, warm: int, total: int) -> float:
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / max(1, total - warm))))
