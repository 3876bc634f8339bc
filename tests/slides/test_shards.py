import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bloodcell_batch.files.names import name_bytes, name_text
from bloodcell_batch.records import ImageFile
from bloodcell_batch.slides.found import IgnoredFile, ScanResult
from bloodcell_batch.slides.shards import Shard, parse_shard, share_of

SLIDES = [f"S-{number}" for number in range(200)]


def found(*names: str, size: int = 5) -> ScanResult:
    files = tuple(ImageFile(f"{name}/a.jpg", name, size, 0) for name in names)
    return ScanResult("/slides", files, tuple(IgnoredFile(f"{name}/x.txt", "suffix") for name in names), ("locked",))


@given(st.text(st.characters(codec="utf-8")) | st.binary().map(name_text), st.integers(1, 9))
def test_every_name_is_of_exactly_one_shard(name: str, count: int) -> None:
    assert sum(Shard(index, count).owns(name) for index in range(count)) == 1
    assert name_text(name_bytes(name)) == name


def test_the_assignment_is_as_documented() -> None:
    for slide in SLIDES:
        owner = int(hashlib.sha256(slide.encode()).hexdigest(), 16) % 7
        assert Shard(owner, 7).owns(slide)


def test_the_shares_are_the_whole_and_about_equal() -> None:
    shares = [share_of(found(*SLIDES), Shard(index, 4)) for index in range(4)]
    assert sorted(file.slide_id for share in shares for file in share.files) == sorted(SLIDES)
    assert sum(len(share.ignored) for share in shares) == 200
    assert all(30 <= len(share.files) <= 70 for share in shares)
    assert all(share.unreadable_folders == ("locked",) for share in shares)


def test_a_slide_stays_where_it_is_when_others_come_and_go() -> None:
    some = share_of(found(*SLIDES[::3]), Shard(1, 4))
    every = share_of(found(*SLIDES), Shard(1, 4))
    assert set(some.files) == {file for file in every.files if file.slide_id in SLIDES[::3]}


def test_the_listing_tells_what_was_found_not_whose_share_it_is() -> None:
    digests = {share_of(found(*SLIDES), Shard(index, 4)).listing_sha256 for index in range(4)}
    assert len(digests) == 1
    assert share_of(replace(found(*SLIDES), ignored=()), Shard(0, 4)).listing_sha256 in digests
    others = (found(*SLIDES[1:]), found(*SLIDES, size=6), found(*SLIDES[::-1]))
    assert not digests & {share_of(other, Shard(0, 4)).listing_sha256 for other in others}


@pytest.mark.parametrize("text", ["4/4", "1", "-1/4", "0/0", "a/b", "1/2/3", "", "\u0661/4", "1/4 "])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="shard"):
        parse_shard(text)


def test_a_shard_reads_as_it_is_written() -> None:
    assert str(parse_shard("03/12")) == "3/12"
