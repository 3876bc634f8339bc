"""The 256-bit perceptual hash: `imagehash.phash(image, hash_size=16)`, computed without imagehash in the hot path."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

HASH_BITS = 256
HASH_BYTES = HASH_BITS // 8
_SIDE = 64  # imagehash: hash_size 16 times highfreq_factor 4
_LOW = 16
_STRETCH = 8  # thumbnail pixels computed in one product; 4 to 16 take about the same time
_STRIP_PIXELS = 1 << 17  # 1 MB of float64, and products too small for a BLAS to wake threads of its own


def _dct_rows(side: int, keep: int) -> NDArray[np.float64]:
    """First `keep` rows of the unnormalised type-II DCT matrix, as `scipy.fftpack.dct` defines it."""
    frequency = np.arange(keep)[:, None]
    position = np.arange(side)[None, :]
    rows: NDArray[np.float64] = 2.0 * np.cos(np.pi * frequency * (2 * position + 1) / (2 * side))
    return rows


_DCT = _dct_rows(_SIDE, _LOW)


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Some neighbouring pixels of the thumbnail: `targets` of one axis from `sources` of the image's."""

    targets: slice
    sources: slice
    weights: NDArray[np.float64]  # (targets, sources)
    transposed: NDArray[np.float64]  # the same, laid out for a product from the right, which is twice as fast


@lru_cache(maxsize=32)
def _lanczos(length: int) -> tuple[_Stretch, ...]:
    """Pillow's Lanczos weights for shrinking or stretching an axis to the thumbnail's side.

    They are fixed-point numbers with 22 bits after the point, as in Pillow's Resample.c. Few pixels of the image enter
    one of the thumbnail, so the matrix is cut into stretches that leave most of its zeros out.
    """
    scale = length / _SIDE
    support = 3 * max(scale, 1.0)
    centre = (np.arange(_SIDE)[:, None] + 0.5) * scale
    position = np.arange(length)[None, :]
    low = np.maximum(np.floor(centre - support + 0.5), 0)
    high = np.floor(centre + support + 0.5)
    offset = (position - centre + 0.5) / max(scale, 1.0)
    inside = (position >= low) & (position < high) & (np.abs(offset) < 3)
    weights = np.where(inside, np.sinc(offset) * np.sinc(offset / 3), 0.0)
    weights /= weights.sum(axis=1, keepdims=True)
    weights = np.trunc(weights * 2**22 + np.copysign(0.5, weights)) / 2**22
    stretches = []
    for start in range(0, _SIDE, _STRETCH):
        targets = slice(start, start + _STRETCH)
        sources = slice(int(low[start, 0]), min(int(high[targets][-1, 0]), length))
        part = weights[targets, sources]
        stretches.append(_Stretch(targets, sources, np.ascontiguousarray(part), np.ascontiguousarray(part.T)))
    return tuple(stretches)


def grey_thumbnail(image: Image.Image) -> NDArray[np.uint8]:
    """The 64x64 grey image that the hash and the quality measures share; uint8.

    Equals `image.convert("L").resize((64, 64), LANCZOS)` of Pillow, as imagehash has it, at a third of the time: one
    axis after the other as matrix products. All numbers are multiples of 2^-22 below 2^9, so float64 holds the sums
    exactly, in whatever order a BLAS adds them.
    """
    grey = image.convert("L")
    width, height = grey.size
    # Pillow shrinks the height of tall images first, which rounds otherwise; those it may do itself.
    if _SIDE <= width <= _STRIP_PIXELS and height <= 2 * width - _SIDE:
        return _shrink(np.asarray(grey))
    return np.asarray(grey.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS))


def _shrink(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = grey.shape
    narrow = np.empty((height, _SIDE))
    rows = _STRIP_PIXELS // width  # a strip at a time: large images would take 8 bytes a pixel
    for top in range(0, height, rows):
        strip = grey[top : top + rows].astype(np.float64)
        for part in _lanczos(width):
            np.matmul(strip[:, part.sources], part.transposed, out=narrow[top : top + rows, part.targets])
    _to_levels(narrow)
    thumbnail = np.empty((_SIDE, _SIDE))
    for part in _lanczos(height):
        np.matmul(part.weights, narrow[part.sources], out=thumbnail[part.targets])
    return _to_levels(thumbnail).astype(np.uint8)


def _to_levels(grey: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round to whole grey levels from 0 to 255, in place; halves go up, as in Pillow."""
    grey += 0.5
    np.floor(grey, out=grey)
    np.maximum(grey, 0, out=grey)
    return np.minimum(grey, 255, out=grey)


def perceptual_hash(thumbnail: NDArray[np.uint8]) -> bytes:
    """Hash of a `grey_thumbnail`.

    Only the 16x16 low frequencies are computed, by two small matrix products instead of two full transforms; the
    bits are those of imagehash (the test allows 2 to differ, where a coefficient lies on the median).

    Returns:
        32 bytes, row-major, most significant bit first: `bytes.hex` equals `str(imagehash.phash(...))`.
    """
    low = _DCT @ thumbnail.astype(np.float64) @ _DCT.T
    # np.median, spelled out: its checks take as long as the rest of the hash.
    middle = np.partition(low, (HASH_BITS // 2 - 1, HASH_BITS // 2), axis=None)[HASH_BITS // 2 - 1 : HASH_BITS // 2 + 1]
    return np.packbits(low > middle.mean()).tobytes()
