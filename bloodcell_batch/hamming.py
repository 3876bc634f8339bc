"""Exact Hamming-distance search over 256-bit hashes."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from bloodcell_batch.perceptual_hash import HASH_BYTES

_WORDS = HASH_BYTES // 8
_BLOCK_CELLS = 2_000_000  # hash pairs compared at a time: bounds the temporary arrays to tens of MB


def as_words(hashes: bytes) -> NDArray[np.uint64]:
    """Concatenated 32-byte hashes as an array of shape (N, 4), uint64."""
    return np.frombuffer(hashes, dtype=np.uint64).reshape(-1, _WORDS)


def distances(words: NDArray[np.uint64], query: NDArray[np.uint64]) -> NDArray[np.uint16]:
    """Distances in bits (0-256) from one hash (4,) to each of N hashes (N, 4); shape (N,)."""
    gaps: NDArray[np.uint16] = np.bitwise_count(words ^ query).sum(axis=1, dtype=np.uint16)
    return gaps


def pairs_within(words: NDArray[np.uint64], distance: int) -> Iterator[tuple[int, int, int]]:
    """All pairs (i, j, distance) with i < j and at most `distance` bits apart, ordered by i, then j."""
    count = len(words)
    rows = max(1, _BLOCK_CELLS // max(count, 1))
    for start in range(0, count, rows):
        block = words[start : start + rows]
        gaps = np.bitwise_count(block[:, None, :] ^ words[None, start:, :]).sum(axis=2, dtype=np.uint16)
        for i, j in np.argwhere(gaps <= distance):
            if i < j:
                yield start + int(i), start + int(j), int(gaps[i, j])


class HashIndex:
    """Growing list of hashes that answers which is the first within a distance."""

    def __init__(self) -> None:
        self._words = np.empty((64, _WORDS), dtype=np.uint64)
        self._count = 0

    def add(self, phash: bytes) -> None:
        """Append a 32-byte hash."""
        if self._count == len(self._words):
            self._words = np.concatenate([self._words, np.empty_like(self._words)])
        self._words[self._count] = as_words(phash)[0]
        self._count += 1

    def first_within(self, phash: bytes, distance: int) -> tuple[int, int] | None:
        """(position, distance) of the earliest hash at most `distance` bits away, or None."""
        gaps = distances(self._words[: self._count], as_words(phash)[0])
        hits = np.flatnonzero(gaps <= distance)
        return (int(hits[0]), int(gaps[hits[0]])) if hits.size else None
