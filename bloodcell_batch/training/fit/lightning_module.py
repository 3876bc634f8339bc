"""The network under training: loss, optimiser, schedule and validation, as a Lightning module."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.classification import MulticlassAccuracy

from bloodcell_batch.config.recipe import TrainConfig
from bloodcell_batch.errors import TrainingError
from bloodcell_batch.images.preprocessing import Preprocessing
from bloodcell_batch.model.network import InferenceModule, create_network, logits_and_features
from bloodcell_batch.training.augmentation.augment import augment, plain
from bloodcell_batch.training.augmentation.mixing import Policies
from bloodcell_batch.training.augmentation.non_cells import draw_non_cells
from bloodcell_batch.training.fit.depthwise import keep_strided_depthwise_float32
from bloodcell_batch.training.fit.losses import cross_entropy, distillation, jensen_shannon, smooth
from bloodcell_batch.training.fit.optimisers import make_optimiser, rate_factor

_NEW_HEAD = 0.01
"""Standard deviation of the weights of a classifier that starts afresh."""

Batch = tuple[Tensor, Tensor, Tensor]
"""Images uint8 (N, 2S, 2S, 3), class labels int64 (N,), fine labels int64 (N,)."""


class NormalisedNetwork(LightningModule):
    """A timm network with its input normalisation, and random changes that are the same in every run of a seed."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: TrainConfig, preprocessing: Preprocessing, total_steps: int, classes: int) -> None:
        super().__init__()
        self.config = config
        self.total_steps = total_steps
        self.side = preprocessing.input_size
        self.classes = classes
        self.network = create_network(
            config.architecture, classes, pretrained=config.pretrained, drop_rate=config.drop_rate
        )
        keep_strided_depthwise_float32(self.network)
        self.random = torch.Generator()
        self.register_buffer("mean", torch.tensor(preprocessing.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(preprocessing.std).view(1, 3, 1, 1), persistent=False)

    def normalised(self, pixels: Tensor) -> Tensor:
        """What the network gets for pixels (N, 3, S, S) in 0-1."""
        return ((pixels - self.mean) / self.std).contiguous(memory_format=torch.channels_last)

    def varied(self, images: Tensor) -> Tensor:
        """Images uint8 (N, 2S, 2S, 3) with the recipe's random changes, (N, 3, S, S) in 0-1."""
        return augment(images, self.side, self.config.augmentation, self.random)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed every source of chance from the step: a resumed training then repeats what it would have done.

        Not from the epoch: loaders and Lightning draw from the same source at moments that a resumption shifts.
        """
        del batch, batch_idx
        seed = mixed_seed(self.config.seed, self.global_step * self.trainer.world_size + self.global_rank)
        torch.manual_seed(seed)
        self.random.manual_seed(seed)

    def configure_optimizers(self) -> Any:  # noqa: ANN401 - Lightning's own type is a union of eight
        """The recipe's optimiser; its schedule moves step by step."""
        optimiser = make_optimiser(self.parameters(), self.config)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda step: rate_factor(step, self.total_steps, self.config)
        )
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def checked(self, loss: Tensor) -> Tensor:
        """The loss, logged.

        Raises:
            TrainingError: it is not a number.
        """
        if not torch.isfinite(loss):
            hint = "Lower --learning-rate, or use --precision fp32, and start again with --overwrite."
            raise TrainingError(f"The loss became {float(loss.detach())} in epoch {self.current_epoch + 1}.", hint=hint)
        self.log("train_loss", loss, on_step=False, on_epoch=True, sync_dist=True, batch_size=1)
        return loss


