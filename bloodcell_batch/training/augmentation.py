"""Random changes of training images, a batch at a time, on whatever device the batch is.

What differs between laboratories is, in this order, magnification, sharpness and colour: those are varied most.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from bloodcell_batch.config import AugmentationConfig


def augment(images: Tensor, side: int, config: AugmentationConfig, generator: torch.Generator) -> Tensor:
    """Vary a batch.

    Args:
        images: uint8 (N, 2*side, 2*side, 3); twice the input size, so that a smaller field of view is still sharp.
        side: side of the result.
        config: strength of every change.
        generator: CPU random source; the same seed gives the same batch.

    Returns:
        float32 (N, 3, side, side), values about 0-1.
    """
    pixels = images.permute(0, 3, 1, 2).float() / 255
    background = _background(pixels)
    pixels = _move(pixels, background, config, generator)
    pixels = functional.interpolate(pixels, size=(side, side), mode="bilinear", antialias=True, align_corners=False)
    pixels = _recolour(pixels, background, config, generator)
    pixels = _defocus(pixels, config, generator)
    strength = _uniform(generator, (len(pixels), 1, 1, 1), 0, config.noise, pixels)
    noise = torch.randn(pixels.shape, generator=generator).to(pixels)
    return (pixels + strength * noise).clamp(0, 1)


def plain(images: Tensor, side: int) -> Tensor:
    """The same batch without changes, as `classify` sees it: uint8 (N, M, M, 3) to float32 (N, 3, side, side)."""
    pixels = images.permute(0, 3, 1, 2).float() / 255
    return functional.interpolate(pixels, size=(side, side), mode="bilinear", antialias=True, align_corners=False)


def _uniform(generator: torch.Generator, shape: tuple[int, ...], low: float, high: float, like: Tensor) -> Tensor:
    return torch.empty(shape).uniform_(low, high, generator=generator).to(like)


def _normal(generator: torch.Generator, shape: tuple[int, ...], sd: float, like: Tensor) -> Tensor:
    return (torch.randn(shape, generator=generator) * sd).to(like)


def _background(pixels: Tensor) -> Tensor:
    """Colour of the empty smear, (N, 3, 1, 1): the upper decile of each channel along the border."""
    border = torch.cat([pixels[:, :, :4].flatten(2), pixels[:, :, -4:].flatten(2)], dim=2)
    return border.quantile(0.9, dim=2)[:, :, None, None]


def _move(pixels: Tensor, background: Tensor, config: AugmentationConfig, generator: torch.Generator) -> Tensor:
    """Rotate, flip, scale, stretch and shift; what lies outside is mirrored, or empty smear, by turns."""
    count = len(pixels)
    angle = _uniform(generator, (count,), -math.pi, math.pi, pixels)
    zoom = _uniform(generator, (count,), -config.scale, config.scale, pixels)
    stretch = _uniform(generator, (count,), -config.aspect / 2, config.aspect / 2, pixels)
    flip = torch.where(torch.rand((count,), generator=generator) < 0.5, -1.0, 1.0).to(pixels)
    shift = _uniform(generator, (count, 2), -2 * config.shift, 2 * config.shift, pixels)
    # grid_sample maps output to input: a factor above 1 shows more of the smear, so the cell gets smaller.
    width, height = torch.exp(zoom + stretch), torch.exp(zoom - stretch)
    matrix = torch.stack(
        [
            torch.stack([flip * width * angle.cos(), -height * angle.sin(), shift[:, 0]], dim=1),
            torch.stack([flip * width * angle.sin(), height * angle.cos(), shift[:, 1]], dim=1),
        ],
        dim=1,
    )
    grid = functional.affine_grid(matrix, list(pixels.shape), align_corners=False)
    if torch.rand((), generator=generator) < 0.5:
        return functional.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)
    return functional.grid_sample(pixels - background, grid, align_corners=False) + background


def _recolour(pixels: Tensor, background: Tensor, config: AugmentationConfig, generator: torch.Generator) -> Tensor:
    """Mix the channels around the background level, then change gain, brightness, contrast and saturation."""
    count = len(pixels)
    matrix = torch.eye(3).to(pixels) + _normal(generator, (count, 3, 3), config.colour_mixing, pixels)
    keep = (torch.rand((count,), generator=generator) < config.grey).to(pixels)
    keep = 1 - keep * _uniform(generator, (count,), 0, 1, pixels)
    grey = torch.full((3, 3), 1 / 3).to(pixels)
    matrix = keep[:, None, None] * matrix + (1 - keep)[:, None, None] * (grey @ matrix)
    contrast = torch.exp(_normal(generator, (count, 1, 1), config.contrast, pixels))
    gain = torch.exp(_normal(generator, (count, 3, 1, 1), config.gain, pixels))
    level = _normal(generator, (count, 1, 1, 1), config.brightness, pixels)
    stain = torch.einsum("nij,njhw->nihw", matrix * contrast, pixels - background)
    return (stain + background) * gain + level


def _defocus(pixels: Tensor, config: AugmentationConfig, generator: torch.Generator) -> Tensor:
    """Blur half of some batches by shrinking and enlarging, and sharpen half of some others."""
    side = pixels.shape[-1]
    chance = float(torch.rand((), generator=generator))
    factor = math.exp(float(torch.rand((), generator=generator)) * math.log(config.blur_factor))
    if chance >= config.blur or config.blur_factor == 1:
        return pixels
    small = functional.interpolate(
        pixels, size=max(8, round(side / factor)), mode="bilinear", antialias=True, align_corners=False
    )
    soft = functional.interpolate(small, size=side, mode="bilinear", align_corners=False)
    half = len(pixels) // 2
    sharp = pixels[half:] + 0.5 * (pixels[half:] - soft[half:])
    return torch.cat([soft[:half], sharp if chance < config.blur / 2 else pixels[half:]])
