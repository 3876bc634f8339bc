"""Changes of stain, light, focus and file: everything about an image but where things are.

Stains absorb light: along a ray the optical densities add up, and the picture is `background * exp(-density)`. Other
laboratories' stains are therefore changed in density, where a factor is a thicker film or a longer staining, and the
background stays what the lamp and the camera make it.
"""

import io
import math

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from bloodcell_batch.config.recipe import AugmentationConfig

_DARKEST = 4 / 255
_LEAST_QUALITY, _BEST_QUALITY = 20, 90
_GREYEST, _BRIGHTEST = 0.65, 1.0
_GLARE_TINT = 0.3
_TINT, _DIMMEST_TINT, _BRIGHTEST_TINT = 0.25, 0.55, 1.15
_SLOPE, _LEAST_SLOPE, _LARGEST_SLOPE = 0.3, 0.4, 1.3
# Rows: densities of haematoxylin, eosin and what is left in red, green and blue; Ruifrok and Johnston, Anal. Quant.
# Cytol. Histol. 23 (2001), as in scikit-image's `rgb_from_hed`. Romanowsky stains on blood films separate alike.
_STAINS = torch.tensor([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])


def uniform(generator: torch.Generator, shape: tuple[int, ...], low: float, high: float, like: Tensor) -> Tensor:
    """Uniform numbers drawn on the CPU, then moved to the device of `like`: every device gets the same."""
    return torch.empty(shape).uniform_(low, high, generator=generator).to(like)


def normal(generator: torch.Generator, shape: tuple[int, ...], sd: float, like: Tensor) -> Tensor:
    """Normal numbers of mean 0, drawn on the CPU like those of `uniform`."""
    return (torch.randn(shape, generator=generator) * sd).to(like)


def chosen(generator: torch.Generator, count: int, share: float, like: Tensor) -> Tensor:
    """1.0 for about `share` of `count` images and 0.0 for the others, shape (count, 1, 1, 1)."""
    return (torch.rand((count, 1, 1, 1), generator=generator) < share).to(like)


def background_of(pixels: Tensor) -> Tensor:
    """Colour of the empty smear, (N, 3, 1, 1): the upper decile of each channel along the border."""
    border = torch.cat([pixels[:, :, :4].flatten(2), pixels[:, :, -4:].flatten(2)], dim=2)
    return border.quantile(0.9, dim=2)[:, :, None, None]


def restain(pixels: Tensor, background: Tensor, config: AugmentationConfig, generator: torch.Generator) -> Tensor:
    """Another stain, in density, on another background; (N, 3, S, S) about 0-1, not clipped."""
    count = len(pixels)
    factor = torch.exp(uniform(generator, (count, 1, 1), -config.density, config.density, pixels))
    stains = _STAINS.to(pixels)
    each = torch.diag_embed(torch.exp(normal(generator, (count, 3), config.stain, pixels)))
    matrix = torch.linalg.inv(stains) @ each @ stains
    matrix = matrix @ (torch.eye(3).to(pixels) + normal(generator, (count, 3, 3), config.colour_mixing, pixels))
    faded = chosen(generator, count, config.grey, pixels)[:, 0] * uniform(generator, (count, 1, 1), 0, 1, pixels)
    matrix = (1 - faded) * matrix + faded * torch.full((3, 3), 1 / 3).to(pixels)
    density = -torch.log((pixels / background.clamp_min(_DARKEST)).clamp(_DARKEST, 1 / _DARKEST))
    density = torch.einsum("nij,nihw->njhw", factor * matrix, density)
    grey = uniform(generator, (count, 1, 1, 1), _GREYEST, _BRIGHTEST, pixels)
    neutral = chosen(generator, count, config.neutral, pixels)
    empty = neutral * grey + (1 - neutral) * background
    gain = torch.exp(normal(generator, (count, 3, 1, 1), config.gain, pixels))
    light = torch.exp(normal(generator, (count, 1, 1, 1), config.brightness, pixels))
    # Brighter than the sensor's range would wash the empty smear out to white: some of that is real, much is not.
    level = (empty * gain * light).clamp(0.1, 1.1)
    # Stray light fills the dark parts: a nucleus loses far more of its density to it than the pale cytoplasm does.
    glare = uniform(generator, (count, 1, 1, 1), 0, config.glare, pixels)
    glare = glare * torch.exp(normal(generator, (count, 3, 1, 1), _GLARE_TINT, pixels))
    return level * (torch.exp(-density) + glare) / (1 + glare)