class CellClassifier(NormalisedNetwork):
    """Trains a network on `Batch`es.

    After the fit, `best_state` holds the weights (average, if there is one) of the epoch with the highest score on the
    validation part, `best_score` that score and `best_epoch` its number from 1. The score is the mean of the balanced
    accuracies on the images as they are and on changed ones: images as they are would prefer the epochs that know this
    laboratory best and other laboratories least.
    """

    def __init__(
        self,
        config: TrainConfig,
        preprocessing: Preprocessing,
        total_steps: int,
        *,
        class_counts: Sequence[int],
        fine_classes: int = 0,
        teachers: Sequence[InferenceModule] = (),
    ) -> None:
        """Prepare; `class_counts` are the training images per class, `fine_classes` the outputs of the second head."""
        super().__init__(config, preprocessing, total_steps, len(class_counts))
        self.policies = Policies(config.augmentation, self.classes)
        self.class_weights = _inverse_frequencies(class_counts) if config.class_weights else None
        width = self.network.get_classifier().in_features  # type: ignore[operator]
        self.fine_head = nn.Linear(width, fine_classes) if config.fine_labels and fine_classes else None
        # In a tuple, teachers are not sub-modules: they are neither trained, averaged nor written to checkpoints.
        self.teachers = tuple(teacher.eval().requires_grad_(requires_grad=False) for teacher in teachers)
        self.best_state: dict[str, Tensor] = {}
        self.best_score = -math.inf
        self.best_epoch = 0
        self.history: list[dict[str, float]] = []
        self._measured: dict[str, Tensor] = {}
        self._as_they_are = MulticlassAccuracy(self.classes, average="macro")
        self._changed = MulticlassAccuracy(self.classes, average="macro")
        self._validation_random = torch.Generator()

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (N, C) of pixels (N, 3, S, S) in 0-1."""
        logits: Tensor = self.network(self.normalised(pixels))
        return logits

    def training_step(self, batch: Batch, _index: int) -> Tensor:
        """The recipe's loss on a varied batch."""
        images, labels, fine = batch
        pixels, targets = self.policies.apply(self.varied(images), labels)
        empty = round(self.config.non_cells * len(images))
        if empty:
            pixels[:empty] = draw_non_cells(images[:empty], self.side, self.random).to(pixels)
            targets[:empty] = 1 / self.classes
        logits, features = logits_and_features(self.network, self.normalised(pixels))
        loss = self._main_loss(logits, targets)
        if self.teachers:
            share = self.config.distillation
            heat = self.config.distillation_temperature
            loss = (1 - share) * loss + share * distillation(logits, self._teachers_logits(pixels), heat)
        views = self.policies.views(pixels)
        if views:
            seen = [logits, *(self(view) for view in views)]
            loss = loss + self.config.augmentation.augmix * jensen_shannon(seen)
        if self.fine_head is not None:
            loss = loss + self.config.fine_labels * functional.cross_entropy(
                self.fine_head(features[empty:]).float(), fine[empty:]
            )
        return self.checked(loss)

    def validation_step(self, batch: Batch, _index: int) -> None:
        """Measure a batch as it is, and changed in the same way in every epoch."""
        images, labels, _ = batch
        changed = augment(images, self.side, self.config.augmentation, self._validation_random)
        logits = self(plain(images, self.side))
        loss = functional.cross_entropy(logits.float(), labels)
        self.log("validation_loss", loss, on_epoch=True, sync_dist=True, batch_size=len(labels))
        self._as_they_are.update(logits, labels)
        self._changed.update(self(changed), labels)

    def on_validation_epoch_start(self) -> None:
        """Start the changes of the validation images again, and remember the weights that are about to be measured.

        Remembered here, not when the epoch ends: by then the callback of the moving average has put the unaveraged
        weights back, and another network than the measured one would be kept.
        """
        self._validation_random.manual_seed(self.config.seed)
        self._measured = {name: value.detach().cpu().clone() for name, value in self.network.state_dict().items()}

    def on_validation_epoch_end(self) -> None:
        """Keep the weights if this epoch is the best so far."""
        # The metrics add up over all processes; `sync_dist` only spares Lightning a warning.
        plain_accuracy, changed_accuracy = (float(metric.compute()) for metric in (self._as_they_are, self._changed))
        self._as_they_are.reset()
        self._changed.reset()
        self.log("balanced_accuracy", plain_accuracy, sync_dist=True)
        self.log("balanced_accuracy_changed", changed_accuracy, sync_dist=True)
        score = (plain_accuracy + changed_accuracy) / 2
        self.log("score", score, sync_dist=True)
        if score > self.best_score:
            self.best_score, self.best_epoch = score, self.current_epoch + 1
            self.best_state = self._measured

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what the fit has found so far."""
        checkpoint["best"] = {"state": self.best_state, "score": self.best_score, "epoch": self.best_epoch}
        checkpoint["history"] = self.history

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take it back."""
        best = checkpoint["best"]
        self.best_state, self.best_score, self.best_epoch = best["state"], best["score"], best["epoch"]
        self.history = checkpoint["history"]

    def load_initial_weights(self, state: Mapping[str, Tensor], rows: Mapping[int, int] | None = None) -> list[str]:
        """Take over every tensor whose name and shape fit; returns the names that the network lacks or shapes
        differently.

        `rows` says which outputs of the initial classifier are the same classes as ours, ours to theirs; no others are
        taken over then, however well the shapes fit. None where it is not known.
        """
        own = self.network.state_dict()
        head = self.network.get_classifier()  # type: ignore[operator]
        place = next(name for name, module in self.network.named_modules() if module is head)
        same = rows is None or rows == {ours: ours for ours in range(self.classes)}
        fitting = {
            name: value
            for name, value in state.items()
            if name in own and own[name].shape == value.shape and (same or not name.startswith(f"{place}."))
        }
        self.network.load_state_dict(fitting, strict=False)
        fresh = sorted(set(own) - set(fitting))
        if any(own[name].shape == head.weight.shape for name in fresh):
            # timm draws a new head so large that its first errors would spoil the features before it.
            nn.init.normal_(head.weight, std=_NEW_HEAD)
            nn.init.zeros_(head.bias)
        if not same and f"{place}.weight" in state:
            with torch.no_grad():
                for ours, theirs in (rows or {}).items():
                    head.weight[ours] = state[f"{place}.weight"][theirs]
                    head.bias[ours] = state[f"{place}.bias"][theirs]
        return fresh

    def _main_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        gamma = self.config.focal_gamma if self.config.loss == "focal" else 0.0
        weights = None if self.class_weights is None else self.class_weights.to(logits.device)
        return cross_entropy(logits, smooth(targets, self.config.label_smoothing), weights, gamma)

    def _teachers_logits(self, pixels: Tensor) -> Tensor:
        """Mean probabilities (N, C) of the teachers on the very images that the student sees."""
        with torch.no_grad():
            heat = self.config.distillation_temperature
            shares = [_teach(teacher.to(pixels.device), pixels, heat) for teacher in self.teachers]
            return torch.stack(shares).mean(dim=0)


def mixed_seed(seed: int, position: int) -> int:
    """Seed of one epoch or step; those of neighbouring seeds don't meet for a thousand million positions."""
    return seed * 1_000_000_007 + position


def _teach(teacher: InferenceModule, pixels: Tensor, heat: float) -> Tensor:
    side = teacher.input_size
    if pixels.shape[-1] != side:
        pixels = functional.interpolate(pixels, size=side, mode="bilinear", antialias=True, align_corners=False)
    logits, _ = logits_and_features(teacher.network, pixels * 255 * teacher.scale + teacher.shift)
    return functional.softmax(logits.float() / heat, dim=1)


def _inverse_frequencies(counts: Sequence[int]) -> Tensor:
    weights = 1 / torch.tensor(counts, dtype=torch.float32).clamp_min(1)
    return weights * len(counts) / weights.sum()
