import numpy as np
import pytest

from bloodcell_batch.cell_classes import DEFAULT_CLASSES
from bloodcell_batch.config.recipe import TrainConfig
from bloodcell_batch.errors import TrainingError
from bloodcell_batch.progress import NullObserver
from bloodcell_batch.training.augmentation.oversampling import smote, smote_on_pixels
from bloodcell_batch.training.data.labelled import LabelledImages
from bloodcell_batch.training.data.split import Split
from bloodcell_batch.training.fit.fit import _datasets

pytest.importorskip("imblearn", reason="needs the extra [compare]")
COUNTS = (9, 3, 7, 2, 9, 5, 4, 6)
LABELS = np.repeat(np.arange(8), COUNTS)


def cells() -> LabelledImages:
    rng = np.random.default_rng(0)
    count = len(LABELS)
    return LabelledImages(
        paths=tuple(f"{i}.png" for i in range(count)),
        pixels=(LABELS[:, None, None, None] * 20 + rng.integers(0, 20, (count, 8, 8, 3))).astype(np.uint8),
        labels=LABELS,
        digests=np.arange(count, dtype=np.uint64) + 1,
        hashes=np.zeros((count, 2, 4), dtype=np.uint64),
        groups=np.arange(count),
        parts=np.full(count, -1, dtype=np.int8),
        laboratories=np.full(count, ""),
        slides=np.full(count, ""),
        classes=DEFAULT_CLASSES,
    )


def test_smote_adds_what_the_smaller_classes_lack() -> None:
    features = np.random.default_rng(0).normal(size=(len(LABELS), 4)).astype(np.float32)
    more, labels = smote(features, LABELS, DEFAULT_CLASSES, seed=1)
    assert np.bincount(labels).tolist() == [9] * 8
    assert np.array_equal(more[: len(features)], features)
    assert np.array_equal(labels[: len(features)], LABELS)
    for row, label in zip(more[len(features) :], labels[len(features) :], strict=True):
        own = features[label == LABELS]
        assert (row >= own.min(axis=0) - 1e-6).all()
        assert (row <= own.max(axis=0) + 1e-6).all()


def test_synthetic_images_lie_between_two_of_their_class() -> None:
    images = cells()
    more = smote_on_pixels(images, seed=1)
    assert np.bincount(more.labels).tolist() == [9] * 8
    assert np.array_equal(more.pixels[: len(images)], images.pixels)
    new = more.take(np.arange(len(images), len(more)))
    assert (new.pixels // 20 == new.labels[:, None, None, None]).all()
    assert not set(new.groups.tolist()) & set(images.groups.tolist())


def test_one_image_has_no_neighbour() -> None:
    with pytest.raises(TrainingError, match="basophil has 1"):
        smote(np.zeros((9, 2), dtype=np.float32), np.array([0, *range(1, 8), 1]), DEFAULT_CLASSES, seed=0)


def test_only_the_training_part_of_a_network_is_oversampled() -> None:
    images = cells()
    index = np.arange(len(images))
    split = Split(index[index % 9 != 0], index[index % 9 == 0], index[:0])
    config = TrainConfig(smote="pixels", input_size=16)
    data, checked, _ = _datasets(config, images, split, NullObserver())
    assert len(set(np.bincount(data.labels).tolist())) == 1
    assert len(checked) == len(split.validation)
