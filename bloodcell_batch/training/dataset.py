"""Labelled images: found by folder, decoded once into memory, audited, and split without leaking duplicates."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bloodcell_batch.errors import InputError, TrainingError
from bloodcell_batch.hamming import as_words, pairs_within
from bloodcell_batch.labels import CLASS_NAMES
from bloodcell_batch.preprocessing import DecodeLimits, Preprocessing
from bloodcell_batch.progress import Observer
from bloodcell_batch.records import DecodedImage, Rejection
from bloodcell_batch.stages.decode import decode_ahead, make_decoder
from bloodcell_batch.stages.scan import scan

DUPLICATE_DISTANCE = 16
_MIN_PER_CLASS = 10
_LISTED = 10


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """Decoded images with labels: `pixels` uint8 (N, S, S, 3), `labels` int64 (N,) into `CLASS_NAMES`,
    `digests` uint64 (N,), the first 8 bytes of each file's SHA-256, `groups` int64 (N,), equal for duplicates."""

    paths: tuple[str, ...]
    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    digests: NDArray[np.uint64]
    groups: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, index: NDArray[np.int64]) -> "LabelledImages":
        """The images at `index`, in its order."""
        paths = tuple(self.paths[int(i)] for i in index)
        return LabelledImages(paths, self.pixels[index], self.labels[index], self.digests[index], self.groups[index])


@dataclass(frozen=True, slots=True)
class Split:
    """Index arrays (int64) of the three disjoint parts."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]


def class_folder_rule(root: Path) -> dict[str, int]:
    """Folder name -> class index, for the folders of `root` that are named after classes.

    Raises:
        InputError: no folder of `root` is named after a class.
    """
    found = {name: i for i, name in enumerate(CLASS_NAMES) if (root / name).is_dir()}
    if not found:
        hint = f"Put the images into folders named after their class: {', '.join(CLASS_NAMES)}."
        raise InputError(f"{root} has no folder that is named after a class.", hint=hint)
    return found


def load_labelled(
    root: Path,
    preprocessing: Preprocessing,
    workers: int,
    observer: Observer,
    only: frozenset[str] | None = None,
) -> tuple[LabelledImages, tuple[Rejection, ...]]:
    """Decode every image in the class folders of `root` once, on the same path as `classify`.

    Folders with other names are reported and left out. With `only`, just those paths are read.

    Returns:
        The images, and the files that could not be decoded.
    """
    found = scan(root)
    classes = class_folder_rule(root)
    foreign = sorted({file.path.split("/")[0] for file in found.files} - set(classes))
    if foreign:
        observer.warn(f"left out, not named after a class: {', '.join(foreign[:_LISTED])}")
    files = [file for file in found.files if file.path.split("/")[0] in classes and (only is None or file.path in only)]
    decoder = make_decoder(found.root, preprocessing, DecodeLimits())
    side = preprocessing.input_size
    pixels = np.empty((len(files), side, side, 3), dtype=np.uint8)
    kept: list[DecodedImage] = []
    rejected: list[Rejection] = []
    observer.started("reading images", len(files))
    for done, outcome in enumerate(decode_ahead(files, decoder, workers, window=256), start=1):
        if isinstance(outcome, Rejection):
            rejected.append(outcome)
        else:
            pixels[len(kept)] = outcome.pixels
            kept.append(outcome)
        observer.advanced(done)
    observer.finished()
    images = LabelledImages(
        paths=tuple(image.file.path for image in kept),
        pixels=pixels[: len(kept)],
        labels=np.array([classes[image.file.path.split("/")[0]] for image in kept], dtype=np.int64),
        digests=np.array([short_digest(image.facts.sha256) for image in kept], dtype=np.uint64),
        groups=_duplicate_groups(kept),
    )
    return images, tuple(rejected)


def short_digest(sha256: str) -> int:
    """The first 8 bytes of a hex SHA-256 as a number: enough to recognise a training image again."""
    return int(sha256[:16], 16)


def resolve_conflicts(images: LabelledImages, action: str, observer: Observer) -> LabelledImages:
    """Drop or refuse duplicate groups whose copies carry different labels.

    Raises:
        TrainingError: there are such groups and `action` is "error".
    """
    labels_of: dict[int, set[int]] = defaultdict(set)
    for group, label in zip(images.groups, images.labels, strict=True):
        labels_of[int(group)].add(int(label))
    conflicting = np.array([len(labels_of[int(group)]) > 1 for group in images.groups], dtype=bool)
    if not conflicting.any():
        return images
    names = [images.paths[int(i)] for i in np.flatnonzero(conflicting)]
    listed = ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")
    if action == "error":
        hint = 'Correct the labels, or set conflicts = "drop" in the recipe to leave these images out.'
        raise TrainingError(
            f"{len(names)} images are copies of each other under different labels: {listed}.", hint=hint
        )
    observer.warn(f"left out {len(names)} images that are copies under different labels: {listed}")
    return images.take(np.flatnonzero(~conflicting))


def stratified_split(
    labels: NDArray[np.int64], groups: NDArray[np.int64], validation: float, test: float, seed: int
) -> Split:
    """Split every class in the same proportions, keeping duplicate groups on one side.

    Args:
        labels: int64 (N,).
        groups: int64 (N,); images of one group share a label.
        validation: share of each class for the validation part.
        test: share of each class for the test part.
        seed: seed of the shuffle.

    Raises:
        TrainingError: a class is missing or has too few images to split.
    """
    rng = np.random.default_rng(seed)
    parts: tuple[list[int], list[int], list[int]] = ([], [], [])
    for label, name in enumerate(CLASS_NAMES):
        members = np.flatnonzero(labels == label)
        if len(members) < _MIN_PER_CLASS:
            hint = f"Every class needs at least {_MIN_PER_CLASS} readable images: {', '.join(CLASS_NAMES)}."
            raise TrainingError(f"The class {name} has {len(members)} images.", hint=hint)
        wanted = (round(len(members) * (1 - validation - test)), max(1, round(len(members) * validation)))
        edges = (wanted[0], wanted[0] + wanted[1])
        placed = 0
        for group in rng.permutation(np.unique(groups[members])):
            same = members[groups[members] == group].tolist()
            parts[int(placed >= edges[0]) + int(placed >= edges[1])].extend(same)
            placed += len(same)
    train, val, tested = (np.array(sorted(part), dtype=np.int64) for part in parts)
    return Split(train, val, tested)


def _duplicate_groups(images: list[DecodedImage]) -> NDArray[np.int64]:
    """Group number per image: near duplicates, and their near duplicates, share one."""
    parent = list(range(len(images)))

    def find(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    words = as_words(b"".join(image.facts.phash for image in images))
    for i, j, _ in pairs_within(words, DUPLICATE_DISTANCE):
        parent[find(j)] = find(i)
    return np.array([find(i) for i in range(len(images))], dtype=np.int64)
