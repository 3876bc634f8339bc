"""The package's own networks, those that timm does not have. To add one, add a row to `ARCHITECTURES`.

Every network answers to the three methods of timm's that the package uses: `forward_features`, `forward_head` and
`get_classifier`. A name may end in `@FACTOR`, which multiplies the widths: `cell_fcnn@0.5`.
"""

import re
from collections.abc import Callable
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from bloodcell_batch.errors import ModelFileError

EXTRA_HINT = "pip install 'bloodcell-batch[compare]'"
_WIDTHS = (0.5, 1.0, 2.0)
_GREY = (0.299, 0.587, 0.114)  # luminance, ITU-R BT.601
_UNET_ENCODER = "resnet18"
_STRIDE = 32


class CellNetwork(nn.Module):
    """A body that gives feature vectors, dropout, and one linear layer on top."""

    def __init__(self, body: nn.Module, features: int, classes: int, drop_rate: float) -> None:
        super().__init__()
        self.body = body
        self.dropout = nn.Dropout(drop_rate)
        self.classifier = nn.Linear(features, classes)

    def forward_features(self, pixels: Tensor) -> Tensor:
        """Features (N, D) of normalised pixels (N, 3, S, S)."""
        features: Tensor = self.body(pixels)
        return features

    def forward_head(self, features: Tensor, *, pre_logits: bool = False) -> Tensor:
        """Logits (N, C) of features, or with `pre_logits` what the classifier gets, (N, D)."""
        features = self.dropout(features)
        return features if pre_logits else self.classifier(features)

    def get_classifier(self) -> nn.Linear:
        """The last layer."""
        return self.classifier

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (N, C)."""
        return self.forward_head(self.forward_features(pixels))


class _Grey(nn.Module):
    """Luminance (N, 1, S, S) of RGB."""

    weights: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weights", torch.tensor(_GREY).view(1, 3, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        return (pixels * self.weights).sum(dim=1, keepdim=True)


class _Concatenated(nn.Module):
    """Pooled features of several timm networks side by side."""

    def __init__(self, names: tuple[str, ...], *, pretrained: bool) -> None:
        super().__init__()
        parts: list[Any] = [timm.create_model(name, pretrained=pretrained, num_classes=0) for name in names]
        self.parts = nn.ModuleList(parts)
        self.width = sum(int(part.num_features) for part in parts)

    def forward(self, pixels: Tensor) -> Tensor:
        return torch.cat([part(pixels) for part in self.parts], dim=1)


class _PooledUNet(nn.Module):
    """U-Net whose bottleneck and decoder output are pooled to one vector: no mask is learned, but every layer is used.

    Sides that 32 does not divide are padded with zeros, the mean colour.
    """

    def __init__(self, *, pretrained: bool) -> None:
        super().__init__()
        try:
            from segmentation_models_pytorch import Unet  # noqa: PLC0415 - an extra
        except ModuleNotFoundError as error:
            raise ModelFileError("segmentation-models-pytorch is not installed.", hint=EXTRA_HINT) from error
        unet = Unet(_UNET_ENCODER, encoder_weights="imagenet" if pretrained else None)
        self.encoder, self.decoder = unet.encoder, unet.decoder
        decoded = unet.segmentation_head[0].in_channels
        self.width = int(unet.encoder.out_channels[-1]) + int(decoded)

    def forward(self, pixels: Tensor) -> Tensor:
        missing = -pixels.shape[-1] % _STRIDE
        if missing:
            pixels = functional.pad(pixels, (missing // 2, missing - missing // 2) * 2)
        levels = self.encoder(pixels)
        return torch.cat([levels[-1].mean(dim=(2, 3)), self.decoder(levels).mean(dim=(2, 3))], dim=1)


def _block(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]


def _cnn2(width: float, *, pretrained: bool) -> tuple[nn.Module, int]:
    del pretrained
    first, second, dense = _wide(width, 32, 64, 128)
    body = [*_block(3, first), *_block(first, second), nn.AdaptiveAvgPool2d(8), nn.Flatten()]
    return nn.Sequential(*body, nn.Linear(64 * second, dense), nn.ReLU()), dense


def _cnn28(width: float, *, pretrained: bool) -> tuple[nn.Module, int]:
    del pretrained
    first, second, third, dense = _wide(width, 32, 64, 64, 128)
    body = [*_block(3, first), *_block(first, second), nn.Conv2d(second, third, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(7), nn.Flatten(), nn.Linear(49 * third, dense), nn.ReLU()), dense


def _fcnn(width: float, *, pretrained: bool) -> tuple[nn.Module, int]:
    del pretrained
    (hidden,) = _wide(width, 500)
    layers = [nn.Linear(784, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()]
    return nn.Sequential(_Grey(), nn.AdaptiveAvgPool2d(28), nn.Flatten(), *layers), hidden


def _hybrid(_width: float, *, pretrained: bool) -> tuple[nn.Module, int]:
    body = _Concatenated(("inception_v3", "legacy_xception"), pretrained=pretrained)
    return body, body.width


def _unet(_width: float, *, pretrained: bool) -> tuple[nn.Module, int]:
    body = _PooledUNet(pretrained=pretrained)
    return body, body.width


def _wide(factor: float, *widths: int) -> tuple[int, ...]:
    return tuple(max(1, round(factor * width)) for width in widths)


ARCHITECTURES: dict[str, Callable[..., tuple[nn.Module, int]]] = {
    "cell_cnn2": _cnn2,
    "cell_cnn28": _cnn28,
    "cell_fcnn": _fcnn,
    "cell_unet": _unet,
    "inception_xception": _hybrid,
}
"""Name -> body and width of its features: a CNN of two convolutions; a CNN for 28 pixels; the fully connected
784-500-500-8 on grey 28 x 28 (larger inputs are averaged down); U-Net; InceptionV3 and Xception side by side."""

_WITH_WIDTH = ("cell_cnn2", "cell_cnn28", "cell_fcnn")


def create_own(architecture: str, classes: int, *, pretrained: bool, drop_rate: float) -> CellNetwork | None:
    """The network of that name, or None where it is not one of ours.

    Raises:
        ModelFileError: the width is not a number above zero, or not to be chosen for this network.
    """
    name, at, factor = architecture.partition("@")
    if name not in ARCHITECTURES:
        return None
    if at and (name not in _WITH_WIDTH or not re.fullmatch(r"\d{1,2}(\.\d+)?", factor) or not float(factor)):
        hint = f"A factor on the widths can be given for {', '.join(_WITH_WIDTH)}, for example {_WITH_WIDTH[0]}@0.5."
        raise ModelFileError(f"The architecture {architecture!r} can't be built.", hint=hint)
    body, features = ARCHITECTURES[name](float(factor) if at else 1.0, pretrained=pretrained)
    return CellNetwork(body, features, classes, drop_rate)


def widths_of(architecture: str) -> list[str]:
    """The same architecture in other widths, itself included: of ours, and of timm's families named NAME_100."""
    name = architecture.partition("@")[0]
    if name in _WITH_WIDTH:
        return [name if factor == 1 else f"{name}@{factor:g}" for factor in _WIDTHS]
    stem, _, digits = architecture.rpartition("_")
    if stem and re.fullmatch(r"\d{3}", digits):
        return sorted(timm.list_models(f"{stem}_[0-9][0-9][0-9]"))
    return [architecture]
