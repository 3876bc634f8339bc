import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np
import pytest
from hashes import gap_between, planted

from bloodcell_batch.parallel.blocks import blocks_of
from bloodcell_batch.records import (
    DecodedImage,
    ImageFacts,
    ImageFile,
    Outcome,
    Prediction,
    Quality,
    Reason,
    Rejection,
    Status,
)
from bloodcell_batch.slides.matches import CrossSlideMatch
from bloodcell_batch.stages import dedup
from bloodcell_batch.stages.dedup import Candidate, CrossSlideSearch, DuplicateFilter

PIXELS = np.zeros((4, 4, 3), dtype=np.uint8)


def _hash(*bits: int, base: int = 0) -> bytes:
    """A hash that differs from hash number `base` in the given bits; different bases are 80 bits or more apart."""
    words = np.random.default_rng(base).integers(0, 256, 32, dtype=np.uint8)
    flags = np.unpackbits(words)
    for bit in bits:
        flags[bit] ^= 1
    return np.packbits(flags).tobytes()


def _image(path: str, phash: bytes, digest: str = "", *, blank: bool = False, side: int = 96) -> DecodedImage:
    slide = path.rpartition("/")[0]
    quality = Quality(100.0, 0.5 if blank else 40.0, 10.0)
    pixels = hashlib.blake2b((digest or path).encode(), digest_size=16).digest()
    facts = ImageFacts("00" * 32, phash, side, side, quality, pixel_digest=pixels)
    return DecodedImage(ImageFile(path, slide, 1000, 0), facts, PIXELS)


def _run(
    images: Sequence[Candidate | Rejection], mode: str = "near", distance: int = 16
) -> tuple[list[Candidate | Rejection], tuple[CrossSlideMatch, ...]]:
    outcomes = list(DuplicateFilter(mode, distance)(images))
    across = CrossSlideSearch(mode, distance)
    list(across(map(_predicted, outcomes)))
    return outcomes, across.matches([outcome.file for outcome in outcomes])


def _predicted(outcome: Candidate | Rejection) -> Outcome:
    if isinstance(outcome, Rejection):
        return outcome
    return Prediction(outcome.file, outcome.facts, Status.CLASSIFIED, None, "neutrophil", 1.0, (), 1.0, ())


def _fates(outcomes: Sequence[Candidate | Rejection]) -> list[tuple[str, str, int | None]]:
    return [
        (outcome.status.value, outcome.duplicate_of, outcome.duplicate_distance)
        if isinstance(outcome, Rejection)
        else ("kept", "", None)
        for outcome in outcomes
    ]


def test_a_copy_is_dropped_and_names_the_first() -> None:
    outcomes, matches = _run([_image("s/a", _hash(), "x"), _image("s/b", _hash(), "x"), _image("s/c", _hash(), "x")])
    assert _fates(outcomes) == [("kept", "", None), ("exact_duplicate", "s/a", 0), ("exact_duplicate", "s/a", 0)]
    assert matches == ()


def test_a_dropped_picture_keeps_its_facts() -> None:
    copy = _image("s/b", _hash(), "x")
    outcomes, _ = _run([_image("s/a", _hash(), "x"), copy])
    assert isinstance(outcomes[1], Rejection)
    assert outcomes[1].facts == copy.facts
    assert outcomes[1].file == copy.file
    assert outcomes[1].reason is None


@pytest.mark.parametrize("gap", [0, 1, 16])
def test_similar_pictures_are_near_duplicates_up_to_the_distance(gap: int) -> None:
    outcomes, _ = _run([_image("s/a", _hash()), _image("s/b", _hash(*range(gap)))])
    assert _fates(outcomes) == [("kept", "", None), ("near_duplicate", "s/a", gap)]


def test_one_bit_beyond_the_distance_is_another_picture() -> None:
    outcomes, _ = _run([_image("s/a", _hash()), _image("s/b", _hash(*range(17)))])
    assert _fates(outcomes) == [("kept", "", None)] * 2


