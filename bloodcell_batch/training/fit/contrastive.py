"""Supervised contrastive training (Khosla et al., 2020): cells of one class move together before a head is trained."""

import torch
from torch import Tensor, nn

from bloodcell_batch.config.recipe import TrainConfig
from bloodcell_batch.images.preprocessing import Preprocessing
from bloodcell_batch.model.network import logits_and_features
from bloodcell_batch.training.fit.lightning_module import Batch, NormalisedNetwork
from bloodcell_batch.training.fit.losses import supervised_contrastive

_PROJECTION = 128


class ContrastiveLearner(NormalisedNetwork):
    """Trains the body of a network on pairs of views; its classifier is left alone."""

    def __init__(self, config: TrainConfig, preprocessing: Preprocessing, total_steps: int, classes: int) -> None:
        super().__init__(config, preprocessing, total_steps, classes)
        self.network.get_classifier().requires_grad_(requires_grad=False)  # type: ignore[operator]
        width = self.network.get_classifier().in_features  # type: ignore[operator]
        self.projection = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, _PROJECTION))

    def training_step(self, batch: Batch, _index: int) -> Tensor:
        """The contrastive loss of two differently varied views of a batch."""
        images, labels, _ = batch
        views = torch.cat([self.varied(images), self.varied(images)])
        _, features = logits_and_features(self.network, self.normalised(views))
        embeddings = self.projection(features)
        return self.checked(supervised_contrastive(embeddings, labels.repeat(2), self.config.contrastive_temperature))
