"""Drawn smears, and a finder for them that needs no network: it sees the three colours that they are drawn in."""

from collections.abc import Iterable

import numpy as np
from conftest import Picture
from numpy.typing import NDArray
from scipy import ndimage

from bloodcell_batch.fields.finder import Finder

GROUND, LEUKOCYTE, RED_CELL, PLATELET = (240, 235, 225), (90, 40, 140), (220, 130, 130), (60, 160, 60)
CYTOPLASM = (190, 180, 215)
TILE, STRIDE, RED_CELL_SIDE = 256, 4, 28.0

Disc = tuple[float, float, float]
"""x, y, diameter."""


def smear(
    width: int, height: int, red: Iterable[Disc], white: Iterable[Disc] = (), plates: Iterable[Disc] = ()
) -> Picture:
    """A field of discs in flat colours."""
    picture = np.empty((height, width, 3), dtype=np.uint8)
    picture[:] = GROUND
    for discs, colour in ((red, RED_CELL), (white, LEUKOCYTE), (plates, PLATELET)):
        for cx, cy, diameter in discs:
            top, left = max(0, int(cy - diameter / 2)), max(0, int(cx - diameter / 2))
            part = picture[top : int(cy + diameter / 2) + 2, left : int(cx + diameter / 2) + 2]
            y, x = np.mgrid[: part.shape[0], : part.shape[1]]
            part[np.hypot(x + left + 0.5 - cx, y + top + 0.5 - cy) < diameter / 2] = colour
    return picture


def dappled(picture: Picture, white: Iterable[Disc], seed: int) -> Picture:
    """The picture with light spots in its leukocytes, others with every seed: no two cells look the same."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: picture.shape[0], : picture.shape[1]]
    for cx, cy, diameter in white:
        for _ in range(6):
            angle, far, wide = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.33), rng.uniform(0.08, 0.17)
            left, top = cx + far * diameter * np.cos(angle), cy + far * diameter * np.sin(angle)
            picture[np.hypot(x - left, y - top) < wide * diameter] = CYTOPLASM
    return picture


def grid_of_red_cells(width: int, height: int, diameter: float, *, but_not_at: Iterable[Disc] = ()) -> list[Disc]:
    """Red cells all over a field, one every 1.5 diameters, none of them cut off or under another cell."""
    ticks = [np.arange(diameter, length - 0.6 * diameter, 1.5 * diameter) for length in (width, height)]
    free = list(but_not_at)
    return [
        (float(x), float(y), diameter)
        for x in ticks[0]
        for y in ticks[1]
        if all(np.hypot(x - cx, y - cy) > 0.6 * (diameter + other) for cx, cy, other in free)
    ]


def drawn_finder(seen: list[int] | None = None) -> Finder:
    """The finder; the number of tiles of each call is added to `seen`.

    As the network, it sees red cells only that are between half and twice as large as it expects.
    """

    def infer(tiles: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        if seen is not None:
            seen.append(len(tiles))
        maps = [_maps(tile) for tile in tiles]
        return np.stack([chances.ravel() for chances, _ in maps]), np.stack([sizes.ravel() for _, sizes in maps])

    return Finder(infer, TILE, STRIDE, RED_CELL_SIDE, (0.5, 0.5, 0.5))


def _maps(tile: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    side = TILE // STRIDE
    chances, sizes = np.zeros((3, side, side), dtype=np.float32), np.zeros((2, side, side), dtype=np.float32)
    ranges = ((0.6, 6.0), (0.5, 2.0), (0.05, 0.5))
    for kind, (colour, (least, most)) in enumerate(zip((LEUKOCYTE, RED_CELL, PLATELET), ranges, strict=True)):
        mask = np.abs(tile.astype(int) - colour).sum(axis=2) < 60
        labels, _ = ndimage.label(mask)
        for rows, columns in ndimage.find_objects(labels):
            height, width = (rows.stop - rows.start) / RED_CELL_SIDE, (columns.stop - columns.start) / RED_CELL_SIDE
            if not least < max(width, height) < most:
                continue
            row = int((rows.start + rows.stop) / 2 / STRIDE)
            column = int((columns.start + columns.stop) / 2 / STRIDE)
            chances[kind, row, column] = 0.9
            sizes[:, row, column] = np.log([width, height])
    return chances, sizes
