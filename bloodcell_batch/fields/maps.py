"""One look: tiles through the network, and the boxes that its maps tell."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bloodcell_batch.fields.cells import FIELD_CLASSES
from bloodcell_batch.fields.peaks import Floats, peaks

Infer = Callable[[NDArray[np.uint8]], tuple[Floats, Floats]]
LEUKOCYTE, RED_CELL, PLATELET = (FIELD_CLASSES.index(name) for name in ("leukocyte", "red_cell", "platelet"))


@dataclass(frozen=True, slots=True)
class Finder:
    """A finder ready to run.

    Attributes:
        infer: from tiles uint8 (N, S, S, 3) to chances float32 (N, 3*H*W) and log sizes float32 (N, 2*H*W): a backend's
            `infer` on a finder's model file.
        tile: S.
        stride: S / H.
        red_cell_side: pixels of a red cell in the tiles.
        thresholds: lowest score of a leukocyte, a red cell and a platelet.
        smaller: gives the same for tiles of half the side, which hold a picture of one cell; None if there is none.
    """

    infer: Infer
    tile: int
    stride: int
    red_cell_side: float
    thresholds: tuple[float, float, float]
    smaller: "Callable[[], Finder] | None" = None

    def fitting(self, length: float) -> "Finder":
        """The smaller one, where `length` pixels fit into its tiles."""
        return self.smaller() if self.smaller and length <= self.tile // 2 else self


def boxes_in(tiles: NDArray[np.uint8], finder: Finder) -> list[list[Floats]]:
    """What each tile (N, S, S, 3) shows: of each class, boxes (n, 5) in pixels of the tile, with their scores."""
    chances, sizes = finder.infer(tiles)
    side = finder.tile // finder.stride
    chances = chances.reshape(-1, len(FIELD_CLASSES), side, side)
    sizes = sizes.reshape(-1, 2, side, side)
    return [
        peaks(each, size, finder.thresholds, finder.stride, finder.red_cell_side)
        for each, size in zip(chances, sizes, strict=True)
    ]


def clipped(boxes: Floats, width: float, height: float) -> Floats:
    """The boxes (n, 5) without what lies beyond an image of `width` x `height`."""
    edge = np.array([width, height], dtype=np.float32)
    low = np.clip(boxes[:, :2] - boxes[:, 2:4] / 2, 0, edge)
    high = np.clip(boxes[:, :2] + boxes[:, 2:4] / 2, 0, edge)
    return np.concatenate([(low + high) / 2, high - low, boxes[:, 4:]], axis=1)
