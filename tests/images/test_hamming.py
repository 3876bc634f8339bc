from pathlib import Path

import numpy as np
import pytest
from hashes import flip, gap_between, planted, random_hashes, spread_pairs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from bloodcell_batch.images import hamming
from bloodcell_batch.images.hamming import as_words, distances, pairs_within
from bloodcell_batch.images.perceptual_hash import grey_thumbnail, perceptual_hashes


def _words(hashes: list[bytes]) -> NDArray[np.uint64]:
    return as_words(b"".join(hashes))


def _brute_pairs(hashes: list[bytes], distance: int) -> list[tuple[int, int, int]]:
    return [
        (i, j, gap)
        for i in range(len(hashes))
        for j in range(i + 1, len(hashes))
        for gap in [gap_between(hashes[i], hashes[j])]
        if gap <= distance
    ]


def test_distances_count_bits() -> None:
    hashes = random_hashes(0, 50)
    gaps = distances(_words(hashes).T, _words(hashes[:1]).T)
    assert gaps.tolist() == [gap_between(hashes[0], other) for other in hashes]


@pytest.mark.parametrize(("other", "expected"), [(bytes(32), 0), (b"\xff" * 32, 256), (b"\x01" + bytes(31), 1)])
def test_extreme_distances(other: bytes, expected: int) -> None:
    assert distances(_words([other]).T, _words([bytes(32)]).T).tolist() == [expected]


def test_no_hashes_have_no_pairs() -> None:
    assert list(pairs_within(as_words(b""), 16)) == []
    assert list(pairs_within(_words(random_hashes(1, 1)), 256)) == []


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("distance", [0, 1, 16, 256])
def test_pairs_agree_with_brute_force(seed: int, distance: int) -> None:
    hashes = planted(seed)
    assert list(pairs_within(_words(hashes), distance)) == _brute_pairs(hashes, distance)


@pytest.mark.parametrize("cells", [1, 119, 120, 121, 240, 360, 1000, 120 * 120])
def test_pairs_do_not_depend_on_the_block_size(monkeypatch: pytest.MonkeyPatch, cells: int) -> None:
    hashes = planted(7)
    monkeypatch.setattr(hamming, "_BLOCK_CELLS", cells)
    found = list(pairs_within(_words(hashes), 16))
    assert found == _brute_pairs(hashes, 16)
    assert len(found) > 20


@pytest.mark.parametrize("distance", [0, 1, 5, 15, 16, 17, 24, 32])
def test_every_way_to_search_finds_every_pair(distance: int) -> None:
    hashes = planted(distance) + spread_pairs(distance)
    expected = _brute_pairs(hashes, distance)
    plans = [plan for plan in hamming._plans(len(hashes), distance) if plan.tables <= 150]
    assert len(plans) >= 5
    for plan in plans:
        found = hamming._sorted_search(_words(hashes), distance, plan)
        if found is not None:
            assert list(hamming._pairs_of(_words(hashes), found)) == expected, plan


@pytest.fixture
def sorting_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make comparing all with all look dear, so that a few hundred hashes are searched like a million."""
    monkeypatch.setattr(hamming, "_COMPARE_NS", 1e9)


@pytest.mark.usefixtures("sorting_pays")
class TestSortedSearch:
    @pytest.mark.parametrize("seed", range(3))
    @pytest.mark.parametrize("distance", [*range(0, 33, 4), 100])
    def test_agrees_with_brute_force(self, seed: int, distance: int) -> None:
        hashes = planted(seed, count=300)
        assert distance > 32 or hamming._cheapest_plan(_words(hashes), distance) is not None
        assert list(pairs_within(_words(hashes), distance)) == _brute_pairs(hashes, distance)

    def test_finds_pairs_at_every_distance(self) -> None:
        rng = np.random.default_rng(3)
        hashes = []
        for gap in range(40):
            for origin in random_hashes(gap + 50, 10):
                hashes += [origin, flip(origin, rng.choice(256, gap, replace=False).tolist())]
        for distance in range(33):
            found = list(pairs_within(_words(hashes), distance))
            assert [gap for _, _, gap in found] == [gap for gap in range(distance + 1) for _ in range(10)]

    @given(st.data())
    @settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_finds_pairs_in_any_cluster(self, data: st.DataObject) -> None:
        """Hashes of one cluster, as the cells of one class are: most bits are the same in all of them."""
        loose = data.draw(st.integers(1, 120), label="bits that vary")
        rng = np.random.default_rng(data.draw(st.integers(0, 1000), label="seed"))
        origin = random_hashes(1, 1)[0]
        varying = rng.choice(256, loose, replace=False)
        hashes = [flip(origin, varying[rng.random(loose) < 0.3].tolist()) for _ in range(60)]
        distance = data.draw(st.integers(0, 32), label="distance")
        assert list(pairs_within(_words(hashes), distance)) == _brute_pairs(hashes, distance)

    def test_equal_hashes(self) -> None:
        hashes = random_hashes(0, 1) * 40 + random_hashes(1, 1) * 30
        assert len(list(pairs_within(_words(hashes), 16))) == 40 * 39 // 2 + 30 * 29 // 2

    @pytest.mark.parametrize(("limit", "value"), [("_MOST_FOUND", 50), ("_BLOCK_CELLS", 7)])
    def test_limits_change_nothing(self, monkeypatch: pytest.MonkeyPatch, limit: str, value: int) -> None:
        hashes = planted(9, count=300)
        monkeypatch.setattr(hamming, limit, value)
        assert list(pairs_within(_words(hashes), 20)) == _brute_pairs(hashes, 20)


def test_too_many_candidates_end_the_sorted_search() -> None:
    words = _words(random_hashes(0, 1) * 3000)
    plan = next(hamming._plans(3000, 16))
    assert hamming._sorted_search(words, 16, plan) is None
    assert hamming._cheapest_plan(words, 16) is None


def test_many_hashes_are_sorted_and_few_compared() -> None:
    assert hamming._cheapest_plan(_words(random_hashes(0, 1000)), 16) is None
    for distance in (0, 16, 32):
        assert hamming._cheapest_plan(_words(random_hashes(0, 20_000)), distance) is not None


def test_hashes_of_real_cells_spread_over_the_bands(pbc: Path) -> None:
    """Cell images are alike, so their hashes are; the bands must still single out one in a thousand."""
    hashes = []
    for file in sorted(pbc.glob("*/[!.]*.jpg"))[::25]:
        with Image.open(file) as image:
            hashes += perceptual_hashes(grey_thumbnail(image.convert("RGB"))[None])
    bands = hamming.bit_blocks(_words(hashes), 17, 15)
    shares = [float(((np.unique(band, return_counts=True)[1] / len(hashes)) ** 2).sum()) for band in bands]
    assert np.mean(shares) - 1 / len(hashes) < 1e-3
    assert hamming._entropy_of_a_bit(_words(hashes)) > 0.8
