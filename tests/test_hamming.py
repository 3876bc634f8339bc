import numpy as np
import pytest
from numpy.typing import NDArray

from bloodcell_batch import hamming
from bloodcell_batch.hamming import HashIndex, as_words, distances, pairs_within


def _random_hashes(seed: int, count: int) -> list[bytes]:
    return [row.tobytes() for row in np.random.default_rng(seed).integers(0, 256, (count, 32), dtype=np.uint8)]


def _flip(phash: bytes, bits: list[int]) -> bytes:
    number = int.from_bytes(phash, "big")
    for bit in bits:
        number ^= 1 << bit
    return number.to_bytes(32, "big")


def _gap(one: bytes, other: bytes) -> int:
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_count()


def _planted(seed: int, count: int = 120) -> list[bytes]:
    """Random hashes, half of them near copies of earlier ones at 0 to 24 bits."""
    rng = np.random.default_rng(seed)
    hashes = _random_hashes(seed, count // 2)
    for _ in range(count - len(hashes)):
        origin = hashes[int(rng.integers(len(hashes)))]
        hashes.append(_flip(origin, rng.choice(256, int(rng.integers(25)), replace=False).tolist()))
    return [hashes[i] for i in rng.permutation(count)]


def _words(hashes: list[bytes]) -> NDArray[np.uint64]:
    return as_words(b"".join(hashes))


def _brute_pairs(hashes: list[bytes], distance: int) -> list[tuple[int, int, int]]:
    return [
        (i, j, gap)
        for i in range(len(hashes))
        for j in range(i + 1, len(hashes))
        for gap in [_gap(hashes[i], hashes[j])]
        if gap <= distance
    ]


def test_distances_count_bits() -> None:
    hashes = _random_hashes(0, 50)
    gaps = distances(_words(hashes), _words(hashes[:1])[0])
    assert gaps.tolist() == [_gap(hashes[0], other) for other in hashes]


@pytest.mark.parametrize(("other", "expected"), [(bytes(32), 0), (b"\xff" * 32, 256), (b"\x01" + bytes(31), 1)])
def test_extreme_distances(other: bytes, expected: int) -> None:
    assert distances(_words([other]), _words([bytes(32)])[0]).tolist() == [expected]


def test_no_hashes_have_no_pairs() -> None:
    assert list(pairs_within(as_words(b""), 16)) == []
    assert list(pairs_within(_words(_random_hashes(1, 1)), 256)) == []


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("distance", [0, 1, 16, 256])
def test_pairs_agree_with_brute_force(seed: int, distance: int) -> None:
    hashes = _planted(seed)
    assert list(pairs_within(_words(hashes), distance)) == _brute_pairs(hashes, distance)


@pytest.mark.parametrize("cells", [1, 119, 120, 121, 240, 360, 1000, 120 * 120])
def test_pairs_do_not_depend_on_the_block_size(monkeypatch: pytest.MonkeyPatch, cells: int) -> None:
    hashes = _planted(7)
    monkeypatch.setattr(hamming, "_BLOCK_CELLS", cells)
    found = list(pairs_within(_words(hashes), 16))
    assert found == _brute_pairs(hashes, 16)
    assert len(found) > 20


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("distance", [0, 16])
def test_index_finds_the_first_within_the_distance(seed: int, distance: int) -> None:
    hashes = _planted(seed, count=200)  # more than the index starts with
    index = HashIndex()
    hits = 0
    for number, phash in enumerate(hashes):
        gaps = [(i, _gap(phash, other)) for i, other in enumerate(hashes[:number])]
        expected = next((hit for hit in gaps if hit[1] <= distance), None)
        assert index.first_within(phash, distance) == expected
        hits += expected is not None
        index.add(phash)
    assert hits > 0


def test_an_empty_index_finds_nothing() -> None:
    assert HashIndex().first_within(bytes(32), 256) is None


@pytest.mark.parametrize("count", [63, 64, 65, 128, 129])
def test_index_grows_without_losing_a_hash(count: int) -> None:
    hashes = _random_hashes(3, count)
    index = HashIndex()
    for phash in hashes:
        index.add(phash)
    assert [index.first_within(phash, 0) for phash in hashes] == [(i, 0) for i in range(count)]


def test_distance_border_is_inclusive() -> None:
    origin = _random_hashes(4, 1)[0]
    index = HashIndex()
    index.add(origin)
    other = _flip(origin, list(range(100, 117)))
    assert index.first_within(other, 17) == (0, 17)
    assert index.first_within(other, 16) is None
