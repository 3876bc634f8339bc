"""What a model has seen: the files it was trained and calibrated on, and their pictures in whatever other file.

The model file holds, for each part, the digests of the files (`seen.train`, uint64 (N,), ascending) and beside them the
perceptual hashes of their pictures (`seen.train_hashes`, uint64 (N, 2, 4), see `hashes_of`).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bloodcell_batch.images.hamming import HASH_WORDS, as_words
from bloodcell_batch.images.hash_index import HashIndex
from bloodcell_batch.images.perceptual_hash import HASH_BYTES, middle_of, perceptual_hashes, turned
from bloodcell_batch.model.file import SEEN_PREFIX, ModelFile
from bloodcell_batch.progress import Observer, counted
from bloodcell_batch.records import LoadedImage
from bloodcell_batch.stages.decode import measure_quality
from bloodcell_batch.training.data.labelled_files import FREE, TRAIN, VALIDATION

SAME_PICTURE_DISTANCE = 40
"""Bits of 256, between copies of a cell (hardly ever above 22) and other cells (62 at least); see decisions.md."""
PARTS = {"train": TRAIN, "validation": VALIDATION}
_HASHES = "_hashes"
_WHOLE, _MIDDLE = 0, 1


def hashes_of(image: LoadedImage) -> bytes:
    """Perceptual hashes of the whole picture and of its middle, by which copies and MedMNIST's thumbnails are found.

    Zeros stand for what is blank, whose hash is rounding noise.
    """
    thumbnails = np.stack([image.thumbnail, middle_of(image.thumbnail, image.width, image.height)])
    return b"".join(
        bytes(HASH_BYTES) if quality.is_blank else phash
        for phash, quality in zip(perceptual_hashes(thumbnails), measure_quality(thumbnails), strict=True)
    )


def as_hashes(rows: Sequence[bytes]) -> NDArray[np.uint64]:
    """What `hashes_of` gave for N images, as an array (N, 2, 4)."""
    return as_words(b"".join(rows)).reshape(-1, 2, HASH_WORDS)


@dataclass(frozen=True, slots=True)
class Counts:
    """How many images are known by their file, how many as the same picture in another file, how many not at all."""

    same_file: int
    same_picture: int
    never_seen: int = 0

    @property
    def seen(self) -> int:
        """The known ones, either way."""
        return self.same_file + self.same_picture

    def why(self) -> str:
        """How the seen ones are known, in words."""
        return f"{self.same_file:,} the same file, {self.same_picture:,} the same picture in another file"

    def as_dict(self) -> dict[str, int]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Recognised:
    """What is known of N images: `parts` int8 (N,), the part that each was in, FREE where it was in none; `same_file`
    bool (N,), whether it was this very file."""

    parts: NDArray[np.int8]
    same_file: NDArray[np.bool_]

    def counts(self, index: NDArray[np.intp] | None = None) -> Counts:
        """Of all images, or of those at `index`."""
        at = slice(None) if index is None else index
        seen, files = self.parts[at] != FREE, self.same_file[at]
        return Counts(int(files.sum()), int((seen & ~files).sum()), int((~seen).sum()))


@dataclass(frozen=True, slots=True)
class SeenPart:
    """Files of one part: `digests` uint64 (N,), ascending, and `hashes` uint64 (N, 2, 4), zeros where only the file is
    known."""

    digests: NDArray[np.uint64]
    hashes: NDArray[np.uint64]

    @classmethod
    def of(cls, digests: NDArray[np.uint64], hashes: NDArray[np.uint64]) -> Self:
        """Files in any order, each once or several times."""
        # Of equal files, one whose picture is known.
        order = np.argsort(~hashes.any(axis=(1, 2)), kind="stable")
        unique, first = np.unique(digests[order], return_index=True)
        return cls(unique, hashes[order[first]])

    @property
    def known_by_file_only(self) -> int:
        """Number of files whose pictures aren't known."""
        return int((~self.hashes.any(axis=(1, 2))).sum())

    def has_pictures(self, hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Whether each of M pictures, uint64 (M, 2, 4), is one of this part: as it is, as its middle, or as a picture
        of which one of this part is the middle; upright, turned by right angles or mirrored; bool (M,)."""
        whole, both = HashIndex(SAME_PICTURE_DISTANCE), HashIndex(SAME_PICTURE_DISTANCE)
        _fill(whole, self.hashes[:, _WHOLE])
        _fill(both, self.hashes.reshape(-1, HASH_WORDS))
        found = np.zeros(len(hashes), dtype=bool)
        ways = [(_WHOLE, both), (_MIDDLE, whole)]
        for place, index in ways:
            asked = np.flatnonzero(hashes[:, place].any(axis=1))
            for queries in turned(hashes[asked, place]):
                left = ~found[asked]
                hits = index.first_within([row.tobytes() for row in queries[left]])
                found[asked[left]] = [hit is not None for hit in hits]
        return found


@dataclass(frozen=True, slots=True)
class Seen:
    """What a model has seen in training and in validation (choice of the epoch, calibration)."""

    train: SeenPart
    validation: SeenPart

    @classmethod
    def nothing(cls) -> Self:
        """Nothing was seen, or nothing is known of it."""
        empty = SeenPart(np.empty(0, dtype=np.uint64), np.empty((0, 2, HASH_WORDS), dtype=np.uint64))
        return cls(empty, empty)

    @classmethod
    def by(cls, model: ModelFile) -> Self:
        """What the model file says; those of releases before the hashes know files only."""
        tensors = model.load_tensors(SEEN_PREFIX)
        parts = []
        for name in PARTS:
            digests = tensors.get(name, np.empty(0, dtype=np.uint64))
            unknown = np.zeros((len(digests), 2, HASH_WORDS), dtype=np.uint64)
            parts.append(SeenPart(digests, tensors.get(name + _HASHES, unknown)))
        return cls(*parts)

    def and_also(self, other: "Seen") -> "Seen":
        """What one or the other has seen."""
        pairs = ((self.train, other.train), (self.validation, other.validation))
        return Seen(
            *(
                SeenPart.of(np.concatenate([a.digests, b.digests]), np.concatenate([a.hashes, b.hashes]))
                for a, b in pairs
            )
        )

    def warn_of_files_only(self, model: Path, observer: Observer) -> None:
        """Tell of files whose pictures the model file does not know."""
        files = self.train.known_by_file_only + self.validation.known_by_file_only
        if files:
            observer.warn(
                f"{model} knows {counted(files, 'image')} of its training by their bytes only: copies of them in other "
                "files count as unseen. Models trained by this release know the pictures."
            )

    def tensors(self) -> dict[str, NDArray[Any]]:
        """For the model file, without the prefix."""
        parts = {"train": self.train, "validation": self.validation}
        return {name: part.digests for name, part in parts.items()} | {
            name + _HASHES: part.hashes for name, part in parts.items()
        }

    def recognise(self, digests: NDArray[np.uint64], hashes: NDArray[np.uint64]) -> Recognised:
        """What is known of N images with these digests (N,) and hashes (N, 2, 4).

        The very file counts before the same picture in another, training before validation.
        """
        parts = np.full(len(digests), FREE, dtype=np.int8)
        known = ((VALIDATION, self.validation), (TRAIN, self.train))
        for code, part in known:
            parts[np.isin(digests, part.digests)] = code
        same_file = parts != FREE
        for code, part in reversed(known):
            left = np.flatnonzero(parts == FREE)
            parts[left[part.has_pictures(hashes[left])]] = code
        return Recognised(parts, same_file)


def _fill(index: HashIndex, hashes: NDArray[np.uint64]) -> None:
    index.add([row.tobytes() for row in hashes[hashes.any(axis=1)]])