def test_distance_zero_needs_equal_hashes() -> None:
    outcomes, _ = _run([_image("s/a", _hash()), _image("s/b", _hash(5)), _image("s/c", _hash(5))], distance=0)
    assert _fates(outcomes) == [("kept", "", None), ("kept", "", None), ("near_duplicate", "s/b", 0)]


def test_a_near_copy_of_two_kept_pictures_names_the_first() -> None:
    first, second = _hash(), _hash(*range(20))
    between = _hash(*range(8, 20))
    outcomes, _ = _run([_image("s/a", first), _image("s/b", second), _image("s/c", between)])
    assert _fates(outcomes) == [("kept", "", None), ("kept", "", None), ("near_duplicate", "s/a", 12)]


def test_a_dropped_picture_attracts_no_others() -> None:
    chain = [_image("s/a", _hash()), _image("s/b", _hash(*range(16))), _image("s/c", _hash(*range(32)))]
    outcomes, _ = _run(chain)
    assert _fates(outcomes) == [("kept", "", None), ("near_duplicate", "s/a", 16), ("kept", "", None)]


def test_a_copy_of_a_dropped_copy_names_the_kept_picture() -> None:
    near = _hash(1, 2, 3)
    outcomes, _ = _run([_image("s/a", _hash()), _image("s/b", near, "x"), _image("s/c", near, "x")])
    assert _fates(outcomes)[1:] == [("near_duplicate", "s/a", 3), ("exact_duplicate", "s/a", 0)]


def test_mode_off_passes_everything() -> None:
    images = [_image("s/a", _hash(), "x"), _image("s/b", _hash(), "x"), _image("t/a", _hash(), "x")]
    outcomes, matches = _run(images, mode="off")
    assert outcomes == images
    assert matches == ()


def test_mode_exact_compares_pixels_only() -> None:
    images = [_image("s/a", _hash(), "x"), _image("s/b", _hash(), "y"), _image("s/c", _hash(9), "x")]
    outcomes, _ = _run(images, mode="exact")
    assert _fates(outcomes) == [("kept", "", None), ("kept", "", None), ("exact_duplicate", "s/a", 0)]


@pytest.mark.parametrize("mode", ["off", "exact", "near"])
def test_rejections_pass_unchanged_and_in_place(mode: str) -> None:
    bad = Rejection(ImageFile("s/b", "s", 0, 0), Status.FAILED, Reason.EMPTY, "no bytes")
    outcomes, _ = _run([_image("s/a", _hash()), bad, _image("s/c", _hash(base=1))], mode=mode)
    assert outcomes[1] is bad
    assert [outcome.file.path for outcome in outcomes] == ["s/a", "s/b", "s/c"]


@pytest.mark.parametrize("mode", ["off", "exact", "near"])
def test_nothing_but_rejections_has_no_matches(mode: str) -> None:
    bad = Rejection(ImageFile("s/b", "s", 0, 0), Status.FAILED, Reason.EMPTY, "no bytes")
    assert _run([bad], mode=mode) == ([bad], ())


@pytest.mark.parametrize("mode", ["exact", "near"])
def test_equal_pictures_in_two_slides_are_kept_and_reported(mode: str) -> None:
    outcomes, matches = _run([_image("s/a", _hash(), "x"), _image("t/b", _hash(), "x")], mode=mode)
    assert _fates(outcomes) == [("kept", "", None)] * 2
    assert matches == (CrossSlideMatch("s/a", "s", "t/b", "t", 0),)


def test_similar_pictures_in_two_slides_are_reported_in_near_mode_only() -> None:
    images = [_image("s/a", _hash()), _image("t/b", _hash(0, 1)), _image("t/c", _hash(base=1))]
    assert _run(images)[1] == (CrossSlideMatch("s/a", "s", "t/b", "t", 2),)
    assert _run(images, mode="exact")[1] == ()
    assert _run(images, distance=1)[1] == ()


