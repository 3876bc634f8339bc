"""SMOTE (Chawla et al., 2002): synthetic examples between neighbours of one class until all classes are equally large.

Only ever applied to training images, after the split: a synthetic image between a training and a test image would
carry the answer over.
"""

import numpy as np
from numpy.typing import NDArray

from bloodcell_batch.cell_classes import ClassList
from bloodcell_batch.errors import TrainingError, UsageError
from bloodcell_batch.model.architectures import EXTRA_HINT
from bloodcell_batch.training.data.labelled import LabelledImages
from bloodcell_batch.training.data.labelled_files import TRAIN

_NEIGHBOURS = 5


def smote(
    features: NDArray[np.float32], labels: NDArray[np.int64], classes: ClassList, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Features (N, D) and labels (N,) into `classes`, and synthetic rows behind the real ones: (M, D), (M,), M >= N.

    Raises:
        TrainingError: a class has fewer than two examples.
        UsageError: imbalanced-learn is not installed.
    """
    try:
        from imblearn.over_sampling import SMOTE  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise UsageError("imbalanced-learn is not installed.", hint=EXTRA_HINT) from error
    counts = np.bincount(labels, minlength=len(classes))
    fewest = int(counts[counts > 0].min())
    if fewest < 2:
        name = classes.names[int(np.flatnonzero(counts == fewest)[0])]
        raise TrainingError(f"SMOTE needs two training images per class; {name} has {fewest}.", hint="Add images.")
    more, drawn = SMOTE(k_neighbors=min(_NEIGHBOURS, fewest - 1), random_state=seed).fit_resample(features, labels)
    return more.astype(np.float32, copy=False), drawn.astype(np.int64, copy=False)


def smote_on_pixels(images: LabelledImages, seed: int) -> LabelledImages:
    """The images and synthetic ones, weighted means of two of a class, pixel by pixel.

    Takes four bytes per pixel and channel of the larger set of images in memory, twice.
    """
    flat = np.ascontiguousarray(images.pixels).reshape(len(images), -1).astype(np.float32)
    more, labels = smote(flat, images.labels, images.classes, seed)
    new = len(labels) - len(images)
    pixels = np.rint(more[len(images) :]).astype(np.uint8).reshape(new, *images.pixels.shape[1:])
    first = int(images.groups.max()) + 1
    return LabelledImages(
        paths=(*images.paths, *(f"synthetic/{i}" for i in range(new))),
        pixels=np.concatenate([images.pixels, pixels]),
        labels=labels,
        digests=np.concatenate([images.digests, np.zeros(new, dtype=np.uint64)]),
        hashes=np.concatenate([images.hashes, np.zeros((new, *images.hashes.shape[1:]), dtype=np.uint64)]),
        groups=np.concatenate([images.groups, np.arange(first, first + new)]),
        parts=np.concatenate([images.parts, np.full(new, TRAIN, dtype=np.int8)]),
        laboratories=np.concatenate([images.laboratories, np.full(new, "")]),
        slides=np.concatenate([images.slides, np.full(new, "")]),
        classes=images.classes,
    )
