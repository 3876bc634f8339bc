"""Hashes to search among, for the tests."""

import numpy as np

from bloodcell_batch.images.hamming import BIT_ORDER


def random_hashes(seed: int, count: int) -> list[bytes]:
    return [row.tobytes() for row in np.random.default_rng(seed).integers(0, 256, (count, 32), dtype=np.uint8)]


def flip(phash: bytes, bits: list[int]) -> bytes:
    number = int.from_bytes(phash, "big")
    for bit in bits:
        number ^= 1 << bit
    return number.to_bytes(32, "big")


def gap_between(one: bytes, other: bytes) -> int:
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_count()


def planted(seed: int, count: int = 120) -> list[bytes]:
    """Random hashes, half of them near copies of earlier ones at 0 to 24 bits."""
    rng = np.random.default_rng(seed)
    hashes = random_hashes(seed, count // 2)
    for _ in range(count - len(hashes)):
        origin = hashes[int(rng.integers(len(hashes)))]
        hashes.append(flip(origin, rng.choice(256, int(rng.integers(25)), replace=False).tolist()))
    return [hashes[i] for i in rng.permutation(count)]


def spread_pairs(distance: int) -> list[bytes]:
    """Pairs exactly `distance` bits apart whose differing bits fall evenly on the blocks, the worst case."""
    hashes = []
    for seed, origin in enumerate(random_hashes(100 + distance, 20)):
        places = np.linspace(0, 255 - seed, distance, dtype=int) + seed
        hashes += [origin, flip(origin, [255 - int(bit) for bit in BIT_ORDER[places]])]
    return hashes
