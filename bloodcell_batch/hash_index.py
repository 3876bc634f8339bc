"""Index of 256-bit hashes that grows as they arrive and finds the first one near another, exactly."""

import numpy as np
from numpy.typing import NDArray

from bloodcell_batch.hamming import BIT_ORDER, as_words, blocks_of, distances
from bloodcell_batch.perceptual_hash import HASH_BITS, HASH_BYTES

_WORDS = HASH_BYTES // 8
_BANDS = 17  # a pair at most 16 bits apart is equal in one of them, at most 33 apart differs by one bit
_BAND_BITS = HASH_BITS // _BANDS
_BAND_VALUES = 1 << _BAND_BITS
_BAND_OFFSETS = np.arange(_BANDS, dtype=np.int64)[:, None] * _BAND_VALUES
_BAND_ORDER = BIT_ORDER[: _BANDS * _BAND_BITS].reshape(_BANDS, _BAND_BITS)
_BAND_WEIGHTS = 1 << np.arange(_BAND_BITS, dtype=np.int64)[::-1]
_RECENT = 2048  # hashes searched one by one before they are sorted into the bands


class HashIndex:
    """Growing list of hashes that answers which is the first within a distance.

    The latest hashes are compared one by one, the others looked up in 17 bands of 15 bits each (about 130 bytes a
    hash). Where the bands single out nothing, because the hashes are too alike or the distance is above 33, all are
    compared: the answer is the same.
    """

    def __init__(self, distance: int) -> None:
        self._distance = distance
        # Bands that may differ in one bit of 15 are looked up under all their neighbours.
        flips = [0] if distance < _BANDS else [0, *(1 << bit for bit in range(_BAND_BITS))]
        self._flips = np.array(flips, dtype=np.int64)
        self._has_bands = distance < 2 * _BANDS
        self._columns = np.empty((_WORDS, 64), dtype=np.uint64)
        self._count = 0
        self._banded = 0
        self._starts = np.zeros(0, dtype=np.int64)  # of each band's value in the positions, sorted by band and value
        self._positions = np.zeros(0, dtype=np.int32)

    def add(self, phash: bytes) -> None:
        """Append a 32-byte hash."""
        if self._count == self._columns.shape[1]:
            self._columns = np.concatenate([self._columns, np.empty_like(self._columns)], axis=1)
        self._columns[:, self._count] = as_words(phash)[0]
        self._count += 1
        if self._has_bands and self._count - self._banded >= max(_RECENT, self._banded // 32):
            self._sort_into_bands()

    def first_within(self, phash: bytes) -> tuple[int, int] | None:
        """(position, distance) of the earliest hash within the distance, or None."""
        query = as_words(phash)
        candidates = self._candidates(query)
        if candidates is None:
            return self._first_of(slice(0, self._count), query)
        hit = self._first_of(np.sort(candidates), query) if candidates.size else None
        return self._first_of(slice(self._banded, self._count), query) if hit is None else hit

    def _first_of(self, positions: slice | NDArray[np.int32], query: NDArray[np.uint64]) -> tuple[int, int] | None:
        gaps = distances(self._columns[:, positions], query.T)
        near = gaps <= self._distance
        first = int(near.argmax()) if near.size else 0
        if not near.size or not near[first]:
            return None
        position = positions.start + first if isinstance(positions, slice) else int(positions[first])
        return position, int(gaps[first])

    def _candidates(self, query: NDArray[np.uint64]) -> NDArray[np.int32] | None:
        """Positions among the sorted hashes that share a band with the query; None if they are too many to gain."""
        if not self._banded:
            return None
        bits = np.unpackbits(query.view(np.uint8))[_BAND_ORDER]
        cells = (((bits @ _BAND_WEIGHTS)[:, None] ^ self._flips) + _BAND_OFFSETS).ravel()
        starts = self._starts[cells]
        sizes = self._starts[cells + 1] - starts
        ends = np.cumsum(sizes)
        if ends[-1] > self._banded // 4:
            return None
        places = np.repeat(starts - ends + sizes, sizes)
        places += np.arange(len(places))
        found: NDArray[np.int32] = self._positions[places]
        return found

    def _sort_into_bands(self) -> None:
        words = np.ascontiguousarray(self._columns[:, : self._count].T)
        bands = blocks_of(words, _BANDS, _BAND_BITS)
        self._positions = np.concatenate([np.argsort(band, kind="stable").astype(np.int32) for band in bands])
        sizes = np.concatenate([np.bincount(band, minlength=_BAND_VALUES) for band in bands])
        self._starts = np.concatenate([[0], np.cumsum(sizes)])
        self._banded = self._count
