import numpy as np
import pytest
from hashes import flip, gap_between, planted, random_hashes, spread_pairs

from bloodcell_batch.images import hash_index
from bloodcell_batch.images.hash_index import HashIndex


def _first(hashes: list[bytes], number: int, distance: int) -> tuple[int, int] | None:
    gaps = ((i, gap_between(hashes[number], other)) for i, other in enumerate(hashes[:number]))
    return next((hit for hit in gaps if hit[1] <= distance), None)


@pytest.mark.parametrize("recent", [10, 4096])
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("distance", [0, 8, 16, 17, 32, 33, 34, 60])
def test_index_finds_the_first_within_the_distance(
    monkeypatch: pytest.MonkeyPatch, recent: int, seed: int, distance: int
) -> None:
    monkeypatch.setattr(hash_index, "_RECENT", recent)
    hashes = planted(seed, count=100) + spread_pairs(distance)
    index = HashIndex(distance)
    hits = 0
    for number, phash in enumerate(hashes):
        expected = _first(hashes, number, distance)
        assert index.first_within([phash]) == [expected]
        hits += expected is not None
        index.add([phash])
    assert hits > 0


def test_an_empty_index_finds_nothing() -> None:
    assert HashIndex(256).first_within([bytes(32)]) == [None]


@pytest.mark.parametrize("recent", [10, 4096])
@pytest.mark.parametrize("count", [63, 64, 65, 128, 129])
def test_index_grows_without_losing_a_hash(monkeypatch: pytest.MonkeyPatch, count: int, recent: int) -> None:
    monkeypatch.setattr(hash_index, "_RECENT", recent)
    hashes = random_hashes(3, count)
    index = HashIndex(0)
    for phash in hashes:
        index.add([phash])
    assert index.first_within(hashes) == [(i, 0) for i in range(count)]


@pytest.mark.parametrize("alike", [0, 200, 256])
def test_index_agrees_however_alike_the_hashes_are(monkeypatch: pytest.MonkeyPatch, alike: int) -> None:
    """From hashes drawn at random to one hash over and over, where every band holds everything."""
    monkeypatch.setattr(hash_index, "_RECENT", 20)
    rng = np.random.default_rng(alike)
    flags = rng.integers(0, 2, (300, 256), dtype=np.uint8)
    flags[:, :alike] = flags[0, :alike]
    hashes = [np.packbits(row).tobytes() for row in flags]
    index = HashIndex(16)
    for number, phash in enumerate(hashes):
        assert index.first_within([phash]) == [_first(hashes, number, 16)]
        index.add([phash])


@pytest.mark.parametrize("distance", [16, 17])
def test_distance_border_is_inclusive(distance: int) -> None:
    origin = random_hashes(4, 1)[0]
    index = HashIndex(distance)
    index.add([origin])
    other = flip(origin, list(range(100, 117)))
    assert index.first_within([other]) == [(0, 17) if distance == 17 else None]


@pytest.mark.parametrize("distance", [0, 16, 20, 60])
@pytest.mark.parametrize("alike", [0, 256])
def test_asking_for_many_at_a_time_gives_the_answers_of_asking_for_each(
    monkeypatch: pytest.MonkeyPatch, distance: int, alike: int
) -> None:
    monkeypatch.setattr(hash_index, "_RECENT", 30)
    monkeypatch.setattr(hash_index, "_CELLS", 500)
    hashes = [bytes(32)] * alike + planted(1, count=100) + spread_pairs(distance)
    index = HashIndex(distance)
    index.add(hashes[:300])
    index.add(hashes[300:350])
    queries = hashes[::3] + random_hashes(5, 20) + hashes[-5:]
    answers = index.first_within(queries)
    assert answers == [index.first_within([query])[0] for query in queries]
    assert sum(answer is not None for answer in answers) > 5
    assert sum(answer is None for answer in answers) > 5
