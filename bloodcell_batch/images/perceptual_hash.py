"""The 256-bit perceptual hash: `imagehash.phash(image, hash_size=16)`, computed without imagehash in the hot path."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bloodcell_batch.images.resampling import LANCZOS, Columns, Floats, Rows, weights_of

HASH_BITS = 256
HASH_BYTES = HASH_BITS // 8
MIDDLE = 5 / 9
"""Share of a picture's shorter side that its middle has: MedMNIST's thumbnails show 200 of 360 pixels."""
_SIDE = 64  # imagehash: hash_size 16 times highfreq_factor 4
_LOW = 16
_STRIP_PIXELS = 1 << 17  # 1 MB of float64, and products too small for a BLAS to wake threads of its own


def _dct_rows(side: int, keep: int) -> NDArray[np.float64]:
    """First `keep` rows of the unnormalised type-II DCT matrix, as `scipy.fftpack.dct` defines it."""
    frequency = np.arange(keep)[:, None]
    position = np.arange(side)[None, :]
    rows: NDArray[np.float64] = 2.0 * np.cos(np.pi * frequency * (2 * position + 1) / (2 * side))
    return rows


_DCT = _dct_rows(_SIDE, _LOW)


@lru_cache(maxsize=32)
def _axis(length: int) -> tuple[Columns, Rows]:
    """Pillow's Lanczos weights, fixed-point numbers with 22 bits after the point, as in Pillow's Resample.c."""
    weights = weights_of(LANCZOS, length, _SIDE)
    fixed = np.trunc(weights.matrix * 2**22 + np.copysign(0.5, weights.matrix)) / 2**22
    weights = replace(weights, matrix=fixed)
    return Columns(weights, np.float64), Rows(weights, np.float64)


def grey_thumbnail(image: Image.Image) -> NDArray[np.uint8]:
    """The 64x64 grey image that the hash and the quality measures share; uint8.

    Equals `image.convert("L").resize((64, 64), LANCZOS)` of Pillow, as imagehash has it, at a third of the time.
    """
    grey = image.convert("L")
    width, height = grey.size
    # Pillow shrinks the height of tall images first, which rounds otherwise; those it may do itself.
    if _SIDE <= width <= _STRIP_PIXELS and height <= 2 * width - _SIDE:
        return _shrink(np.asarray(grey))
    return np.asarray(grey.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS))


def _shrink(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = grey.shape
    columns, rows = _axis(width)[0], _axis(height)[1]
    whole, narrow = rows.room(_SIDE)
    strip = _STRIP_PIXELS // width  # large images would take 8 bytes a pixel
    for top in range(0, height, strip):
        room, pixels = columns.room(min(strip, height - top))
        pixels[:] = grey[top : top + strip]
        columns.resize(room, narrow[top : top + strip])
    _to_levels(narrow)
    thumbnail = np.empty((_SIDE, _SIDE))
    rows.resize(whole, thumbnail)
    return _to_levels(thumbnail).astype(np.uint8)


def _to_levels(grey: Floats) -> Floats:
    """Round to whole grey levels from 0 to 255, in place; halves go up, as in Pillow."""
    grey += 0.5
    np.maximum(grey, 0, out=grey)
    np.minimum(grey, 255, out=grey)
    np.floor(grey, out=grey)
    return grey


def middle_of(thumbnail: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """The middle square of a picture of that size, out of its 64x64 grey image, at 64x64; uint8."""
    side = MIDDLE * min(width, height) * _SIDE
    left, top = (_SIDE - side / width) / 2, (_SIDE - side / height) / 2
    box = (left, top, _SIDE - left, _SIDE - top)
    return np.asarray(Image.fromarray(thumbnail).resize((_SIDE, _SIDE), Image.Resampling.LANCZOS, box=box))


def perceptual_hashes(thumbnails: NDArray[np.uint8]) -> list[bytes]:
    """Hashes of grey thumbnails (N, 64, 64), each the same whatever the others are.

    Only the 16x16 low frequencies are computed, by two small matrix products instead of two full transforms; the
    bits are those of imagehash (the test allows 2 to differ, where a coefficient lies on the median).

    Returns:
        32 bytes each, row-major, most significant bit first: `bytes.hex` equals `str(imagehash.phash(...))`.
    """
    low = np.matmul(np.matmul(_DCT, thumbnails.astype(np.float64)), _DCT.T).reshape(-1, HASH_BITS)
    # np.median, spelled out: its checks take as long as the rest of the hash.
    middle = np.partition(low, (HASH_BITS // 2 - 1, HASH_BITS // 2), axis=1)[:, HASH_BITS // 2 - 1 : HASH_BITS // 2 + 1]
    bits = np.packbits(low > middle.mean(axis=1, keepdims=True), axis=1)
    return [row.tobytes() for row in bits]


def turned(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """What hashes (N, 4) would be if their pictures were turned by 0, 90, 180, 270 degrees, and mirrored; (8, N, 4).

    Turning by 90 degrees transposes the frequencies, and mirroring changes the sign of every other one, which is on the
    other side of the median then; but for those next to the median, which the hashes of turned pictures have otherwise.
    """
    bits = np.unpackbits(np.ascontiguousarray(hashes).view(np.uint8), axis=1).reshape(-1, _LOW, _LOW)
    odd = (np.arange(_LOW) % 2).astype(np.uint8)
    found = []
    for _ in range(4):
        found += [bits, bits ^ odd]
        bits = bits.transpose(0, 2, 1) ^ odd[:, None]
    packed = np.packbits(np.stack(found).reshape(-1, HASH_BITS), axis=1)
    return packed.view(np.uint64).reshape(len(found), -1, HASH_BYTES // 8)
