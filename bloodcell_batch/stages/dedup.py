"""Dedup: within a slide every picture counts once; across slides a repeated picture is an alert, never dropped."""

from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

import numpy as np

from bloodcell_batch.images.hamming import as_words, distances, pairs_within
from bloodcell_batch.images.hash_index import HashIndex
from bloodcell_batch.parallel.blocks import blocks_of
from bloodcell_batch.records import (
    PIXEL_DIGEST_BYTES,
    DecodedImage,
    ImageFacts,
    ImageFile,
    KnownImage,
    Outcome,
    Prediction,
    Rejection,
    Status,
)
from bloodcell_batch.slides.matches import CrossSlideMatch

Candidate = DecodedImage | KnownImage


_HELD_IMAGES, _HELD_BYTES = 1024, 64_000_000


class DuplicateFilter:
    """Passes the largest of every group of equal pictures in a slide, the first of several as large, and turns the
    others into rejections.

    "Exact" compares the decoded pixels, "near" the 256-bit perceptual hashes. Blank pictures are nobody's copies: they
    show nothing that two of them could have in common.

    Images must arrive grouped by slide; they leave in order, a slide at a time, or a part of it where a slide has more
    images than may be held in memory: of two copies in different parts the first is kept.

    Args:
        mode: off, exact or near.
        distance: largest one of near duplicates, in bits.
        image_bytes: of the pixels of an image, of which about a thousand, or 64 MB, are held.
    """

    def __init__(self, mode: str, distance: int, image_bytes: int = 0) -> None:
        self._mode = mode
        self._distance = distance
        self._held = max(1, min(_HELD_IMAGES, _HELD_BYTES // max(1, image_bytes)))
        self._digests: dict[bytes, ImageFile] = {}
        self._index = HashIndex(distance)
        self._indexed: list[ImageFile] = []

    def __call__(self, outcomes: Iterable[Candidate | Rejection]) -> Iterator[Candidate | Rejection]:
        """Filter a stream in order; rejections pass unchanged."""
        if self._mode == "off":
            yield from outcomes
            return
        for _, slide in groupby(outcomes, key=lambda outcome: outcome.file.slide_id):
            self._digests, self._index, self._indexed = {}, HashIndex(self._distance), []
            for part in blocks_of(slide, self._held):
                yield from self._largest_first(part)

    def _largest_first(self, outcomes: list[Candidate | Rejection]) -> list[Candidate | Rejection]:
        """Some outcomes of the slide, in their order, though a picture is compared with those that are larger first."""
        order = sorted(range(len(outcomes)), key=lambda place: -_pixels(outcomes[place]))
        checked = list(outcomes)
        for block in blocks_of(order):
            for place, outcome in zip(block, self._filtered([outcomes[place] for place in block]), strict=True):
                checked[place] = outcome
        return checked

    def _filtered(self, outcomes: list[Candidate | Rejection]) -> list[Candidate | Rejection]:
        """Some outcomes of the slide."""
        images = [outcome for outcome in outcomes if not isinstance(outcome, Rejection)]
        hashed = [image for image in images if self._mode == "near" and not image.facts.quality.is_blank]
        near = _NearEarlier(self._index, [image.facts.phash for image in hashed], self._distance)
        places = {id(image): place for place, image in enumerate(hashed)}
        checked = [
            outcome if isinstance(outcome, Rejection) else self._check(outcome, near, places.get(id(outcome)))
            for outcome in outcomes
        ]
        self._index.add(near.kept_hashes)
        return checked

    def _check(self, image: Candidate, near: "_NearEarlier", place: int | None) -> Candidate | Rejection:
        if image.facts.quality.is_blank:
            return image
        first = self._digests.setdefault(image.facts.pixel_digest, image.file)
        if first is not image.file:
            return _duplicate(image, Status.EXACT_DUPLICATE, first, 0)
        if place is not None:
            hit = near.hit_or_keep(place)
            if hit is not None:
                position, distance = hit
                # A copy of a dropped copy must name the picture that was kept.
                self._digests[image.facts.pixel_digest] = self._indexed[position]
                return _duplicate(image, Status.NEAR_DUPLICATE, self._indexed[position], distance)
            self._indexed.append(image.file)
        return image


class _NearEarlier:
    """Which of some hashes are near one in the index, or near an earlier one among them that was kept.

    Everything is compared at once; what follows from it depends on the order, and is asked one by one.
    """

    def __init__(self, index: HashIndex, phashes: list[bytes], distance: int) -> None:
        self._indexed = len(index)
        self._phashes = phashes
        self._in_index = index.first_within(phashes)
        words = as_words(b"".join(phashes)).T
        gaps = distances(words[:, :, None], words[:, None, :])
        self._among: dict[int, list[tuple[int, int]]] = defaultdict(list)  # later place: earlier places, distances
        for earlier, later in np.argwhere(np.triu(gaps <= distance, 1)).tolist():
            self._among[later].append((earlier, int(gaps[earlier, later])))
        self._kept: dict[int, int] = {}  # place: position in the index

    @property
    def kept_hashes(self) -> list[bytes]:
        """Those that the index is to get, in order."""
        return [self._phashes[place] for place in self._kept]

    def hit_or_keep(self, place: int) -> tuple[int, int] | None:
        """(position, distance) of the earliest kept hash within the distance; without one, this hash is kept."""
        if self._in_index[place] is not None:
            return self._in_index[place]
        for earlier, gap in self._among.get(place, ()):
            if earlier in self._kept:
                return self._kept[earlier], gap
        self._kept[place] = self._indexed + len(self._kept)
        return None


class CrossSlideSearch:
    """Remembers the pictures that a run kept, and finds those that are in two slides.

    It looks at finished outcomes, so it does not matter where, or by which run, they were made: only their order does.
    64 bytes an image.
    """

    def __init__(self, mode: str, distance: int) -> None:
        self._mode = mode
        self._distance = distance
        self._passed = 0
        self._kept = array("q")
        self._digests = bytearray()
        self._hashes = bytearray()
        self._hashed = array("q")

    def __call__(self, outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
        """Remember the pictures of a stream and pass everything on."""
        for outcome in outcomes:
            first = outcome.is_first_of_its_file
            if first and isinstance(outcome, Prediction) and self._mode != "off":
                self._remember(outcome.facts)
            self._passed += first
            yield outcome

    def matches(self, files: Sequence[ImageFile]) -> tuple[CrossSlideMatch, ...]:
        """Pairs of kept images in different slides that are the same picture, in the order in which they came.

        `files` are those of all outcomes that have passed.
        """
        pairs = dict(self._equal_pixels())
        if self._mode == "near":
            words = as_words(bytes(self._hashes))
            for i, j, distance in pairs_within(words, self._distance):
                pairs.setdefault((self._hashed[i], self._hashed[j]), distance)
        return tuple(
            CrossSlideMatch(one.path, one.slide_id, other.path, other.slide_id, distance)
            for (i, j), distance in sorted(pairs.items())
            for one, other in [(files[self._kept[i]], files[self._kept[j]])]
            if one.slide_id != other.slide_id
        )

    def _remember(self, facts: ImageFacts) -> None:
        if facts.quality.is_blank:
            return
        if self._mode == "near":
            self._hashed.append(len(self._kept))
            self._hashes += facts.phash
        self._kept.append(self._passed)
        self._digests += facts.pixel_digest

    def _equal_pixels(self) -> Iterator[tuple[tuple[int, int], int]]:
        """((i, j), 0) for each image j and the first one with the same pixels, i."""
        digests = np.frombuffer(self._digests, dtype=np.dtype((np.void, PIXEL_DIGEST_BYTES)))
        _, first, group = np.unique(digests, return_index=True, return_inverse=True)
        earliest = first[group]
        later = np.flatnonzero(earliest != np.arange(len(digests)))
        for i, j in zip(earliest[later].tolist(), later.tolist(), strict=True):
            yield (i, j), 0


def _pixels(outcome: Candidate | Rejection) -> int:
    return outcome.facts.width * outcome.facts.height if outcome.facts else 0


def _duplicate(image: Candidate, status: Status, first: ImageFile, distance: int) -> Rejection:
    return Rejection(image.file, status, facts=image.facts, duplicate_of=first.path, duplicate_distance=distance)
