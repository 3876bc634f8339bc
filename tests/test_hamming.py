from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from bloodcell_batch import hamming
from bloodcell_batch.hamming import HashIndex, as_words, distances, pairs_within
from bloodcell_batch.perceptual_hash import grey_thumbnail, perceptual_hash


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


@pytest.mark.parametrize("distance", [0, 1, 5, 15, 16, 17, 24, 32])
def test_every_way_to_search_finds_every_pair(distance: int) -> None:
    hashes = _planted(distance) + _spread_pairs(distance)
    expected = _brute_pairs(hashes, distance)
    plans = [plan for plan in hamming._plans(len(hashes), distance) if plan.tables <= 150]
    assert len(plans) >= 5
    for plan in plans:
        found = hamming._sorted_search(_words(hashes), distance, plan)
        if found is not None:
            assert list(hamming._pairs_of(_words(hashes), found)) == expected, plan


def _spread_pairs(distance: int) -> list[bytes]:
    """Pairs exactly `distance` bits apart whose differing bits fall evenly on the blocks, the worst case."""
    hashes = []
    for seed, origin in enumerate(_random_hashes(100 + distance, 20)):
        places = np.linspace(0, 255 - seed, distance, dtype=int) + seed
        hashes += [origin, _flip(origin, [255 - int(bit) for bit in hamming._ORDER[places]])]
    return hashes


