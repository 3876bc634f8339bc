"""A network in two: first stages that stay as they are, and the rest, which learns.

The first stages see edges and colours alike in every laboratory, and they take most of the time: their outputs for each
cell and each random change of it are computed once, for all trainings of a cross-validation.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bloodcell_batch.config.recipe import AugmentationConfig
from bloodcell_batch.model.network import InferenceModule
from bloodcell_batch.training.augmentation.augment import augment

_KEPT_STAGES = 3
_BATCH = 32
AUGMENTATION = AugmentationConfig(
    zoom_in=1.1, density=0.8, glare=0.7, stain=0.35, colour_mixing=0.18, blur_factor=4.0, gentle=0.5
)
"""As in the last stages of the packaged model's training (`configs/default.toml`)."""


@dataclass(frozen=True, slots=True)
class NetworkParts:
    """`first` turns normalised pixels (N, 3, S, S) into maps, `rest` is a network that takes these maps; where an
    architecture can't be divided, `first` does nothing."""

    module: InferenceModule
    first: nn.Module
    rest: nn.Module

    def whole(self, rest: nn.Module) -> nn.Module:
        """The network of the module with `rest` in place of its own last stages."""
        network = copy.deepcopy(self.module.network)
        names = _moved_names(self.module.network)
        state = {names.get(name, name): value for name, value in rest.state_dict().items()}
        network.load_state_dict(network.state_dict() | state)
        return network.eval()

    def maps(self, inputs: NDArray[np.uint8], stepped: Callable[[], None]) -> Tensor:
        """Maps float32 of network inputs uint8 (N, S, S, 3), as they are; `stepped` is called before each batch."""
        pixels = torch.from_numpy(inputs).permute(0, 3, 1, 2)
        found = []
        with torch.no_grad():
            for part in torch.split(pixels, _BATCH):
                stepped()
                found.append(self.first(self._normalised(part.float())))
        return torch.cat(found)

    def varied_maps(self, pixels: NDArray[np.uint8], views: int, seed: int, stepped: Callable[[], None]) -> Tensor:
        """Maps bfloat16 (views, N, …) of random changes of pixels uint8 (N, M, M, 3)."""
        random = torch.Generator().manual_seed(seed)
        found = []
        with torch.no_grad():
            for _ in range(views):
                # A part of each batch is changed less: not always the same cells.
                order = torch.randperm(len(pixels), generator=random)
                made = []
                for index in torch.split(order, _BATCH):
                    stepped()
                    images = torch.from_numpy(pixels[index.numpy()])
                    changed = augment(images, self.module.input_size, AUGMENTATION, random)
                    made.append(self.first(self._normalised(changed * 255)).bfloat16())
                found.append(torch.cat(made)[torch.argsort(order)])
        return torch.stack(found)

    def _normalised(self, levels: Tensor) -> Tensor:
        pixels = levels * self.module.scale + self.module.shift
        return pixels.contiguous(memory_format=torch.channels_last)


def divided(module: InferenceModule) -> NetworkParts:
    """The network of a module in its two parts; the module stays as it is."""
    network = module.network.eval()
    rest = copy.deepcopy(network)
    stages = _stages(network)
    if stages is None:
        return NetworkParts(module, nn.Identity(), rest)
    stem = (network.get_submodule("conv_stem"), network.get_submodule("bn1"))
    first = nn.Sequential(*stem, *list(stages)[:_KEPT_STAGES])
    rest.conv_stem, rest.bn1 = nn.Identity(), nn.Identity()
    rest.blocks = nn.Sequential(*list(rest.get_submodule("blocks").children())[_KEPT_STAGES:])
    return NetworkParts(module, first, rest)


def _stages(network: nn.Module) -> nn.Sequential | None:
    """The stages of a network that can be divided, one of timm's MobileNets or EfficientNets; None for others."""
    stages = getattr(network, "blocks", None)
    stem = all(isinstance(getattr(network, name, None), nn.Module) for name in ("conv_stem", "bn1"))
    return stages if stem and isinstance(stages, nn.Sequential) and len(stages) > _KEPT_STAGES else None


def _moved_names(network: nn.Module) -> dict[str, str]:
    """Names in the rest -> names in the whole, where they differ."""
    if _stages(network) is None:
        return {}
    moved = {}
    for name in network.state_dict():
        room, _, inner = name.partition(".")
        number, _, tail = inner.partition(".")
        if room == "blocks" and int(number) >= _KEPT_STAGES:
            moved[f"blocks.{int(number) - _KEPT_STAGES}.{tail}"] = name
    return moved


def batches(cells: int) -> int:
    """Number of batches in which maps of so many cells are computed."""
    return math.ceil(cells / _BATCH)