def test_cross_slide_matches_come_in_the_order_of_the_paths() -> None:
    images = [
        _image("s/a", _hash()),
        _image("s/b", _hash(base=1), "x"),
        _image("t/a", _hash(base=1), "x"),
        _image("t/b", _hash(4)),
        _image("u/a", _hash(4, 5)),
    ]
    found = [(match.path, match.other_path, match.distance) for match in _run(images)[1]]
    assert found == [("s/a", "t/b", 1), ("s/a", "u/a", 2), ("s/b", "t/a", 0), ("t/b", "u/a", 1)]


def test_a_slide_starts_afresh() -> None:
    images = [_image("s/a", _hash(), "x"), _image("t/a", _hash(), "x"), _image("t/b", _hash(), "x")]
    outcomes, _ = _run(images)
    assert _fates(outcomes)[1:] == [("kept", "", None), ("exact_duplicate", "t/a", 0)]


def test_blank_pictures_are_no_near_duplicates() -> None:
    blanks = [_image(path, _hash(), blank=True) for path in ("s/a", "s/b", "t/a")]
    outcomes, matches = _run(blanks)
    assert _fates(outcomes) == [("kept", "", None)] * 3
    assert matches == ()


@pytest.mark.parametrize("mode", ["exact", "near"])
def test_equal_blank_pictures_are_nobodys_copies(mode: str) -> None:
    blanks = [_image(path, _hash(), "x", blank=True) for path in ("s/a", "s/b", "t/a")]
    outcomes, matches = _run(blanks, mode)
    assert _fates(outcomes) == [("kept", "", None)] * 3
    assert matches == ()


def test_blank_pictures_between_others_do_not_shift_the_matches() -> None:
    images = [
        _image("s/a", _hash(base=7), blank=True),
        _image("s/b", _hash()),
        _image("t/a", _hash(base=7), blank=True),
        _image("t/b", _hash(3)),
    ]
    assert _run(images)[1] == (CrossSlideMatch("s/b", "s", "t/b", "t", 1),)


def test_many_pictures_agree_with_comparing_every_pair() -> None:
    rng = np.random.default_rng(5)
    images: list[DecodedImage] = []
    for number in range(300):
        base = int(rng.integers(60))
        bits = rng.choice(256, int(rng.integers(0, 14)), replace=False).tolist()
        images.append(_image(f"s/{number:03d}", _hash(*bits, base=base)))
    kept: list[DecodedImage] = []
    expected = []
    for image in images:
        gaps = [(_gap(image, other), other) for other in kept]
        hit = next(((gap, other) for gap, other in gaps if gap <= 16), None)
        expected.append(("near_duplicate", hit[1].file.path, hit[0]) if hit else ("kept", "", None))
        if not hit:
            kept.append(image)
    outcomes, _ = _run(images)
    assert _fates(outcomes) == expected
    assert 60 <= len(kept) < 300


def _gap(one: DecodedImage, other: DecodedImage) -> int:
    return (int.from_bytes(one.facts.phash, "big") ^ int.from_bytes(other.facts.phash, "big")).bit_count()


def test_the_same_picture_under_another_path_is_still_a_copy() -> None:
    image = _image("s/a", _hash(), "x")
    again = dataclasses.replace(image, file=dataclasses.replace(image.file, path="s/b"))
    assert _fates(_run([image, again])[0])[1] == ("exact_duplicate", "s/a", 0)


def _expected(images: Sequence[DecodedImage], distance: int) -> list[tuple[str, str, int | None]]:
    """What the filter is to say, one image after the other."""
    fates: list[tuple[str, str, int | None]] = []
    kept: list[DecodedImage] = []
    names: dict[tuple[str, bytes], str] = {}
    for image in images:
        slide, facts = image.file.slide_id, image.facts
        if facts.quality.is_blank:
            fates.append(("kept", "", None))
            continue
        first = names.setdefault((slide, facts.pixel_digest), image.file.path)
        if first != image.file.path:
            fates.append(("exact_duplicate", first, 0))
            continue
        gaps = [
            (gap_between(other.facts.phash, facts.phash), other.file.path)
            for other in kept
            if other.file.slide_id == slide
        ]
        hit = next((hit for hit in gaps if hit[0] <= distance), None)
        if hit is None:
            fates.append(("kept", "", None))
            kept.append(image)
        else:
            names[slide, facts.pixel_digest] = hit[1]
            fates.append(("near_duplicate", hit[1], hit[0]))
    return fates