@pytest.fixture
def sorting_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make comparing all with all look dear, so that a few hundred hashes are searched like a million."""
    monkeypatch.setattr(hamming, "_COMPARE_NS", 1e9)


@pytest.mark.usefixtures("sorting_pays")
class TestSortedSearch:
    @pytest.mark.parametrize("seed", range(3))
    @pytest.mark.parametrize("distance", [*range(0, 33, 4), 100])
    def test_agrees_with_brute_force(self, seed: int, distance: int) -> None:
        hashes = _planted(seed, count=300)
        assert distance > 32 or hamming._cheapest_plan(_words(hashes), distance) is not None
        assert list(pairs_within(_words(hashes), distance)) == _brute_pairs(hashes, distance)

    def test_finds_pairs_at_every_distance(self) -> None:
        rng = np.random.default_rng(3)
        hashes = []
        for gap in range(40):
            for origin in _random_hashes(gap + 50, 10):
                hashes += [origin, _flip(origin, rng.choice(256, gap, replace=False).tolist())]
        for distance in range(33):
            found = list(pairs_within(_words(hashes), distance))
            assert [gap for _, _, gap in found] == [gap for gap in range(distance + 1) for _ in range(10)]

    @given(st.data())
    @settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_finds_pairs_in_any_cluster(self, data: st.DataObject) -> None:
        """Hashes of one cluster, as the cells of one class are: most bits are the same in all of them."""
        loose = data.draw(st.integers(1, 120), label="bits that vary")
        rng = np.random.default_rng(data.draw(st.integers(0, 1000), label="seed"))
        origin = _random_hashes(1, 1)[0]
        varying = rng.choice(256, loose, replace=False)
        hashes = [_flip(origin, varying[rng.random(loose) < 0.3].tolist()) for _ in range(60)]
        distance = data.draw(st.integers(0, 32), label="distance")
        assert list(pairs_within(_words(hashes), distance)) == _brute_pairs(hashes, distance)

    def test_equal_hashes(self) -> None:
        hashes = _random_hashes(0, 1) * 40 + _random_hashes(1, 1) * 30
        assert len(list(pairs_within(_words(hashes), 16))) == 40 * 39 // 2 + 30 * 29 // 2

    @pytest.mark.parametrize(("limit", "value"), [("_MOST_FOUND", 50), ("_BLOCK_CELLS", 7)])
    def test_limits_change_nothing(self, monkeypatch: pytest.MonkeyPatch, limit: str, value: int) -> None:
        hashes = _planted(9, count=300)
        monkeypatch.setattr(hamming, limit, value)
        assert list(pairs_within(_words(hashes), 20)) == _brute_pairs(hashes, 20)


def test_too_many_candidates_end_the_sorted_search() -> None:
    words = _words(_random_hashes(0, 1) * 3000)
    plan = next(hamming._plans(3000, 16))
    assert hamming._sorted_search(words, 16, plan) is None
    assert hamming._cheapest_plan(words, 16) is None


def test_many_hashes_are_sorted_and_few_compared() -> None:
    assert hamming._cheapest_plan(_words(_random_hashes(0, 1000)), 16) is None
    for distance in (0, 16, 32):
        assert hamming._cheapest_plan(_words(_random_hashes(0, 20_000)), distance) is not None


def _first(hashes: list[bytes], number: int, distance: int) -> tuple[int, int] | None:
    gaps = ((i, _gap(hashes[number], other)) for i, other in enumerate(hashes[:number]))
    return next((hit for hit in gaps if hit[1] <= distance), None)


@pytest.mark.parametrize("recent", [1, 10, 4096])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("distance", [0, 8, 16, 17, 32, 33, 34, 60])
def test_index_finds_the_first_within_the_distance(
    monkeypatch: pytest.MonkeyPatch, recent: int, seed: int, distance: int
) -> None:
    monkeypatch.setattr(hamming, "_RECENT", recent)
    hashes = _planted(seed, count=200) + _spread_pairs(distance)
    index = HashIndex(distance)
    hits = 0
    for number, phash in enumerate(hashes):
        expected = _first(hashes, number, distance)
        assert index.first_within(phash) == expected
        hits += expected is not None
        index.add(phash)
    assert hits > 0


def test_an_empty_index_finds_nothing() -> None:
    assert HashIndex(256).first_within(bytes(32)) is None


@pytest.mark.parametrize("recent", [10, 4096])
@pytest.mark.parametrize("count", [63, 64, 65, 128, 129])
def test_index_grows_without_losing_a_hash(monkeypatch: pytest.MonkeyPatch, count: int, recent: int) -> None:
    monkeypatch.setattr(hamming, "_RECENT", recent)
    hashes = _random_hashes(3, count)
    index = HashIndex(0)
    for phash in hashes:
        index.add(phash)
    assert [index.first_within(phash) for phash in hashes] == [(i, 0) for i in range(count)]


@pytest.mark.parametrize("alike", [0, 200, 256])
def test_index_agrees_however_alike_the_hashes_are(monkeypatch: pytest.MonkeyPatch, alike: int) -> None:
    """From hashes drawn at random to one hash over and over, where every band holds everything."""
    monkeypatch.setattr(hamming, "_RECENT", 20)
    rng = np.random.default_rng(alike)
    flags = rng.integers(0, 2, (300, 256), dtype=np.uint8)
    flags[:, :alike] = flags[0, :alike]
    hashes = [np.packbits(row).tobytes() for row in flags]
    index = HashIndex(16)
    for number, phash in enumerate(hashes):
        assert index.first_within(phash) == _first(hashes, number, 16)
        index.add(phash)


@pytest.mark.parametrize("distance", [16, 17])
def test_distance_border_is_inclusive(distance: int) -> None:
    origin = _random_hashes(4, 1)[0]
    index = HashIndex(distance)
    index.add(origin)
    other = _flip(origin, list(range(100, 117)))
    assert index.first_within(other) == ((0, 17) if distance == 17 else None)


def test_hashes_of_real_cells_spread_over_the_bands(pbc: Path) -> None:
    """Cell images are alike, so their hashes are; the bands must still single out one in a thousand."""
    hashes = []
    for file in sorted(pbc.glob("*/[!.]*.jpg"))[::25]:
        with Image.open(file) as image:
            hashes.append(perceptual_hash(grey_thumbnail(image.convert("RGB"))))
    bands = hamming._blocks(_words(hashes), 17, 15)
    shares = [float(((np.unique(band, return_counts=True)[1] / len(hashes)) ** 2).sum()) for band in bands]
    assert np.mean(shares) - 1 / len(hashes) < 1e-3
    assert hamming._entropy_of_a_bit(_words(hashes)) > 0.8
