"""Pictures that show no cell, for the network to learn what it should not be sure of.

Outlier exposure (Hendrycks et al., 2019): their target is the same share for every class, so that at `classify` their
top probability lies far below every review threshold.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from bloodcell_batch.training.augmentation.appearance import uniform

_CORNER = 0.3
"""Share of the side that is cut out of a corner: little enough to miss the cell in the middle."""


def draw_non_cells(images: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """As many pictures without a cell as there are images, of every kind by turns.

    Args:
        images: uint8 (N, M, M, 3), of which the corners show empty smear and red cells.
        side: side of the result.
        generator: CPU random source.

    Returns:
        float32 (N, 3, side, side) in 0-1.
    """
    like = images.permute(0, 3, 1, 2).float() / 255
    start = int(torch.randint(len(_KINDS), (), generator=generator))
    drawn = torch.empty((len(like), 3, side, side), dtype=torch.float32, device=like.device)
    for offset, kind in enumerate(_KINDS):
        picks = torch.arange(len(like), device=like.device)[(offset - start) % len(_KINDS) :: len(_KINDS)]
        if len(picks):
            drawn[picks] = kind(like[picks], side, generator)
    return drawn.clamp(0, 1)


def _noise(like: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """From a grainy grey to full contrast: what a resize leaves of a noisy sensor is faint."""
    level, strength = (uniform(generator, (len(like), 1, 1, 1), low, 1, like) for low in (0.3, 0.1))
    return level + strength * uniform(generator, (len(like), 3, side, side), -0.5, 0.5, like)


def _flat(like: Tensor, side: int, generator: torch.Generator) -> Tensor:
    return uniform(generator, (len(like), 3, 1, 1), 0, 1, like).expand(-1, -1, side, side)


def _gradient(like: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """Every channel rises in a direction of its own, some of them more than once."""
    angle = uniform(generator, (len(like), 3, 1, 1), -math.pi, math.pi, like)
    across = torch.linspace(-1, 1, side).to(like)
    slope = angle.cos() * across.view(1, 1, 1, side) + angle.sin() * across.view(1, 1, side, 1)
    repeats = torch.exp(uniform(generator, (len(like), 3, 1, 1), -1, 1.5, like))
    return (0.5 + 0.35 * slope * repeats) % 1.0


def _clouds(like: Tensor, side: int, generator: torch.Generator) -> Tensor:
    coarse = uniform(generator, (len(like), 3, 6, 6), 0, 1, like)
    return functional.interpolate(coarse, size=side, mode="bicubic", align_corners=False)


def _smear(like: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """A corner of a real image, enlarged."""
    size = max(2, round(_CORNER * like.shape[-1]))
    low, left = (int(torch.randint(2, (), generator=generator)) * (like.shape[-1] - size) for _ in range(2))
    corner = like[:, :, low : low + size, left : left + size]
    return functional.interpolate(corner, size=side, mode="bilinear", align_corners=False)


_KINDS: tuple[Callable[[Tensor, int, torch.Generator], Tensor], ...] = (_noise, _flat, _gradient, _clouds, _smear)
