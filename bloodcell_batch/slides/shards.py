"""Splitting a run into shards that need not know of each other: whole slides, by a hash of their name."""

import hashlib
import re
from dataclasses import dataclass, replace

from bloodcell_batch.files.names import name_bytes
from bloodcell_batch.slides.file_list import FileList
from bloodcell_batch.slides.found import ScanResult


@dataclass(frozen=True, slots=True)
class Shard:
    """Part `index` of `count`, counted from 0."""

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def owns(self, name: str) -> bool:
        """True for the slides (and ignored files) of this shard. It depends on the name alone, so other slides may
        come and go."""
        return int.from_bytes(hashlib.sha256(name_bytes(name)).digest(), "big") % self.count == self.index


def parse_shard(text: str) -> Shard:
    """The shard that `i/n` names; ValueError unless 0 <= i < n."""
    match = re.fullmatch(r"(\d+)/(\d+)", text, re.ASCII)
    if match is None:
        raise ValueError("a shard is i/n, for example 0/4")
    shard = Shard(int(match[1]), int(match[2]))
    if shard.index >= shard.count:
        raise ValueError(f"shards are counted from 0, so the last of {shard.count} is {shard.count - 1}/{shard.count}")
    return shard


def share_of(found: ScanResult, shard: Shard) -> ScanResult:
    """What a shard has to do of what was found. Unreadable folders are every shard's: who knows their slides?"""
    return replace(
        found,
        files=FileList(file for file in found.files if shard.owns(file.slide_id)),
        ignored=tuple(file for file in found.ignored if shard.owns(file.path)),
        listing_sha256=_listing_sha256(found),
    )


def _listing_sha256(found: ScanResult) -> str:
    """Of the names, slides and sizes of all images found, and the folders that hid some: shards fit together if they
    saw the same. Ignored files don't count: the results of other shards may lie among them.
    """
    digest = hashlib.sha256()
    for file in found.files:
        digest.update(name_bytes(f"{file.slide_id}\0{file.path}\0{file.size_bytes}\0"))
    for folder in found.unreadable_folders:
        digest.update(name_bytes(f"{folder}\0"))
    return digest.hexdigest()
