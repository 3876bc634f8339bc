"""The ready-made policies of torchvision: RandAugment, AugMix, MixUp and CutMix.

They draw from PyTorch's global random state, which is set again at every step (see `classifier.py`).
"""

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms import v2

from bloodcell_batch.config.recipe import AugmentationConfig

_AUGMIX_SEVERITY = 3


class Policies:
    """What a recipe asks of torchvision, made once."""

    def __init__(self, config: AugmentationConfig, classes: int) -> None:
        self._classes = classes
        self._randaugment = v2.RandAugment(num_ops=2, magnitude=config.randaugment) if config.randaugment else None
        self._augmix = v2.AugMix(severity=_AUGMIX_SEVERITY) if config.augmix else None
        mixes: list[v2.Transform] = []
        if config.mixup:
            mixes.append(v2.MixUp(alpha=config.mixup, num_classes=classes))
        if config.cutmix:
            mixes.append(v2.CutMix(alpha=config.cutmix, num_classes=classes))
        self._mix = v2.RandomChoice(mixes) if mixes else None

    def apply(self, pixels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """RandAugment per image, then MixUp or CutMix over the batch.

        Args:
            pixels: float (N, 3, S, S) in 0-1.
            labels: int64 (N,).

        Returns:
            The pixels, and targets (N, C) whose rows sum to 1.
        """
        if self._randaugment is not None:
            pixels = _each(self._randaugment, pixels)
        if self._mix is not None:
            pixels, mixed = self._mix(pixels, labels)
            return pixels, mixed
        return pixels, functional.one_hot(labels, self._classes).to(pixels)

    def views(self, pixels: Tensor) -> list[Tensor]:
        """Two AugMix versions of the batch, or none where the recipe has no AugMix."""
        return [_each(self._augmix, pixels) for _ in range(2)] if self._augmix is not None else []


def _each(transform: v2.Transform, pixels: Tensor) -> Tensor:
    """Per image, as both policies draw once per call; on uint8, which every operation of theirs accepts."""
    raw = (pixels * 255).round().to(torch.uint8)
    return torch.stack([transform(image) for image in raw]).to(pixels) / 255
