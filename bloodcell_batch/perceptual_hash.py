"""The 256-bit perceptual hash: `imagehash.phash(image, hash_size=16)`, computed without imagehash in the hot path."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

HASH_BITS = 256
HASH_BYTES = HASH_BITS // 8
_SIDE = 64  # imagehash: hash_size 16 times highfreq_factor 4
_LOW = 16


def _dct_rows(side: int, keep: int) -> NDArray[np.float64]:
    """First `keep` rows of the unnormalised type-II DCT matrix, as `scipy.fftpack.dct` defines it."""
    frequency = np.arange(keep)[:, None]
    position = np.arange(side)[None, :]
    rows: NDArray[np.float64] = 2.0 * np.cos(np.pi * frequency * (2 * position + 1) / (2 * side))
    return rows


_DCT = _dct_rows(_SIDE, _LOW)


def grey_thumbnail(image: Image.Image) -> NDArray[np.uint8]:
    """The 64x64 grey image that the hash and the quality measures share; uint8."""
    return np.asarray(image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.LANCZOS))


def perceptual_hash(thumbnail: NDArray[np.uint8]) -> bytes:
    """Hash of a `grey_thumbnail`.

    Only the 16x16 low frequencies are computed, by two small matrix products instead of two full transforms; the
    bits are those of imagehash (the test allows 2 to differ, where a coefficient lies on the median).

    Returns:
        32 bytes, row-major, most significant bit first: `bytes.hex` equals `str(imagehash.phash(...))`.
    """
    low = _DCT @ thumbnail.astype(np.float64) @ _DCT.T
    return np.packbits(low > np.median(low)).tobytes()
