"""What is wrong with labelled images, found before a training spends hours on them."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from bloodcell_batch.errors import TrainingError
from bloodcell_batch.progress import Observer, counted
from bloodcell_batch.records import Rejection
from bloodcell_batch.training.data.labelled import LabelledImages
from bloodcell_batch.training.data.labelled_files import FREE

_LISTED = 10


@dataclass(frozen=True, slots=True)
class Audit:
    """Findings: `classes` are the usable images per class; `unreadable` path -> why; `conflicting` are the paths of
    copies under different labels; `copies` counts images beyond the first of each duplicate group; `moved` are the
    paths of copies that the data had put into two parts, and that all went to the training part."""

    classes: dict[str, int]
    unreadable: dict[str, str]
    conflicting: tuple[str, ...]
    copies: int
    moved: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def audit(
    images: LabelledImages, rejected: Sequence[Rejection], action: str, observer: Observer
) -> tuple[LabelledImages, Audit]:
    """Examine labelled images, and leave out what can't be used.

    Args:
        images: decoded, with duplicate groups.
        rejected: what could not be decoded.
        action: "error" or "drop", for copies under different labels.
        observer: told of every finding.

    Raises:
        TrainingError: there are such copies and `action` is "error"; the text lists them.
    """
    for bad in rejected:
        observer.warn(f"left out {bad.file.path}: {bad.reason} ({bad.detail})")
    images, conflicting = _resolve_conflicts(images, action, observer)
    images, moved = _join_parts(images)
    if moved:
        copies = counted(len(moved), "copy", "copies")
        observer.warn(f"{copies} of training images moved out of the held-out parts: {_listed(moved)}")
    counts = np.bincount(images.labels, minlength=len(images.classes)).tolist()
    found = Audit(
        classes=dict(zip(images.classes.names, counts, strict=True)),
        unreadable={bad.file.path: f"{bad.reason} ({bad.detail})" for bad in rejected},
        conflicting=conflicting,
        copies=len(images) - len(np.unique(images.groups)),
        moved=moved,
    )
    text = ", ".join(f"{name} {found.classes[name]:,}" for name in images.classes.reading_order if found.classes[name])
    observer.note(f"images: {text}; copies among them: {found.copies}", **found.classes)
    return images, found


def _resolve_conflicts(
    images: LabelledImages, action: str, observer: Observer
) -> tuple[LabelledImages, tuple[str, ...]]:
    labels_of: dict[int, set[int]] = defaultdict(set)
    for group, label in zip(images.groups, images.labels, strict=True):
        labels_of[int(group)].add(int(label))
    conflicting = np.array([len(labels_of[int(group)]) > 1 for group in images.groups], dtype=bool)
    names = tuple(images.paths[int(i)] for i in np.flatnonzero(conflicting))
    if not names:
        return images, ()
    if action == "error":
        hint = 'Correct the labels, or set conflicts = "drop" in the recipe to leave these images out.'
        message = f"{len(names):,} images are copies of each other under different labels: {_listed(names)}."
        raise TrainingError(message, hint=hint)
    observer.warn(f"left out {len(names)} images that are copies under different labels: {_listed(names)}")
    return images.take(np.flatnonzero(~conflicting)), names


def _join_parts(images: LabelledImages) -> tuple[LabelledImages, tuple[str, ...]]:
    """Put every duplicate group into one part: the first that one of its images has, training before held-out.

    A copy of a training image in the test part would be a question whose answer was learned.
    """
    parts = images.parts.copy()
    # Training is 0 and free is -1, so the smallest part from 0 upwards wins.
    lowest: dict[int, int] = {}
    for group, part in zip(images.groups.tolist(), parts.tolist(), strict=True):
        if part != FREE:
            lowest[group] = min(lowest.get(group, part), part)
    joined = np.array([lowest.get(group, FREE) for group in images.groups.tolist()], dtype=np.int8)
    moved = np.flatnonzero((joined != parts) & (parts != FREE))
    names = tuple(images.paths[int(i)] for i in moved)
    return replace(images, parts=joined), names


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
