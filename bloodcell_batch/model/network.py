"""The network as every runtime gets it: uint8 NHWC RGB in, float32 probabilities and features out."""

import copy
import itertools
from functools import partial
from typing import Self, cast

import timm
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from bloodcell_batch.errors import ModelFileError
from bloodcell_batch.images.preprocessing import Preprocessing
from bloodcell_batch.model.architectures import ARCHITECTURES, create_own
from bloodcell_batch.model.file import NETWORK_PREFIX, ModelFile
from bloodcell_batch.model.finder_network import FinderNetwork


def create_network(architecture: str, classes: int, *, pretrained: bool = False, drop_rate: float = 0.0) -> nn.Module:
    """A network with `classes` outputs: one of ours (`architectures.py`) or one of timm's.

    Raises:
        ModelFileError: there is no such architecture, or it needs a library that is not installed.
    """
    own = create_own(architecture, classes, pretrained=pretrained, drop_rate=drop_rate)
    if own is not None:
        return own
    if not timm.is_model(architecture):
        near = ", ".join(timm.list_models(f"*{architecture.split('_', maxsplit=1)[0]}*")[:5])
        hint = f"Names are timm's, for example: {near or 'mobilenetv2_100, resnet18, convnext_atto'}; or ours: "
        hint += f"{', '.join(ARCHITECTURES)}."
        raise ModelFileError(f"Unknown architecture {architecture!r}.", hint=hint)
    return timm.create_model(architecture, pretrained=pretrained, num_classes=classes, drop_rate=drop_rate)


class InferenceModule(nn.Module):
    """Cast, normalise, run the network, scale by the temperature, softmax: all in one module for export.

    Input: uint8 (N, S, S, 3) RGB. Output: float32 probabilities (N, C) and float32 pooled features (N, D).
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, network: nn.Module, preprocessing: Preprocessing, temperature: float) -> None:
        super().__init__()
        self.network = network
        self.temperature = temperature
        self.input_size = preprocessing.input_size
        self.body_dtype = torch.float32
        mean, std = torch.tensor(preprocessing.mean), torch.tensor(preprocessing.std)
        self.register_buffer("scale", (1 / (255 * std)).view(1, 3, 1, 1))
        self.register_buffer("shift", (-mean / std).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities and features of a batch of images."""
        pixels = (images.permute(0, 3, 1, 2).float() * self.scale + self.shift).to(self.body_dtype)
        logits, features = logits_and_features(self.network, pixels)
        probabilities = torch.softmax(logits.float() / self.temperature, dim=1)
        return probabilities, features.float()

    def cast_body(self, dtype: torch.dtype) -> Self:
        """Compute the network itself in `dtype`; normalisation, softmax and both outputs stay float32.

        Batch normalisation is folded into the convolutions before: its variances lose most of their digits in float16.
        """
        self.network = with_folded_batch_norms(self.network, self.input_size).to(dtype)
        self.body_dtype = dtype
        return self


class FinderModule(InferenceModule):
    """As `InferenceModule`, for the finder's maps.

    Output: float32 chances (N, C*H*W) and log sizes (N, 2*H*W), each image's maps in a row, as every runtime returns.
    """

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Maps of a batch of tiles."""
        pixels = (images.permute(0, 3, 1, 2).float() * self.scale + self.shift).to(self.body_dtype)
        logits, sizes = self.network(pixels)
        return torch.sigmoid(logits.float()).flatten(1), sizes.float().flatten(1)


def with_folded_batch_norms(network: nn.Module, side: int) -> nn.Module:
    """A copy in which every batch normalisation that directly follows a convolution is folded into it.

    Which follows which is guessed from the order of the modules and then checked on random pixels (2, 3, side, side):
    a network that is wired differently is returned as it is. Evaluation mode only.
    """
    folded = copy.deepcopy(network)
    for parent in list(folded.modules()):
        for (_, convolution), (name, norm) in itertools.pairwise(list(parent.named_children())):
            if not isinstance(convolution, nn.Conv2d) or not isinstance(norm, nn.BatchNorm2d):
                continue
            if convolution.out_channels == norm.num_features:
                _fold(convolution, norm)
                # timm's normalisations carry their activation with them.
                setattr(parent, name, nn.Sequential(*norm.children()))
    generator = torch.Generator().manual_seed(0)
    pixels = (torch.rand((2, 3, side, side), generator=generator) * 4 - 2).to(next(network.parameters()).device)
    with torch.inference_mode():
        same = _alike(folded(pixels), network(pixels))
    return folded if same else network


def _alike(one: Tensor | tuple[Tensor, ...], other: Tensor | tuple[Tensor, ...]) -> bool:
    """Whether two outputs, or pairs of outputs, are equal but for rounding."""
    if isinstance(one, tuple):
        return all(itertools.starmap(_alike, zip(one, other, strict=True)))
    return torch.allclose(one, cast("Tensor", other), rtol=1e-3, atol=1e-3)


def _fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    if norm.running_mean is None or norm.running_var is None:
        return  # it normalises by the batch itself; the comparison afterwards would fail as well
    weight, bias = fuse_conv_bn_weights(
        convolution.weight,
        convolution.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
    )
    convolution.weight, convolution.bias = weight, bias


def logits_and_features(network: nn.Module, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (N, C) and pooled penultimate features (N, D) of normalised pixels (N, 3, S, S), in one pass."""
    features = network.forward_head(network.forward_features(pixels), pre_logits=True)  # type: ignore[operator]
    logits = network.get_classifier()(features)  # type: ignore[operator]
    return logits, features


def load_inference_module(model: ModelFile) -> InferenceModule:
    """Build the module of a model file, in evaluation mode, float32, on the CPU.

    Raises:
        ModelFileError: the tensors don't fit the architecture that the header names.
    """
    header = model.header
    is_finder = header.finder is not None
    network = (FinderNetwork if is_finder else partial(create_network, header.architecture))(len(header.classes))
    weights = {name: torch.from_numpy(value) for name, value in model.load_tensors(NETWORK_PREFIX).items()}
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        first = str(error).strip().splitlines()[-1].strip()
        message = f"The tensors of {model.path} don't fit the architecture {header.architecture}: {first}"
        raise ModelFileError(message, hint="The file is damaged or was edited; train or download it again.") from error
    kind = FinderModule if is_finder else InferenceModule
    return kind(network, header.preprocessing, header.temperature).eval()
