"""Labelled images in memory, or mapped into it: read once, on the same path as `classify`."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bloodcell_batch.cell_classes import ClassList
from bloodcell_batch.images.hamming import as_words, pairs_within
from bloodcell_batch.images.preprocessing import Preprocessing
from bloodcell_batch.progress import Observer
from bloodcell_batch.records import DecodedImage, ImageFile, Rejection
from bloodcell_batch.stages.decode import Reader, decode_ahead, describe, loader_of
from bloodcell_batch.training.data.class_names import ClassNames
from bloodcell_batch.training.data.image_cache import Decoded, cached_images, pixel_store
from bloodcell_batch.training.data.labelled_files import Source
from bloodcell_batch.training.data.seen import as_hashes, hashes_of
from bloodcell_batch.training.data.sources import open_source

DUPLICATE_DISTANCE = 16
_WINDOW = 256


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """Decoded images with labels.

    `pixels` uint8 (N, S, S, 3), `labels` int64 (N,) into `classes`, `digests` uint64 (N,), the first 8 bytes of
    each file's SHA-256, `hashes` uint64 (N, 2, 4), see `seen.hashes_of`, `groups` int64 (N,), equal for duplicates,
    `parts` int8 (N,), see `labelled_files.FREE`, `laboratories` and `slides` str (N,), where they come from, "" where
    the data don't tell.
    """

    paths: tuple[str, ...]
    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    digests: NDArray[np.uint64]
    hashes: NDArray[np.uint64]
    groups: NDArray[np.int64]
    parts: NDArray[np.int8]
    laboratories: NDArray[np.str_]
    slides: NDArray[np.str_]
    classes: ClassList

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, index: NDArray[np.int64]) -> "LabelledImages":
        """The images at `index`, in its order."""
        paths = tuple(self.paths[int(i)] for i in index)
        return LabelledImages(
            paths,
            self.pixels[index],
            self.labels[index],
            self.digests[index],
            self.hashes[index],
            self.groups[index],
            self.parts[index],
            self.laboratories[index],
            self.slides[index],
            self.classes,
        )


def load_labelled(
    data: Path,
    preprocessing: Preprocessing,
    workers: int,
    observer: Observer,
    *,
    only: frozenset[str] | None = None,
    names: ClassNames | None = None,
    cache: Path | None = None,
    images: Path | None = None,
) -> tuple[LabelledImages, tuple[Rejection, ...]]:
    """Decode every labelled image of `data` once.

    Args:
        data: see `open_source`.
        preprocessing: gives the size of `pixels`.
        workers: decoding threads.
        observer: told of progress and of what is left out.
        only: read just these paths.
        names: see `open_source`; those that the data have if not given.
        cache: folder that keeps the decoded images; another call with the same files finds them there.
        images: see `open_source`.

    Returns:
        The images, and the files that could not be decoded.
    """
    source = open_source(data, names or ClassNames(), observer, images)
    if only is not None:
        source = replace(source, entries=tuple(entry for entry in source.entries if entry.file.path in only))

    def decode(store: NDArray[np.uint8]) -> Decoded:
        return _decode(source, preprocessing, workers, observer, store)

    files = [entry.file for entry in source.entries]
    if cache is None:
        shape = (len(files), preprocessing.input_size, preprocessing.input_size, 3)
        decoded = decode(pixel_store(shape))
    else:
        decoded = cached_images(cache, files, preprocessing, decode, observer)
    entries = {entry.file.path: entry for entry in source.entries}
    kept = [entries[path] for path in decoded.paths]
    labelled = LabelledImages(
        paths=decoded.paths,
        pixels=decoded.pixels,
        labels=np.array([entry.label for entry in kept], dtype=np.int64),
        digests=np.array([short_digest(sha256) for sha256 in decoded.sha256], dtype=np.uint64),
        hashes=decoded.hashes,
        groups=decoded.groups,
        parts=np.array([entry.part for entry in kept], dtype=np.int8),
        laboratories=np.array([entry.laboratory for entry in kept], dtype=np.str_),
        slides=np.array([entry.slide for entry in kept], dtype=np.str_),
        classes=source.classes,
    )
    return labelled, decoded.rejected


def short_digest(sha256: str) -> int:
    """The first 8 bytes of a hex SHA-256 as a number: enough to recognise a training image again."""
    return int(sha256[:16], 16)


def hashing_decoder(
    read: Reader, preprocessing: Preprocessing
) -> Callable[[ImageFile], tuple[DecodedImage, bytes] | Rejection]:
    """A function that decodes one image, and hashes it: see `seen.hashes_of`."""
    load = loader_of(read, preprocessing)

    def decode(file: ImageFile) -> tuple[DecodedImage, bytes] | Rejection:
        loaded = load(file)
        if isinstance(loaded, Rejection):
            return loaded
        return describe([loaded])[0], hashes_of(loaded)

    return decode


def _decode(
    source: Source, preprocessing: Preprocessing, workers: int, observer: Observer, store: NDArray[np.uint8]
) -> Decoded:
    kept: list[tuple[str, str, bytes, bytes]] = []
    rejected: list[Rejection] = []
    files = [entry.file for entry in source.entries]
    decoder = hashing_decoder(source.read, preprocessing)
    observer.started("reading images", len(files))
    for done, outcome in enumerate(decode_ahead(files, decoder, workers, _WINDOW), start=1):
        if isinstance(outcome, Rejection):
            rejected.append(outcome)
        else:
            image, hashed = outcome
            store[len(kept)] = image.pixels
            kept.append((image.file.path, image.facts.sha256, image.facts.phash, hashed))
        observer.advanced(done)
    observer.finished()
    return Decoded(
        paths=tuple(path for path, _, _, _ in kept),
        sha256=tuple(sha256 for _, sha256, _, _ in kept),
        hashes=as_hashes([hashed for _, _, _, hashed in kept]),
        groups=_duplicate_groups([phash for _, _, phash, _ in kept]),
        rejected=tuple(rejected),
        pixels=store[: len(kept)],
    )


def _duplicate_groups(hashes: list[bytes]) -> NDArray[np.int64]:
    """Group number per image: near duplicates, and their near duplicates, share one."""
    parent = list(range(len(hashes)))

    def find(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for i, j, _ in pairs_within(as_words(b"".join(hashes)), DUPLICATE_DISTANCE):
        parent[find(j)] = find(i)
    return np.array([find(i) for i in range(len(hashes))], dtype=np.int64)
