"""The finder under training, as a Lightning module, and the crops it learns from."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bloodcell_batch.config.finder import TrainFinderConfig
from bloodcell_batch.errors import TrainingError
from bloodcell_batch.fields.cells import FIELD_CLASSES
from bloodcell_batch.images.preprocessing import Preprocessing
from bloodcell_batch.model.finder_network import FinderNetwork
from bloodcell_batch.training.finder.drawing import Artist
from bloodcell_batch.training.finder.targets import Targets, finder_loss, targets_of

Batch = tuple[Tensor, Targets]


class Crops(Dataset[Any]):
    """The crops of an epoch: which they are depends on the seed and the epoch alone, so that it can be resumed."""

    def __init__(self, artist: Artist, config: TrainFinderConfig, epoch: Callable[[], int]) -> None:
        self._artist, self._config, self._epoch = artist, config, epoch

    def __len__(self) -> int:
        return self._config.epoch_crops

    def __getitem__(self, index: int) -> Any:  # noqa: ANN401 - arrays, put together by `batched`
        random = np.random.default_rng((self._config.seed, self._epoch(), index))
        drawn = self._artist.draw(random)
        return drawn.rgb, targets_of(drawn, self._config.red_cell_side)


def batched(items: list[Any]) -> Batch:
    """uint8 (N, S, S, 3) crops and their targets."""
    crops = torch.from_numpy(np.stack([rgb for rgb, _ in items]))
    maps = [torch.from_numpy(np.stack(each)) for each in zip(*(targets for _, targets in items), strict=True)]
    return crops, Targets(*maps)


class FinderTraining(LightningModule):
    """Trains a `FinderNetwork`."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: TrainFinderConfig, artist: Artist) -> None:
        super().__init__()
        self.config = config
        self.network = FinderNetwork(len(FIELD_CLASSES))
        self.history: list[dict[str, float]] = []
        self._artist = artist
        usual = Preprocessing()
        self.register_buffer("mean", torch.tensor(usual.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(usual.std).view(1, 3, 1, 1), persistent=False)

    @property
    def total_steps(self) -> int:
        """Optimisation steps of the whole training."""
        return self.config.epochs * max(1, self.config.epoch_crops // self.config.batch_size)

    def train_dataloader(self) -> DataLoader[Any]:
        """Crops, drawn as they are needed."""
        crops = Crops(self._artist, self.config, lambda: self.current_epoch)
        size = min(self.config.batch_size, self.config.epoch_crops)
        return DataLoader(crops, batch_size=size, drop_last=True, collate_fn=batched)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of a batch.

        Raises:
            TrainingError: it is not a number.
        """
        del batch_idx
        crops, targets = batch
        pixels = (crops.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std
        logits, sizes = self.network(pixels.contiguous(memory_format=torch.channels_last))
        centres_loss, size_loss = finder_loss(logits, sizes, targets, self.config.size_weight)
        loss = centres_loss + size_loss
        if not torch.isfinite(loss):
            hint = "Lower --learning-rate, or use --precision fp32, and start again with --overwrite."
            raise TrainingError(f"The loss became {float(loss.detach())} in epoch {self.current_epoch + 1}.", hint=hint)
        for name, part in (("centres_loss", centres_loss), ("size_loss", size_loss)):
            self.log(name, part, on_step=False, on_epoch=True, batch_size=1)
        return loss

    def configure_optimizers(self) -> Any:  # noqa: ANN401 - Lightning's own type is a union of eight
        """AdamW; the rate rises, then falls as a cosine."""
        config, total = self.config, self.total_steps
        plain = [weight for weight in self.network.parameters() if weight.ndim < 2]
        decayed = [weight for weight in self.network.parameters() if weight.ndim >= 2]
        groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        optimiser = torch.optim.AdamW(groups, lr=config.learning_rate)
        rising = max(1, round(config.warmup * total))

        def factor(step: int) -> float:
            if step < rising:
                return (step + 1) / rising
            return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rising) / max(1, total - rising))))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
