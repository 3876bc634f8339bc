"""Exact Hamming-distance search over 256-bit hashes: no pair within the distance is missed, whatever the hashes.

The search for pairs, and the index in hash_index.py, rest on the pigeonhole principle. Cut the 256 bits into more
blocks than bits may differ, and some blocks of a near pair must be equal; whatever shares none of them needn't be
compared. (Norouzi, Punjani and Fleet, "Fast exact search in Hamming space with multi-index hashing", 2014.)
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from math import comb, log2

import numpy as np
from numpy.typing import NDArray

from bloodcell_batch.images.perceptual_hash import HASH_BITS, HASH_BYTES

HASH_WORDS = HASH_BYTES // 8
_BLOCK_CELLS = 2_000_000  # hash pairs compared at a time: bounds the temporary arrays to tens of MB

# The low frequencies of cell images vary little, and neighbouring bits of a hash go together; dealing the bits out at
# random keeps any one block from being nearly constant. Exactness doesn't depend on the order.
BIT_ORDER = np.random.default_rng(0).permutation(HASH_BITS)

_BLOCK_BITS = 16  # of a block, at most: more would not make it much rarer, and it fits a uint16
_MOST_EQUAL = 5  # blocks that a key joins, at most
_MOST_FOUND = 30_000_000  # near pairs held in memory, 8 bytes each
_SAMPLE = 4096
_SAMPLE_KEYS = 16
# Cost of one comparison of all with all, of one candidate pair, and of one hash in one sorted table, in ns; measured
# on an AMD EPYC. They choose between ways of searching that give the same pairs.
_COMPARE_NS, _CANDIDATE_NS, _SORT_NS = 4.0, 25.0, 80.0


def as_words(hashes: bytes) -> NDArray[np.uint64]:
    """Concatenated 32-byte hashes as an array of shape (N, 4), uint64."""
    return np.frombuffer(hashes, dtype=np.uint64).reshape(-1, HASH_WORDS)


def distances(columns: NDArray[np.uint64], others: NDArray[np.uint64]) -> NDArray[np.uint16]:
    """Distances in bits (0-256) between hashes whose four words stand along the first axis; the others broadcast."""
    gaps: NDArray[np.uint16] = np.bitwise_count(columns[0] ^ others[0]).astype(np.uint16)
    for column, other in zip(columns[1:], others[1:], strict=True):
        gaps += np.bitwise_count(column ^ other)
    return gaps


def bit_blocks(words: NDArray[np.uint64], blocks: int, bits: int) -> NDArray[np.uint16]:
    """The first `bits` bits (at most 16) of each of `blocks` equal shares of the hashes' bits; shape (blocks, N)."""
    width = HASH_BITS // blocks
    taken = BIT_ORDER[: blocks * width].reshape(blocks, width)[:, :bits].T  # (bits, blocks)
    values = np.empty((blocks, len(words)), dtype=np.uint16)
    step = 16_384
    for start in range(0, len(words), step):
        flags = np.unpackbits(words[start : start + step].view(np.uint8), axis=1).T
        some = np.zeros((blocks, flags.shape[1]), dtype=np.uint16)
        for row in taken:
            some <<= 1
            some |= flags[row]
        values[:, start : start + step] = some
    return values


def pairs_within(words: NDArray[np.uint64], distance: int) -> Iterator[tuple[int, int, int]]:
    """All pairs (i, j, distance) with i < j and at most `distance` bits apart, ordered by i, then j.

    Many hashes are sorted by joined blocks, as often as it takes for every near pair to become neighbours once. Hashes
    so alike that this would not pay are compared one with another.

    Args:
        words: (N, 4), as `as_words` gives them.
        distance: bits, 0-256.
    """
    plan = _cheapest_plan(words, distance)
    found = None if plan is None else _sorted_search(words, distance, plan)
    yield from _compare_all(words, distance) if found is None else _pairs_of(words, found)


@dataclass(frozen=True, slots=True)
class _Plan:
    """A way to find near pairs: cut the bits into `parts`, each part into `blocks`, join `equal` blocks to a key.

    A near pair differs in at most distance // parts bits in one of the parts, and so in as many of its blocks at most;
    the other blocks, `equal` or more, are equal.
    """

    parts: int
    blocks: int
    equal: int
    bits: int  # of a block

    @property
    def tables(self) -> int:
        return self.parts * comb(self.blocks, self.equal)