@pytest.mark.parametrize("names", ["abc", "cba", "bac", "acb"])
def test_of_copies_the_largest_is_kept_whatever_their_names(names: str) -> None:
    images = sorted(
        (
            _image(f"s/{name}", _hash(*range(i)), side=side)
            for i, (name, side) in enumerate(zip(names, (360, 90, 180), strict=True))
        ),
        key=lambda image: image.file.path,
    )
    outcomes, _ = _run(images)
    assert [outcome.file for outcome in outcomes] == [image.file for image in images]
    kept = f"s/{names[0]}"
    gaps = dict(zip(names, range(3), strict=True))
    assert _fates(outcomes) == [
        ("kept", "", None) if path == kept else ("near_duplicate", kept, gaps[path[-1]])
        for path in (image.file.path for image in images)
    ]


def test_a_small_copy_attracts_no_others() -> None:
    """The chain b - a - c, of which only neighbours are near: the middle one is small and goes, both others stay."""
    images = [_image("s/a", _hash(*range(16)), side=50), _image("s/b", _hash()), _image("s/c", _hash(*range(32)))]
    assert _fates(_run(images)[0]) == [("near_duplicate", "s/b", 16), ("kept", "", None), ("kept", "", None)]


def test_a_copy_of_a_small_copy_names_the_kept_picture() -> None:
    small = [_image(f"s/{name}", _hash(1, 2), "x", side=50) for name in "ab"]
    outcomes, _ = _run([*small, _image("s/c", _hash(), side=200)])
    assert _fates(outcomes) == [("near_duplicate", "s/c", 2), ("exact_duplicate", "s/c", 0), ("kept", "", None)]


def test_more_images_than_may_be_held_are_looked_at_in_parts() -> None:
    images = [_image("s/0", _hash(), side=50), *(_image(f"s/1{i}", _hash(base=i + 1)) for i in range(3))]
    images.append(_image("s/2", _hash(1), side=500))
    for held, first in ((5, "near_duplicate"), (4, "kept")):
        outcomes = list(DuplicateFilter("near", 16, image_bytes=64_000_000 // held)(images))
        assert _fates(outcomes)[0][0] == first
        assert len(outcomes) == 5


@pytest.mark.parametrize("distance", [0, 16])
@pytest.mark.parametrize("seed", range(3))
def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch, seed: int, distance: int) -> None:
    """Copies, copies of copies and blank pictures, within blocks, across them, and across slides."""
    rng = np.random.default_rng(seed)
    hashes = planted(seed, count=200)
    images = [
        _image(
            f"slide{number // 70}/{number:03d}",
            hashes[int(rng.integers(number // 70 * 60, len(hashes)))],
            f"{rng.integers(150)}",
            blank=bool(rng.random() < 0.05),
        )
        for number in range(210)
    ]
    mixed: list[Candidate | Rejection] = list(images)
    for place in (0, 63, 64, 100):
        mixed.insert(
            place, Rejection(ImageFile(f"slide{place // 70}/bad{place}", f"slide{place // 70}", 1, 0), Status.FAILED)
        )
    expected = _expected(images, distance)
    assert len({fate[0] for fate in expected}) == 3
    for size in (1, 2, 7, 64, 1000):
        monkeypatch.setattr(dedup, "blocks_of", lambda items, *_, size=size: blocks_of(items, size))
        outcomes, _ = _run(mixed, distance=distance)
        assert [outcome.file for outcome in outcomes] == [outcome.file for outcome in mixed]
        checked = [outcome for outcome in outcomes if outcome.file.path.rpartition("/")[2].isdigit()]
        assert _fates(checked) == expected
