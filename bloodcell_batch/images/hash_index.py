"""Index of 256-bit hashes that grows as they arrive and finds the first one near another, exactly."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bloodcell_batch.images.hamming import BIT_ORDER, HASH_WORDS, as_words, bit_blocks, distances
from bloodcell_batch.images.perceptual_hash import HASH_BITS

_BANDS = 17  # a pair at most 16 bits apart is equal in one of them, at most 33 apart differs by one bit
_BAND_BITS = HASH_BITS // _BANDS
_BAND_VALUES = 1 << _BAND_BITS
_BAND_OFFSETS = np.arange(_BANDS, dtype=np.int64)[:, None] * _BAND_VALUES
_BAND_ORDER = BIT_ORDER[: _BANDS * _BAND_BITS].reshape(_BANDS, _BAND_BITS)
_BAND_WEIGHTS = 1 << np.arange(_BAND_BITS, dtype=np.int64)[::-1]
_RECENT = 2048  # hashes searched one by one before they are sorted into the bands
_CELLS = 1 << 18  # comparisons made at a time: temporary arrays of 2 MB


class HashIndex:
    """Growing list of hashes that answers which is the first within a distance.

    The latest hashes are compared one by one, the others looked up in 17 bands of 15 bits each (about 130 bytes a
    hash). Where the bands single out nothing, because the hashes are too alike or the distance is above 33, all are
    compared: the answer is the same. Asking for many at a time costs a fraction of asking for each.
    """

    def __init__(self, distance: int) -> None:
        self._distance = distance
        # Bands that may differ in one bit of 15 are looked up under all their neighbours.
        flips = [0] if distance < _BANDS else [0, *(1 << bit for bit in range(_BAND_BITS))]
        self._flips = np.array(flips, dtype=np.int64)
        self._has_bands = distance < 2 * _BANDS
        self._columns = np.empty((HASH_WORDS, 64), dtype=np.uint64)
        self._count = 0
        self._banded = 0
        self._starts = np.zeros(0, dtype=np.int64)  # of each band's value in the positions, sorted by band and value
        self._positions = np.zeros(0, dtype=np.int32)

    def __len__(self) -> int:
        """Hashes that were added."""
        return self._count

    def add(self, phashes: Sequence[bytes]) -> None:
        """Append hashes of 32 bytes."""
        count = self._count + len(phashes)
        if count > self._columns.shape[1]:
            room = np.empty((HASH_WORDS, max(count, 2 * self._columns.shape[1])), dtype=np.uint64)
            room[:, : self._count] = self._columns[:, : self._count]
            self._columns = room
        self._columns[:, self._count : count] = as_words(b"".join(phashes)).T
        self._count = count
        if self._has_bands and self._count - self._banded >= max(_RECENT, self._banded // 32):
            self._sort_into_bands()

    def first_within(self, phashes: Sequence[bytes]) -> list[tuple[int, int] | None]:
        """For each of these hashes the (position, distance) of the earliest within the distance, or None."""
        queries = as_words(b"".join(phashes)).T
        first = np.full(len(phashes), self._count, dtype=np.int64)
        if self._banded:
            self._search_bands(queries, first)
        self._compare(queries, first, self._banded, self._count)
        hits = np.flatnonzero(first < self._count)
        gaps = distances(self._columns[:, first[hits]], queries[:, hits])
        answers: list[tuple[int, int] | None] = [None] * len(phashes)
        for number, position, gap in zip(hits.tolist(), first[hits].tolist(), gaps.tolist(), strict=True):
            answers[number] = (position, gap)
        return answers

    def _compare(self, queries: NDArray[np.uint64], first: NDArray[np.int64], start: int, stop: int) -> None:
        """Compare the queries that have no answer yet with the hashes from `start` to `stop`."""
        left = np.flatnonzero(first == self._count) if stop > start else np.zeros(0, dtype=np.int64)
        columns = self._columns[:, None, start:stop]
        rows = max(1, _CELLS // max(1, stop - start))
        for some in (left[i : i + rows] for i in range(0, len(left), rows)):
            near = distances(columns, queries[:, some, None]) <= self._distance
            found = near.any(axis=1)
            first[some[found]] = start + near.argmax(axis=1)[found]

    def _search_bands(self, queries: NDArray[np.uint64], first: NDArray[np.int64]) -> None:
        """Compare each query with the sorted hashes that share a band with it, or with all if they are too many to
        gain."""
        bits = np.unpackbits(np.ascontiguousarray(queries.T).view(np.uint8), axis=1)[:, _BAND_ORDER]
        cells = ((bits @ _BAND_WEIGHTS)[:, :, None] ^ self._flips) + _BAND_OFFSETS
        starts = self._starts[cells.reshape(len(first), -1)]
        sizes = self._starts[cells.reshape(len(first), -1) + 1] - starts
        crowded = sizes.sum(axis=1) > self._banded // 4
        sizes[crowded] = 0
        ends = np.cumsum(sizes)
        if ends[-1] > _CELLS and len(first) > 1:  # too much memory at once
            half = len(first) // 2
            self._search_bands(queries[:, :half], first[:half])
            self._search_bands(queries[:, half:], first[half:])
            return
        places = np.repeat(starts.ravel() - ends + sizes.ravel(), sizes.ravel()) + np.arange(ends[-1])
        candidates = self._positions[places]
        owners = np.repeat(np.arange(len(first)), sizes.sum(axis=1))
        near = distances(self._columns[:, candidates], queries[:, owners]) <= self._distance
        np.minimum.at(first, owners[near], candidates[near])
        if crowded.any():
            some = first[crowded]
            self._compare(queries[:, crowded], some, 0, self._banded)
            first[crowded] = some

    def _sort_into_bands(self) -> None:
        words = np.ascontiguousarray(self._columns[:, : self._count].T)
        bands = bit_blocks(words, _BANDS, _BAND_BITS)
        self._positions = np.concatenate([np.argsort(band, kind="stable").astype(np.int32) for band in bands])
        sizes = np.concatenate([np.bincount(band, minlength=_BAND_VALUES) for band in bands])
        self._starts = np.concatenate([[0], np.cumsum(sizes)])
        self._banded = self._count