def _plans(count: int, distance: int) -> Iterator[_Plan]:
    index_bits = count.bit_length()
    for parts in range(1, min(distance + 1, HASH_BITS) + 1):
        for equal in range(1, _MOST_EQUAL + 1):
            blocks = distance // parts + equal
            bits = min(HASH_BITS // (parts * blocks), (64 - index_bits) // equal, _BLOCK_BITS)
            if bits:
                yield _Plan(parts, blocks, equal, bits)


def _cheapest_plan(words: NDArray[np.uint64], distance: int) -> _Plan | None:
    """The plan with the least work for these hashes; None if comparing all with all is less."""
    count = len(words)
    pairs = count * (count - 1) / 2
    best, least = None, pairs * _COMPARE_NS
    if least < 10_000_000:  # a hundredth of a second: not worth a sample
        return None
    entropy = _entropy_of_a_bit(words)
    for plan in _plans(count, distance):
        candidates = pairs * 2.0 ** (-entropy * plan.bits * plan.equal)
        cost = plan.tables * (count * _SORT_NS + candidates * _CANDIDATE_NS)
        if cost < least:
            best, least = plan, cost
    return best


def _entropy_of_a_bit(words: NDArray[np.uint64]) -> float:
    """How much a bit tells of these hashes, 0-1: 1 if all of them were drawn at random.

    Measured as the share of pairs of a sample whose blocks of 16 bits are equal.
    """
    sample = words[np.linspace(0, len(words) - 1, min(_SAMPLE, len(words))).astype(np.intp)]
    equal = 0
    for block in bit_blocks(sample, _SAMPLE_KEYS, _BLOCK_BITS):
        sizes = np.unique(block, return_counts=True)[1]
        equal += int((sizes * (sizes - 1) // 2).sum())
    pairs = _SAMPLE_KEYS * len(sample) * (len(sample) - 1) / 2
    return min(1.0, -log2(max(equal, 1) / pairs) / _BLOCK_BITS)


def _sorted_search(words: NDArray[np.uint64], distance: int, plan: _Plan) -> NDArray[np.int64] | None:
    """Near pairs as sorted numbers i * N + j with i < j; None where the candidates are so many that it doesn't pay."""
    count = len(words)
    columns = np.ascontiguousarray(words.T)
    blocks = bit_blocks(words, plan.parts * plan.blocks, plan.bits)
    left = count * (count - 1) / 2 * _COMPARE_NS / _CANDIDATE_NS
    found: list[NDArray[np.int64]] = []
    total = 0
    for part in range(plan.parts):
        own = blocks[part * plan.blocks : (part + 1) * plan.blocks]
        for chosen in combinations(own, plan.equal):
            for one, other in _equal_keys(chosen, plan.bits):
                left -= len(one)
                if left < 0:
                    return None
                near = _near(columns, one, other, distance)
                found.append(near)
                total += len(near)
                if total > _MOST_FOUND:
                    found = [np.unique(np.concatenate(found))]
                    total = len(found[0])
                    if total > _MOST_FOUND // 2:
                        return None
    return np.unique(np.concatenate(found)) if found else np.empty(0, dtype=np.int64)


def _equal_keys(
    blocks: tuple[NDArray[np.uint16], ...], bits: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Pairs of positions whose blocks are all equal, as two arrays at a time."""
    count = len(blocks[0])
    index_bits = np.uint64(count.bit_length())
    keys = blocks[0].astype(np.uint64)
    for block in blocks[1:]:
        keys <<= np.uint64(bits)
        keys |= block
    keys <<= index_bits
    keys |= np.arange(count, dtype=np.uint64)
    keys.sort()
    order = (keys & ((np.uint64(1) << index_bits) - np.uint64(1))).astype(np.int64)
    keys >>= index_bits
    first = np.flatnonzero(keys[1:] == keys[:-1])
    step = 1
    while first.size:
        for start in range(0, len(first), _BLOCK_CELLS):
            some = first[start : start + _BLOCK_CELLS]
            yield order[some], order[some + step]
        step += 1
        first = first[: np.searchsorted(first, count - step)]
        first = first[keys[first + step] == keys[first]]


def _near(
    columns: NDArray[np.uint64], one: NDArray[np.int64], other: NDArray[np.int64], distance: int
) -> NDArray[np.int64]:
    """The numbers i * N + j of those pairs that are within the distance; `columns` is (4, N)."""
    gaps = np.zeros(len(one), dtype=np.uint16)
    for column in columns:
        gaps += np.bitwise_count(column[one] ^ column[other])
        close = gaps <= distance
        one, other, gaps = one[close], other[close], gaps[close]
    low, high = np.minimum(one, other), np.maximum(one, other)
    pairs: NDArray[np.int64] = low * columns.shape[1] + high
    return pairs


def _pairs_of(words: NDArray[np.uint64], found: NDArray[np.int64]) -> Iterator[tuple[int, int, int]]:
    for start in range(0, len(found), _BLOCK_CELLS):
        one, other = np.divmod(found[start : start + _BLOCK_CELLS], len(words))
        gaps = distances(words[one].T, words[other].T)
        yield from zip(one.tolist(), other.tolist(), gaps.tolist(), strict=True)


def _compare_all(words: NDArray[np.uint64], distance: int) -> Iterator[tuple[int, int, int]]:
    count = len(words)
    columns = np.ascontiguousarray(words.T)
    rows = max(1, _BLOCK_CELLS // max(count, 1))
    for start in range(0, count, rows):
        gaps = distances(columns[:, None, start:], columns[:, start : start + rows, None])
        for i, j in np.argwhere(gaps <= distance):
            if i < j:
                yield start + int(i), start + int(j), int(gaps[i, j])
