"""What a recipe is trained on: the labelled images, what is wrong with them, and which of them are for what."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bloodcell_batch.config.recipe import TrainConfig
from bloodcell_batch.errors import ModelFileError
from bloodcell_batch.images.preprocessing import Preprocessing
from bloodcell_batch.model.file import DEFAULT_MODEL, open_model
from bloodcell_batch.parallel.cpus import available_cpus
from bloodcell_batch.progress import NullObserver, Observer, counted
from bloodcell_batch.training.data.class_names import ClassNames
from bloodcell_batch.training.data.label_audit import Audit, audit
from bloodcell_batch.training.data.labelled import LabelledImages, load_labelled
from bloodcell_batch.training.data.labelled_files import FREE, TRAIN, VALIDATION
from bloodcell_batch.training.data.seen import Counts, Recognised, Seen, SeenPart
from bloodcell_batch.training.data.split import Split, divided_slides, split_of

CACHE_FACTOR = 2
"""Training images are kept at this multiple of the input size, so that magnified cells stay sharp."""
PACKAGED = "default"
"""In place of a file of initial weights: the model that ships with the package."""


def weights_path(path: Path) -> Path:
    """The file that `init_weights` names."""
    return DEFAULT_MODEL if str(path) == PACKAGED else path


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Audited images, the parts they fall into, and what was known of them before.

    Attributes:
        config: the recipe, which says where the decoded images are cached and how many threads read them.
        data: source of the images.
        images: decoded at `CACHE_FACTOR` times the network's input size.
        findings: of the audit.
        seen: by the initial weights, as far as it is known.
        known: which of the images that is.
        split: parts of `images`.
        labels: those of the data that have another name than their class, and that class.
    """

    config: TrainConfig
    data: Path
    images: LabelledImages
    findings: Audit
    seen: Seen
    known: Recognised
    split: Split
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def sizes(self) -> dict[str, int]:
        """Number of images in each part."""
        split = self.split
        return {"train": len(split.train), "validation": len(split.validation), "test": len(split.test)}

    def with_split(self, split: Split) -> "TrainingSet":
        """The same images in other parts."""
        return replace(self, split=split)

    def as_classified(self, index: NDArray[np.int64]) -> LabelledImages:
        """The images at `index` decoded again straight to the network's size, exactly as `classify` does it."""
        wanted, config = self.images.take(index), self.config
        # A cache is shared by the next training, which may test other images.
        only = None if config.cache else frozenset(wanted.paths)
        size, cache = Preprocessing(input_size=config.input_size), config.cache
        names = ClassNames(self.images.classes, config.class_map)
        fresh, _ = load_labelled(
            self.data,
            size,
            _workers(config),
            NullObserver(),
            only=only,
            names=names,
            cache=cache,
            images=config.images,
        )
        order = {path: i for i, path in enumerate(fresh.paths)}
        return fresh.take(np.array([order[path] for path in wanted.paths], dtype=np.int64))

    def seen_with_this(self) -> Seen:
        """What a model that was trained on this has seen, earlier trainings included."""
        parts = (self.images.take(index) for index in (self.split.train, self.split.validation))
        return Seen(*(SeenPart.of(part.digests, part.hashes) for part in parts)).and_also(self.seen)

    def tested_but_seen(self) -> Counts:
        """How many of the test images the initial weights had seen."""
        return self.known.counts(self.split.test)


def read_training_set(config: TrainConfig, data: Path, observer: Observer) -> TrainingSet:
    """Read the images of `data`, leave out what can't be used, and split them as the recipe says.

    Images that the initial weights know stay out of the parts that must be new to them.

    Raises:
        InputError: no labelled images.
        TrainingError: conflicting labels, or a class with too few images.
    """
    whole = read_unsplit(config, data, observer)
    counts = whole.known.counts()
    if counts.seen:
        told = f"known to the initial weights: {counted(counts.seen, 'image')} ({counts.why()})"
        observer.note(f"{told}, kept in the parts that they had, or that the data give them", **counts.as_dict())
    images, split = split_around(whole.known, whole.images, config)
    divided = divided_slides(split, images.slides)
    if divided:
        told = counted(divided, "slide has", "slides have")
        observer.warn(f"{told} cells in several parts, as too few have every class: the test figures are optimistic")
    return replace(whole, images=images, split=split)


def read_unsplit(config: TrainConfig, data: Path, observer: Observer) -> TrainingSet:
    """As `read_training_set`, but every image is in the training part: for those who split in other ways."""
    size = Preprocessing(input_size=CACHE_FACTOR * config.input_size)
    names = ClassNames(config.class_list, config.class_map)
    images, rejected = load_labelled(
        data,
        size,
        _workers(config),
        observer,
        names=names,
        cache=config.cache,
        images=config.images,
    )
    images, findings = audit(images, rejected, config.conflicts, observer)
    everything, nothing = np.arange(len(images)), np.empty(0, dtype=np.int64)
    split = Split(everything, nothing, nothing)
    seen = seen_by_initial_weights(config, observer)
    known = seen.recognise(images.digests, images.hashes)
    return TrainingSet(config, data, images, findings, seen, known, split, dict(names.found))


def _workers(config: TrainConfig) -> int:
    return available_cpus() if config.workers is None else config.workers


def seen_by_initial_weights(config: TrainConfig, observer: Observer) -> Seen:
    """What the recipe's initial weights have seen, as far as their files tell."""
    seen = Seen.nothing()
    for path in config.init_weights:
        try:
            model = open_model(weights_path(path))
        except ModelFileError:
            continue  # bare weights carry no such list; `read_weights` says whether they can be read at all
        known = Seen.by(model)
        known.warn_of_files_only(model.path, observer)
        seen = seen.and_also(known)
    return seen


def split_around(known: Recognised, images: LabelledImages, config: TrainConfig) -> tuple[LabelledImages, Split]:
    """The images, those that are known in the parts that they had, and the split of a training with this recipe.

    Raises:
        TrainingError: a class has too few images.
    """
    parts = images.parts.copy()
    for code in (TRAIN, VALIDATION):
        same = np.isin(images.groups, images.groups[known.parts == code])
        parts[same & (parts == FREE)] = code
    fractions = (config.validation_fraction, config.test_fraction)
    split = split_of(images, parts, *fractions, config.seed)
    return replace(images, parts=parts), split
