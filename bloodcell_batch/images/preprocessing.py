"""From pixels to the network's input: crop and resize."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat

from bloodcell_batch.images.resampling import BILINEAR, Columns, Rows, weights_of

_LONGEST_SIDE = 1024  # of images that are resized by products; larger ones, no single cells, would take much memory


class Preprocessing(BaseModel):
    """How a decoded image becomes the network's input. Stored in the model file, never inferred from a name."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    input_size: int = Field(128, ge=16, le=1024, description="side of the square network input, in pixels")
    crop: float = Field(1.0, gt=0, le=1, description="central share of each side that is kept before resizing")
    mean: tuple[float, float, float] = Field((0.485, 0.456, 0.406), description="per channel, of values in 0-1")
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = Field(
        (0.229, 0.224, 0.225), description="per channel, of values in 0-1"
    )


def resize_to_input(rgb: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Central crop, then antialiased bilinear resize of the whole crop to the square input.

    The sides are scaled independently, so no part of a cell that fills a non-square crop is lost. Pillow's own resize
    gives the same levels, or such that differ by one.

    Args:
        rgb: uint8 (height, width, 3).
        preprocessing: crop and input size.

    Returns:
        uint8 (input_size, input_size, 3).
    """
    height, width = rgb.shape[:2]
    side, crop = preprocessing.input_size, preprocessing.crop
    if max(height, width) > _LONGEST_SIDE:
        margin_x, margin_y = width * (1 - crop) / 2, height * (1 - crop) / 2
        box = (margin_x, margin_y, width - margin_x, height - margin_y)
        return np.asarray(Image.fromarray(rgb).resize((side, side), Image.Resampling.BILINEAR, box=box))
    rows, columns = _axis(height, side, crop)[0], _axis(width, side, crop)[1]
    room, pixels = rows.room(width * 3)
    pixels[:] = rgb.reshape(height, width * 3)
    low_room, low = columns.room(rows.size)
    rows.resize(room, low)
    low += 0.5
    np.floor(low, out=low)
    small = np.empty((rows.size, columns.size), dtype=np.float32)
    columns.resize(low_room, small)
    small += 0.5
    return small[:side, : side * 3].astype(np.uint8).reshape(side, side, 3)


@lru_cache(maxsize=256)
def _axis(length: int, side: int, crop: float) -> tuple[Rows, Columns]:
    """Bilinear weights with 16 bits after the point: times 8-bit levels they fit into the 24 bits of a float32.

    The weights of a pixel add up to 1 exactly, so that no sum exceeds the largest level, and one grey stays that grey.
    """
    margin = length * (1 - crop) / 2
    weights = weights_of(BILINEAR, length, side, (margin, length - margin))
    fixed = np.round(weights.matrix * 2**16)
    fixed[np.arange(side), fixed.argmax(axis=1)] += 2**16 - fixed.sum(axis=1)
    weights = replace(weights, matrix=fixed / 2**16)
    return Rows(weights, np.float32), Columns(weights, np.float32, channels=3)
