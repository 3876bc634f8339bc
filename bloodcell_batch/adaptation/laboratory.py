"""A laboratory's labelled cells: read, checked, and counted against the classes of the model that they shall change."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bloodcell_batch.cell_classes import CellClass, ClassList
from bloodcell_batch.config.adapt import AdaptConfig
from bloodcell_batch.errors import TrainingError, UsageError
from bloodcell_batch.labels.synonyms import KNOWN_CELLS
from bloodcell_batch.model.file import ModelFile
from bloodcell_batch.parallel.cpus import available_cpus
from bloodcell_batch.progress import NullObserver, Observer, counted
from bloodcell_batch.training.data.class_names import ClassNames
from bloodcell_batch.training.data.label_audit import audit
from bloodcell_batch.training.data.labelled import LabelledImages, load_labelled
from bloodcell_batch.training.data.labelled_files import FREE
from bloodcell_batch.training.data.seen import Seen, SeenPart
from bloodcell_batch.training.data.split import joined_groups

LEAST_CELLS, LEAST_CLASSES = 5, 2
_ENLARGED = 2


@dataclass(frozen=True, slots=True)
class LaboratoryCells:
    """Cells to adapt to.

    `inputs` uint8 (N, S, S, 3) are as the network takes them, `pixels` uint8 (N, 2S, 2S, 3) are larger, for training;
    `labels` int64 (N,) index `classes`, those of the new model; `digests` uint64 (N,) and `hashes` uint64 (N, 2, 4) are
    of the files, see `Seen`; `groups` int64
    (N,) are equal for cells of one slide, and for copies; `slides` is the number of slides, 0 where the data name none.
    """

    pixels: NDArray[np.uint8]
    inputs: NDArray[np.uint8]
    labels: NDArray[np.int64]
    digests: NDArray[np.uint64]
    hashes: NDArray[np.uint64]
    groups: NDArray[np.int64]
    slides: int
    classes: ClassList

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def counts(self) -> dict[str, int]:
        """Cells of each class that there are some of, in reading order."""
        return counts_in_reading_order(self.labels, self.classes)


def counts_in_reading_order(labels: NDArray[np.int64], classes: ClassList) -> dict[str, int]:
    """How many of `labels` (N,) are of each class, without those that have none."""
    counts = np.bincount(labels, minlength=len(classes)).tolist()
    return {name: count for name in classes.reading_order if (count := counts[classes.names.index(name)])}


def read_laboratory(
    data: Path, model: ModelFile, config: AdaptConfig, held_out: SeenPart, observer: Observer
) -> LaboratoryCells:
    """Read the labelled cells of `data`, and leave out what can't be used.

    Args:
        data: as for `train`.
        model: the model to be adapted.
        config: what labels mean, and what to do with contradictions.
        held_out: images that are kept for tests of the packaged model.
        observer: told what is left out.

    Raises:
        InputError: no labelled images.
        TrainingError: copies of one picture under two labels, or too few cells.
        UsageError: a declared class contradicts one of the model's.
    """
    base, preprocessing = model.header.class_list, model.header.preprocessing
    names = ClassNames(_possible_classes(base, config.declared), config.class_map)
    workers = available_cpus() if config.workers is None else config.workers
    larger = preprocessing.model_copy(update={"input_size": _ENLARGED * preprocessing.input_size})
    images, rejected = load_labelled(data, larger, workers, observer, names=names, images=config.images)
    images, _ = audit(images, rejected, config.conflicts, observer)
    images = _unknown_to_the_model(images, model, held_out, observer)
    images = _with_enough(images, base, observer)
    _check_counts(images, len(rejected))
    fresh, _ = load_labelled(
        data,
        preprocessing,
        workers,
        NullObserver(),
        only=frozenset(images.paths),
        names=ClassNames(names.classes, config.class_map),
        images=config.images,
    )
    place = {path: i for i, path in enumerate(fresh.paths)}
    order = np.array([place[path] for path in images.paths])
    named = images.slides != ""
    return LaboratoryCells(
        pixels=images.pixels,
        inputs=fresh.pixels[order],
        labels=images.labels,
        digests=images.digests,
        hashes=images.hashes,
        groups=_together(images.groups, images.slides, observer),
        slides=len(np.unique(images.slides[named])),
        classes=images.classes,
    )


def _possible_classes(base: ClassList, declared: Iterable[CellClass]) -> ClassList:
    """The model's classes, those that the user declares, and all known ones beside them."""
    more = {cell.name: cell for cell in declared}
    changed = [name for name, cell in more.items() if name in base.names and base.by_name[name] != cell]
    if changed:
        hint = "Leave it out of [classes], or give it the same role and parent."
        raise UsageError(f"The class {changed[0]!r} is another one in the model.", hint=hint)
    kinds = {cell.name for cell in (*base.classes, *more.values()) if cell.parent}
    for known in KNOWN_CELLS:
        if known.name not in base.names and known.parent not in kinds:
            more.setdefault(known.name, CellClass(known.name, known.role, known.parent or ""))
    try:
        return ClassList((*base.classes, *(cell for name, cell in more.items() if name not in base.names)))
    except ValueError as error:
        raise UsageError(
            f"The declared classes don't fit those of the model: {error}.", hint="Correct [classes]."
        ) from error


