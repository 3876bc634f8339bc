"""The network under training: loss, optimiser, schedule and validation, as a Lightning module."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.nn import functional
from torchmetrics.functional.classification import multiclass_accuracy

from bloodcell_batch.config import TrainConfig
from bloodcell_batch.errors import TrainingError
from bloodcell_batch.labels import CLASS_NAMES
from bloodcell_batch.network import create_network
from bloodcell_batch.preprocessing import Preprocessing
from bloodcell_batch.training.augmentation import augment, plain

Batch = tuple[Tensor, Tensor]


class CellClassifier(LightningModule):
    """Trains a timm network on uint8 batches (N, 2S, 2S, 3) with int64 labels (N,).

    After the fit, `best_state` holds the weights (moving average, if there is one) of the epoch with the highest
    balanced accuracy on the validation part, `best_accuracy` that accuracy and `best_epoch` its number from 1.
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
        self.best_accuracy = -math.inf
        self.best_epoch = 0
        self._seen: list[Batch] = []

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
        """Collect the predictions of an unchanged batch."""
        images, labels = batch
        self._seen.append((self(plain(images, self.side)).argmax(dim=1), labels))

    def on_validation_epoch_end(self) -> None:
        """Keep the weights if this epoch is the best so far."""
        predicted = torch.cat([predicted for predicted, _ in self._seen])
        labels = torch.cat([labels for _, labels in self._seen])
        self._seen.clear()
        accuracy = float(multiclass_accuracy(predicted, labels, num_classes=len(CLASS_NAMES), average="macro"))
        self.log("validation_balanced_accuracy", accuracy, prog_bar=True)
        if accuracy > self.best_accuracy:
            self.best_accuracy, self.best_epoch = accuracy, self.current_epoch + 1
            self.best_state = {name: value.detach().clone() for name, value in self.network.state_dict().items()}

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
