"""What the maps of a crop should be, where that is known, and the loss that compares."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from bloodcell_batch.fields.cells import FIELD_CLASSES
from bloodcell_batch.model.finder_network import STRIDE
from bloodcell_batch.training.finder.data import PARTIAL
from bloodcell_batch.training.finder.drawing import Drawn

_SPREAD = 0.11  # sd of a centre's bell, as a share of the cell's diameter
_NEAR_CERTAIN = 0.3  # an unlabelled place with more than this may well be a cell where boxes are missing
_FOCUS, _NEAR_CENTRE = 2, 4  # exponents of the loss: Zhou et al., Objects as points, 2019


class Targets(NamedTuple):
    """Of a batch: `centres` (N, C, H, W), 1 at each centre; `trust` (N, C, H, W); `sizes` (N, 2, H, W), the logarithm
    of width and height in red cells at the finder's scale, where `sized` (N, 1, H, W) is 1."""

    centres: Tensor
    trust: Tensor
    sizes: Tensor
    sized: Tensor


def targets_of(drawn: Drawn, red_cell_side: int) -> tuple[NDArray[np.float32], ...]:
    """The four maps of `Targets` of one crop."""
    side = drawn.rgb.shape[0] // STRIDE
    centres = np.zeros((len(FIELD_CLASSES), side, side), dtype=np.float32)
    trust = np.broadcast_to(np.array(drawn.trust, dtype=np.float32)[:, None, None], centres.shape).copy()
    sizes, sized = np.zeros((2, side, side), dtype=np.float32), np.zeros((1, side, side), dtype=np.float32)
    ticks = (np.arange(side) + 0.5) * STRIDE
    for kind, x, y, width, height in drawn.outside:
        seen_y, seen_x = np.abs(ticks - y) < abs(height) / 2, np.abs(ticks - x) < abs(width) / 2
        trust[int(kind)][np.ix_(seen_y, seen_x)] = 0
    for kind, x, y, width, height in drawn.cells:
        spread = np.clip(_SPREAD * np.sqrt(abs(width * height)) / STRIDE, 0.7, 3.0) * STRIDE
        bell = np.exp(-((ticks[:, None] - y) ** 2 + (ticks[None, :] - x) ** 2) / (2 * spread**2))
        row, column = min(int(y / STRIDE), side - 1), min(int(x / STRIDE), side - 1)
        bell[row, column] = 1
        np.maximum(centres[int(kind)], bell, out=centres[int(kind)])
        if width > 0 and drawn.trust[int(kind)]:
            around = (slice(max(0, row - 1), row + 2), slice(max(0, column - 1), column + 2))
            sizes[0][around], sizes[1][around] = np.log(width / red_cell_side), np.log(height / red_cell_side)
            sized[0][around] = 1
    return centres, trust, sizes, sized


def finder_loss(logits: Tensor, sizes: Tensor, targets: Targets, size_weight: float) -> tuple[Tensor, Tensor]:
    """Focal loss of the centres per cell, and the mean error of the log sizes, weighted.

    Where boxes are missing (PARTIAL), places that the network is fairly sure of are not counted as background.
    """
    logits, sizes = logits.float(), sizes.float()
    chance = torch.sigmoid(logits)
    centre = targets.centres == 1
    known = targets.trust > 0
    doubted = (targets.trust == PARTIAL) & (chance.detach() > _NEAR_CERTAIN)
    background = known & ~centre & ~doubted
    hit = -((1 - chance) ** _FOCUS) * functional.logsigmoid(logits)
    miss = -((1 - targets.centres) ** _NEAR_CENTRE) * chance**_FOCUS * functional.logsigmoid(-logits)
    cells = (centre & known).sum().clamp(min=1)
    centres_loss = (hit[centre & known].sum() + miss[background].sum()) / cells
    error = functional.smooth_l1_loss(sizes, targets.sizes, reduction="none", beta=0.1) * targets.sized
    return centres_loss, size_weight * 10 * error.sum() / (2 * targets.sized.sum()).clamp(min=1)
