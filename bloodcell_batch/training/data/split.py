"""Splits that keep duplicates on one side and every class in the same proportions."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bloodcell_batch.cell_classes import ClassList
from bloodcell_batch.errors import TrainingError
from bloodcell_batch.progress import counted
from bloodcell_batch.training.data.labelled import LabelledImages
from bloodcell_batch.training.data.labelled_files import FREE, TEST, TRAIN, VALIDATION

_MIN_PER_CLASS = 10


@dataclass(frozen=True, slots=True)
class Split:
    """Index arrays (int64) of the three disjoint parts."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]


def joined_groups(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    """Group numbers (N,) of cells that share a group in either of two groupings, or are linked by others that do."""
    groups = np.unique(first, return_inverse=True)[1]
    while True:
        before = groups.copy()
        for key in (second, first):
            lowest: dict[int, int] = {}
            for name, group in zip(key.tolist(), groups.tolist(), strict=True):
                lowest[name] = min(group, lowest.get(name, group))
            groups = np.array([lowest[name] for name in key.tolist()])
        if (groups == before).all():
            return groups


def split_of(images: LabelledImages, parts: NDArray[np.int8], validation: float, test: float, seed: int) -> Split:
    """The split of a training: whole slides where the data name them, every class is on enough of them, and nothing
    says what belongs where; else as `stratified_split`.

    Args:
        images: what is split.
        parts: int8 (N,), what is known of each.
        validation: share of each class for the validation part.
        test: share of each class for the test part.
        seed: seed of the shuffle.

    Raises:
        TrainingError: a class is missing or has too few images to split.
    """
    if (images.slides != "").any() and (parts == FREE).all():
        split = _slide_split(images, validation, test, seed)
        if split is not None:
            return split
    return stratified_split(images.labels, images.classes, images.groups, validation, test, seed, parts)


def divided_slides(split: Split, slides: NDArray[np.str_]) -> int:
    """How many slides have images in more than one part."""
    named = [set(slides[part].tolist()) - {""} for part in (split.train, split.validation, split.test)]
    return len((named[0] & named[1]) | (named[0] & named[2]) | (named[1] & named[2]))


def _slide_split(images: LabelledImages, validation: float, test: float, seed: int) -> Split | None:
    """Slides whole, and copies with them, each class as near to its shares as that allows; None where a part would be
    without a class. The largest slides are placed first, each where its classes are rarest for the size of the part."""
    _check_counts(images.labels, images.classes)
    alone = np.char.add("\0", images.groups.astype(np.str_))
    slides = np.unique(np.where(images.slides == "", alone, images.slides), return_inverse=True)[1]
    groups = joined_groups(images.groups, slides)
    names = np.random.default_rng(seed).permutation(np.unique(groups))
    held = np.stack([np.bincount(images.labels[groups == name], minlength=len(images.classes)) for name in names])
    share = held / held.sum(axis=0)
    target = np.array([1 - validation - test, validation, test])[:, None]
    filled = np.zeros((len(target), len(images.classes)))
    placed = np.empty(len(images), dtype=np.int8)
    for row in np.argsort(-held.sum(axis=1), kind="stable"):
        cost = (((filled + share[row]) ** 2 - filled**2) / target).sum(axis=1)
        part = int(cost.argmin())
        filled[part] += share[row]
        placed[groups == names[row]] = part
    if not (filled > 0).all():
        return None
    return Split(*(np.flatnonzero(placed == part) for part in (TRAIN, VALIDATION, TEST)))


def stratified_split(
    labels: NDArray[np.int64],
    classes: ClassList,
    groups: NDArray[np.int64],
    validation: float,
    test: float,
    seed: int,
    parts: NDArray[np.int8] | None = None,
) -> Split:
    """Split every class in the same proportions, keeping duplicate groups on one side.

    Args:
        labels: int64 (N,) into `classes`.
        classes: all of which must be there.
        groups: int64 (N,); images of one group share a label and a part.
        validation: share of each class for the validation part.
        test: share of each class for the test part.
        seed: seed of the shuffle.
        parts: int8 (N,), where the data say what belongs where. Only free images are distributed then, so that the
            shares are met as far as they can be; a part that would stay empty is drawn from the training part.

    Raises:
        TrainingError: a class is missing or has too few images to split.
    """
    rng = np.random.default_rng(seed)
    given = np.full(len(labels), FREE, dtype=np.int8) if parts is None else parts
    placed = given.copy()
    _check_counts(labels, classes)
    for label in range(len(classes)):
        members = np.flatnonzero(labels == label)
        wanted = {VALIDATION: max(1, round(len(members) * validation))}
        wanted[TRAIN] = round(len(members) * (1 - validation - test))
        needed = [max(0, wanted[part] - int((given[members] == part).sum())) for part in (TRAIN, VALIDATION)]
        edges = (needed[0], needed[0] + needed[1])
        done = 0
        free = members[given[members] == FREE]
        for group in rng.permutation(np.unique(groups[free])):
            same = free[groups[free] == group]
            placed[same] = int(done >= edges[0]) + int(done >= edges[1])
            done += len(same)
        for part, share in ((VALIDATION, validation), (TEST, test)):
            if not (placed[members] == part).any():
                _draw(placed, members, groups, part, max(1, round(len(members) * share)), rng)
    return Split(*(np.flatnonzero(placed == part) for part in (TRAIN, VALIDATION, TEST)))


def stratified_folds(
    labels: NDArray[np.int64], classes: ClassList, groups: NDArray[np.int64], folds: int, seed: int
) -> list[NDArray[np.int64]]:
    """Disjoint index arrays that cover all images, each class spread evenly, duplicate groups together.

    Raises:
        TrainingError: a class has fewer duplicate groups than there are folds.
    """
    rng = np.random.default_rng(seed)
    fold_of = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        found = np.unique(groups[members])
        if len(found) < folds:
            hint = "Use fewer folds or more images."
            name = classes.names[int(label)]
            raise TrainingError(
                f"The class {name} has {counted(len(found), 'different image')} for {folds} folds.", hint=hint
            )
        filled = np.zeros(folds, dtype=np.int64)
        by_group: dict[int, list[int]] = defaultdict(list)
        for member in members:
            by_group[int(groups[member])].append(int(member))
        for group in rng.permutation(found):
            fold = int(filled.argmin())
            fold_of[by_group[int(group)]] = fold
            filled[fold] += len(by_group[int(group)])
    return [np.flatnonzero(fold_of == fold) for fold in range(folds)]


def _check_counts(labels: NDArray[np.int64], classes: ClassList) -> None:
    counts = np.bincount(labels, minlength=len(classes))
    few = [f"{name} has {count}" for name, count in zip(classes.names, counts, strict=True) if count < _MIN_PER_CLASS]
    if few:
        hint = f"Add images of these classes: each needs at least {_MIN_PER_CLASS} readable ones."
        raise TrainingError(f"Too few images to train on: {', '.join(few)}.", hint=hint)


def _draw(
    placed: NDArray[np.int8],
    members: NDArray[np.int64],
    groups: NDArray[np.int64],
    part: int,
    count: int,
    rng: np.random.Generator,
) -> None:
    """Move about `count` of a class's training images into `part`, whole groups at a time, but never the last one."""
    moved = 0
    shuffled = rng.permutation(np.unique(groups[members[placed[members] == TRAIN]]))
    for group in shuffled[:-1]:
        if moved >= count:
            break
        same = members[(groups[members] == group) & (placed[members] == TRAIN)]
        placed[same] = part
        moved += len(same)