def _unknown_to_the_model(
    images: LabelledImages, model: ModelFile, held_out: SeenPart, observer: Observer
) -> LabelledImages:
    """Without the images that say nothing about another laboratory, or must not be learned."""
    seen = Seen.by(model)
    seen.warn_of_files_only(model.path, observer)
    found = seen.recognise(images.digests, images.hashes)
    known, counts = found.parts != FREE, found.counts()
    if counts.seen:
        cells = counted(counts.seen, "cell")
        observer.warn(f"left out {cells} that the model was trained or calibrated on ({counts.why()})")
    tested = Seen(held_out, Seen.nothing().validation).recognise(images.digests, images.hashes)
    kept_for_tests = (tested.parts != FREE) & ~known
    if kept_for_tests.any():
        cells = counted(int(kept_for_tests.sum()), "cell")
        observer.warn(
            f"left out {cells} of the test part of the packaged model (PBC): a model that has learned them could no "
            "longer be tested on them"
        )
    return images.take(np.flatnonzero(~known & ~kept_for_tests))


def _with_enough(images: LabelledImages, base: ClassList, observer: Observer) -> LabelledImages:
    """With the classes of the new model: a new one needs enough cells; a kind that has too few counts as its parent."""
    names = images.classes.names
    counts = np.bincount(images.labels, minlength=len(names))
    target = np.arange(len(names))
    for i, cell in enumerate(images.classes.classes):
        if not counts[i] or counts[i] >= LEAST_CELLS or cell.name in base.names:
            continue
        parent = cell.parent if cell.parent in names and cell.parent in base.names else ""
        target[i] = names.index(parent) if parent else -1
        what = f"count as {parent}" if parent else "are left out"
        observer.warn(f"{counts[i]} cells of {cell.name} {what}: a new class needs at least {LEAST_CELLS}")
    labels = target[images.labels]
    images = images.take(np.flatnonzero(labels >= 0))
    labels = labels[labels >= 0]
    there = {names[label] for label in labels}
    classes = ClassList(tuple(cell for cell in images.classes.classes if cell.name in base.names or cell.name in there))
    numbers = np.array([classes.names.index(name) if name in classes.names else -1 for name in names])
    return replace(images, labels=numbers[labels], classes=classes)


def _check_counts(images: LabelledImages, unreadable: int) -> None:
    counts = counts_in_reading_order(images.labels, images.classes)
    if sum(count >= LEAST_CELLS for count in counts.values()) >= LEAST_CLASSES:
        return
    found = [f"{name} {count}" for name, count in counts.items()]
    told = f"usable are {', '.join(found) or 'none'}" + (f"; {unreadable} files can't be read" if unreadable else "")
    hint = "Label more cells, or correct the labels; what was left out, and why, is said above."
    raise TrainingError(
        f"Adapting needs at least {LEAST_CELLS} cells of each of {LEAST_CLASSES} classes; {told}.", hint=hint
    )


def _together(copies: NDArray[np.int64], slides: NDArray[np.str_], observer: Observer) -> NDArray[np.int64]:
    """Groups of cells that must not be told apart by a cross-validation."""
    _, number = np.unique(slides, return_inverse=True)
    alone = len(slides) + np.arange(len(slides))
    groups = joined_groups(copies, np.where(slides == "", alone, number))
    if len(np.unique(groups)) >= LEAST_CLASSES:
        return groups
    observer.warn("all cells are of one slide: the figures below tell little about others")
    return copies
