"""Random changes of training images, a batch at a time, on whatever device the batch is.

What differs between laboratories is, in this order, magnification, stain and light, and sharpness: those are varied
most. `augment` reads as the path of light: from the field of view over the stain and the lamp to lens, sensor and file.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from bloodcell_batch.config.recipe import AugmentationConfig
from bloodcell_batch.training.augmentation.appearance import (
    background_of,
    colour_light,
    compress,
    defocus,
    illuminate,
    restain,
    uniform,
)

_GENTLE = 0.3
_OVERSAMPLING = 1.5
"""The moved image is sampled at this multiple of the input size, then averaged down: bilinear sampling alone would
leave jagged edges where cells are made smaller."""


def augment(images: Tensor, side: int, config: AugmentationConfig, generator: torch.Generator) -> Tensor:
    """Vary a batch.

    Args:
        images: uint8 (N, 2*side, 2*side, 3); twice the input size, so that a smaller field of view is still sharp.
        side: side of the result.
        config: strength of every change.
        generator: CPU random source; the same seed gives the same batch.

    Returns:
        float32 (N, 3, side, side), values in 0-1.
    """
    calm = round(config.gentle * len(images))
    parts = [(images[:calm], _weakened(config)), (images[calm:], config)]
    return torch.cat([_vary(part, side, strength, generator) for part, strength in parts if len(part)])


def plain(images: Tensor, side: int) -> Tensor:
    """The same batch without changes, as `classify` sees it: uint8 (N, M, M, 3) to float32 (N, 3, side, side)."""
    return _shrink(images.permute(0, 3, 1, 2).float() / 255, side)


def _weakened(config: AugmentationConfig) -> AugmentationConfig:
    strengths = {name: _GENTLE * value for name, value in config.model_dump().items()}
    return config.model_copy(update=strengths | {"blur_factor": config.blur_factor**_GENTLE})


def _vary(images: Tensor, side: int, config: AugmentationConfig, generator: torch.Generator) -> Tensor:
    pixels = images.permute(0, 3, 1, 2).float() / 255
    background = background_of(pixels)
    pixels = _move(pixels, round(_OVERSAMPLING * side), background, config, generator)
    pixels = _shrink(pixels, side)
    pixels = restain(pixels, background, config, generator)
    pixels = illuminate(pixels, config, generator)
    pixels = colour_light(pixels, config, generator)
    pixels = defocus(pixels, config, generator)
    if config.noise:
        strength = uniform(generator, (len(pixels), 1, 1, 1), 0, config.noise, pixels)
        pixels = pixels + strength * torch.randn(pixels.shape, generator=generator).to(pixels)
    return compress(pixels.clamp(0, 1), config, generator)


def _shrink(pixels: Tensor, side: int) -> Tensor:
    if pixels.shape[-1] == side:
        return pixels
    return functional.interpolate(pixels, size=(side, side), mode="bilinear", antialias=True, align_corners=False)


def _move(
    pixels: Tensor, side: int, background: Tensor, config: AugmentationConfig, generator: torch.Generator
) -> Tensor:
    """Rotate, flip, scale, stretch and shift; what lies outside is mirrored, or empty smear, by turns."""
    count = len(pixels)
    angle = uniform(generator, (count,), -math.pi, math.pi, pixels)
    # The grid maps output to input: a factor above 1 shows more of the smear, so the cell gets smaller.
    zoom = uniform(generator, (count,), -config.zoom_in, config.zoom_out, pixels)
    stretch = uniform(generator, (count,), -config.aspect / 2, config.aspect / 2, pixels)
    flip = torch.where(torch.rand((count,), generator=generator) < 0.5, -1.0, 1.0).to(pixels)
    shift = uniform(generator, (count, 2), -2 * config.shift, 2 * config.shift, pixels)
    width, height = torch.exp(zoom + stretch), torch.exp(zoom - stretch)
    matrix = torch.stack(
        [
            torch.stack([flip * width * angle.cos(), -height * angle.sin(), shift[:, 0]], dim=1),
            torch.stack([flip * width * angle.sin(), height * angle.cos(), shift[:, 1]], dim=1),
        ],
        dim=1,
    )
    grid = functional.affine_grid(matrix, [count, 3, side, side], align_corners=False)
    if torch.rand((), generator=generator) < 0.5:
        return functional.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)
    return functional.grid_sample(pixels - background, grid, align_corners=False) + background