def illuminate(pixels: Tensor, config: AugmentationConfig, generator: torch.Generator) -> Tensor:
    """A tone curve, and light that falls off towards one side."""
    count, side = len(pixels), pixels.shape[-1]
    exponent = torch.exp(normal(generator, (count, 1, 1, 1), config.gamma, pixels))
    loss = uniform(generator, (count, 1, 1, 1), 0, config.illumination, pixels)
    angle = uniform(generator, (count, 1, 1, 1), -math.pi, math.pi, pixels)
    across = torch.linspace(-0.5, 0.5, side).to(pixels)
    slope = angle.cos() * across.view(1, 1, 1, side) + angle.sin() * across.view(1, 1, side, 1)
    slope = slope / (angle.cos().abs() + angle.sin().abs())  # from corner to corner it is no steeper
    return pixels.clamp(1e-3, 1) ** exponent * (1 - loss * (0.5 + slope))


def colour_light(pixels: Tensor, config: AugmentationConfig, generator: torch.Generator) -> Tensor:
    """What a camera without white balance, or held to an eyepiece, makes of some images: one colour over all, and
    colours that change from one side to the other."""
    count, side = len(pixels), pixels.shape[-1]
    gain = torch.exp(normal(generator, (count, 3, 1, 1), _TINT, pixels))
    light = uniform(generator, (count, 1, 1, 1), _DIMMEST_TINT, _BRIGHTEST_TINT, pixels)
    tinted = chosen(generator, count, config.tint, pixels)
    angle = uniform(generator, (count, 1, 1, 1), -math.pi, math.pi, pixels)
    slope = normal(generator, (count, 3, 1, 1), _SLOPE, pixels)
    sloping = chosen(generator, count, config.coloured_slope, pixels)
    across = torch.linspace(-1, 1, side).to(pixels)
    way = angle.cos() * across.view(1, 1, 1, side) + angle.sin() * across.view(1, 1, side, 1)
    fall = torch.exp(slope * way).clamp(_LEAST_SLOPE, _LARGEST_SLOPE)
    return pixels * (1 + tinted * (gain / gain.amax(dim=1, keepdim=True) * light - 1)) * (1 + sloping * (fall - 1))


def defocus(pixels: Tensor, config: AugmentationConfig, generator: torch.Generator) -> Tensor:
    """Blur some images by shrinking and enlarging, and sharpen some others by an unsharp mask."""
    side, count = pixels.shape[-1], len(pixels)
    soften = torch.rand((count,), generator=generator)
    factor = math.exp(float(torch.rand((), generator=generator)) * math.log(config.blur_factor))
    blurred = (soften < config.blur).nonzero()[:, 0].to(pixels.device)
    sharpened = (soften >= 1 - config.sharpen).nonzero()[:, 0].to(pixels.device)
    result = pixels.clone()
    # Two strengths in a batch: one drawn for the whole batch would leave most steps with a single sharpness.
    for part, strength in ((blurred[::2], factor), (blurred[1::2], math.sqrt(factor))):
        result[part] = _soft(pixels[part], max(8, round(side / strength)))
    result[sharpened] += pixels[sharpened] - _soft(pixels[sharpened], max(8, round(side / 2)))
    return result


def compress(pixels: Tensor, config: AugmentationConfig, generator: torch.Generator) -> Tensor:
    """Write some images as JPEG of random quality and read them back; values in 0-1."""
    count = len(pixels)
    share = torch.rand((count,), generator=generator)
    quality = torch.randint(_LEAST_QUALITY, _BEST_QUALITY + 1, (count,), generator=generator)
    picks = (share < config.jpeg).nonzero()[:, 0]
    if not len(picks):
        return pixels
    result = pixels.clone()
    raw = (pixels[picks.to(pixels.device)] * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    decoded = np.stack([_through_jpeg(image, int(quality[i])) for i, image in zip(picks, raw, strict=True)])
    result[picks.to(pixels.device)] = torch.from_numpy(decoded).permute(0, 3, 1, 2).to(pixels) / 255
    return result


def _through_jpeg(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def _soft(pixels: Tensor, side: int) -> Tensor:
    if not len(pixels):
        return pixels
    small = functional.interpolate(pixels, size=side, mode="bilinear", antialias=True, align_corners=False)
    return functional.interpolate(small, size=pixels.shape[-1], mode="bilinear", align_corners=False)
