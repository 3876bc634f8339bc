"""The network that finds cells in fields: MobileNetV2 up to stride 16, then maps at a quarter of the input's size."""

from collections.abc import Mapping
from typing import Any

import timm
from torch import Tensor, nn
from torch.nn import functional

FINDER_ARCHITECTURE = "mobilenetv2_100_maps"
STRIDE = 4
_WIDTH = 48
_BLOCKS = 5
_UNSURE = -4.6  # logit of 0.01: nearly every place has no cell, and the first steps need not learn that


class FinderNetwork(nn.Module):
    """Maps of where cells of each class have their centre, and of how large a cell is that has its centre there.

    Input: normalised pixels (N, 3, S, S), S a multiple of 16. Output: logits (N, C, S/4, S/4) and the natural
    logarithm of width and height (N, 2, S/4, S/4), as multiples of a red cell at the finder's scale.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        body: Any = timm.create_model("mobilenetv2_100", features_only=True, out_indices=(1, 2, 3))
        del body.blocks[_BLOCKS:]  # timm keeps those after the last map, too
        fine, middle, coarse = body.feature_info.channels()
        self.body = body
        self.from_coarse = _mixed(coarse, _WIDTH)
        self.from_middle = _mixed(middle, _WIDTH)
        self.from_fine = _mixed(fine, _WIDTH)
        self.merge_middle = _Separable(_WIDTH)
        self.merge_fine = nn.Sequential(_Separable(_WIDTH), _Separable(_WIDTH))
        self.centres = nn.Conv2d(_WIDTH, classes, kernel_size=1)
        self.sizes = nn.Conv2d(_WIDTH, 2, kernel_size=1)
        nn.init.constant_(self.centres.bias, _UNSURE)  # type: ignore[arg-type]
        nn.init.normal_(self.sizes.weight, std=0.01)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and log sizes."""
        fine, middle, coarse = self.body(pixels)
        merged = self.merge_middle(self.from_middle(middle) + _doubled(self.from_coarse(coarse)))
        merged = self.merge_fine(self.from_fine(fine) + _doubled(merged))
        return self.centres(merged), self.sizes(merged)

    def load_body(self, weights: Mapping[str, Tensor]) -> int:
        """Start from the weights of a classifier of timm's; the number of tensors that were taken over."""
        own = self.body.state_dict()
        fitting = {name: value for name, value in weights.items() if name in own and own[name].shape == value.shape}
        self.body.load_state_dict(fitting, strict=False)
        return len(fitting)


class _Separable(nn.Module):
    """Depthwise 5x5, then pointwise, with a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.spatial = nn.Conv2d(width, width, kernel_size=5, padding=2, groups=width, bias=False)
        self.spatial_norm = nn.BatchNorm2d(width)
        self.mix = nn.Conv2d(width, width, kernel_size=1, bias=False)
        self.mix_norm = nn.BatchNorm2d(width)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps of the same shape."""
        spatial = functional.relu(self.spatial_norm(self.spatial(maps)))
        mixed: Tensor = functional.relu(maps + self.mix_norm(self.mix(spatial)))
        return mixed


def _mixed(channels: int, width: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(channels, width, kernel_size=1, bias=False), nn.BatchNorm2d(width))


def _doubled(maps: Tensor) -> Tensor:
    return functional.interpolate(maps, scale_factor=2.0, mode="nearest")
