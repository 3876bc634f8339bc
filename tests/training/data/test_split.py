import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bloodcell_batch.cell_classes import DEFAULT_CLASSES
from bloodcell_batch.errors import TrainingError
from bloodcell_batch.training.data.labelled import LabelledImages
from bloodcell_batch.training.data.labelled_files import FREE, TEST, TRAIN, VALIDATION
from bloodcell_batch.training.data.split import Split, divided_slides, split_of, stratified_folds, stratified_split


def test_split_is_stratified_disjoint_and_reproducible() -> None:
    labels = np.repeat(np.arange(8), [100, 20, 50, 60, 30, 40, 200, 10])
    groups = np.arange(len(labels))
    split = stratified_split(labels, DEFAULT_CLASSES, groups, 0.1, 0.2, seed=3)
    parts = [split.train, split.validation, split.test]
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(labels)))
    for label, size in enumerate(np.bincount(labels)):
        assert (labels[split.validation] == label).sum() == max(1, round(size * 0.1))
        assert (labels[split.test] == label).sum() == pytest.approx(0.2 * size, abs=1)
    again = stratified_split(labels, DEFAULT_CLASSES, groups, 0.1, 0.2, seed=3)
    assert np.array_equal(split.test, again.test)
    assert not np.array_equal(split.test, stratified_split(labels, DEFAULT_CLASSES, groups, 0.1, 0.2, seed=4).test)


def test_no_group_is_split() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(8), 60)
    groups = labels * 1000 + rng.integers(0, 20, len(labels))
    split = stratified_split(labels, DEFAULT_CLASSES, groups, 0.15, 0.15, seed=0)
    sides = [set(groups[part].tolist()) for part in (split.train, split.validation, split.test)]
    assert not sides[0] & sides[1]
    assert not sides[0] & sides[2]
    assert not sides[1] & sides[2]
    assert all(side for side in sides)


def cells(labels: NDArray[np.int64], slides: list[str], groups: NDArray[np.int64] | None = None) -> LabelledImages:
    count = len(labels)
    nothing = np.zeros(count, dtype=np.uint64)
    return LabelledImages(
        paths=tuple(map(str, range(count))),
        pixels=np.zeros((count, 1, 1, 3), dtype=np.uint8),
        labels=labels,
        digests=nothing,
        hashes=np.zeros((count, 2, 4), dtype=np.uint64),
        groups=np.arange(count) if groups is None else groups,
        parts=np.full(count, FREE, dtype=np.int8),
        laboratories=np.full(count, ""),
        slides=np.array(slides),
        classes=DEFAULT_CLASSES,
    )


def halves(images: LabelledImages, seed: int = 0) -> Split:
    return split_of(images, images.parts, 0.15, 0.2, seed)


@pytest.mark.parametrize("seed", range(5))
def test_slides_stay_whole_where_every_class_is_on_enough_of_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 8, 2000)
    slides = [f"S{number}" if number else "" for number in rng.integers(0, 40, 2000)]
    split = halves(cells(labels, slides), seed)
    parts = [split.train, split.validation, split.test]
    assert sorted(np.concatenate(parts).tolist()) == list(range(2000))
    assert divided_slides(split, np.array(slides)) == 0
    for part, share in zip(parts, (0.65, 0.15, 0.2), strict=True):
        found = np.bincount(labels[part], minlength=8) / np.bincount(labels)
        assert found == pytest.approx(np.full(8, share), abs=0.1)
    assert np.array_equal(halves(cells(labels, slides), seed).test, split.test)


def test_a_copy_on_another_slide_goes_along() -> None:
    labels = np.tile(np.arange(8), 60)
    slides = [f"S{place // 16}" for place in range(480)]  # each with two cells of every class
    groups = np.arange(480)
    groups[8] = 479  # a copy of the last slide's last cell
    split = halves(cells(labels, slides, groups))
    part_of = {
        int(place): part for part, places in enumerate((split.train, split.validation, split.test)) for place in places
    }
    assert part_of[8] == part_of[479] == part_of[0]


def test_slides_are_divided_where_a_class_is_on_too_few() -> None:
    labels = np.tile(np.arange(8), 60)
    slides = ["rare" if label == 7 else f"S{place // 16}" for place, label in enumerate(labels.tolist())]
    images = cells(labels, slides)
    split = halves(images)
    same = stratified_split(labels, DEFAULT_CLASSES, images.groups, 0.15, 0.2, 0)
    assert np.array_equal(split.test, same.test)
    assert divided_slides(split, images.slides) > 0


def test_what_the_data_say_of_the_parts_goes_before_their_slides() -> None:
    labels = np.tile(np.arange(8), 60)
    images = cells(labels, [f"S{place // 16}" for place in range(480)])
    images.parts[:100] = TEST
    assert set(range(100)) <= set(halves(images).test.tolist())


def test_a_class_with_too_few_images_is_named() -> None:
    labels = np.repeat(np.arange(8), [20, 20, 20, 20, 20, 20, 20, 9])
    with pytest.raises(TrainingError, match="platelet has 9"):
        stratified_split(labels, DEFAULT_CLASSES, np.arange(len(labels)), 0.1, 0.1, seed=0)


def test_given_parts_stay_and_only_free_images_are_split() -> None:
    labels = np.repeat(np.arange(8), 100)
    parts = np.tile(np.repeat([TRAIN, VALIDATION, FREE], [60, 10, 30]), 8).astype(np.int8)
    split = stratified_split(labels, DEFAULT_CLASSES, np.arange(800), 0.1, 0.2, 0, parts)
    assert set(np.flatnonzero(parts == VALIDATION)) == set(split.validation)
    assert set(np.flatnonzero(parts == TRAIN)) <= set(split.train)
    # 70 of each class are wanted for training, so 10 of the 30 free ones go there and 20 to the test part.
    assert np.bincount(labels[split.train]).tolist() == [70] * 8
    assert np.bincount(labels[split.test]).tolist() == [20] * 8


def test_images_that_are_all_known_leave_the_new_ones_to_the_test_part() -> None:
    labels = np.repeat(np.arange(8), 100)
    parts = np.tile(np.repeat([TRAIN, VALIDATION, FREE], [80, 10, 10]), 8).astype(np.int8)
    split = stratified_split(labels, DEFAULT_CLASSES, np.arange(800), 0.1, 0.1, 5, parts)
    assert set(np.flatnonzero(parts == FREE)) == set(split.test)


def test_data_without_held_out_parts_get_them_from_training() -> None:
    labels = np.repeat(np.arange(8), 50)
    parts = np.full(400, TRAIN, dtype=np.int8)
    split = stratified_split(labels, DEFAULT_CLASSES, np.arange(400) // 2, 0.1, 0.2, 0, parts)
    assert np.bincount(labels[split.validation]).tolist() == [6] * 8  # whole pairs
    assert np.bincount(labels[split.test]).tolist() == [10] * 8
    given_test = parts.copy()
    given_test[::5] = TEST
    kept = stratified_split(labels, DEFAULT_CLASSES, np.arange(400), 0.1, 0.2, 0, given_test)
    assert set(np.flatnonzero(given_test == TEST)) == set(kept.test)
    assert len(kept.validation) == 40


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 6), st.lists(st.integers(12, 40), min_size=8, max_size=8))
def test_folds_cover_everything_once_and_keep_groups_together(seed: int, folds: int, sizes: list[int]) -> None:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(8), sizes)
    # About every third image is a copy of the one before it.
    groups = np.cumsum((rng.random(len(labels)) > 0.3) | np.r_[True, labels[1:] != labels[:-1]])
    if any(len(np.unique(groups[labels == label])) < folds for label in range(8)):
        with pytest.raises(TrainingError, match="different images for"):
            stratified_folds(labels, DEFAULT_CLASSES, groups, folds, seed)
        return
    parts = stratified_folds(labels, DEFAULT_CLASSES, groups, folds, seed)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(labels)))
    sides = [set(groups[part].tolist()) for part in parts]
    assert sum(len(side) for side in sides) == len(set(groups.tolist()))
    largest = np.bincount(groups).max()
    for label in range(8):
        counts = [int((labels[part] == label).sum()) for part in parts]
        assert max(counts) - min(counts) <= largest


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.05, 0.3), st.floats(0.05, 0.3))
def test_a_split_covers_everything_once_and_keeps_groups_together(seed: int, validation: float, test: float) -> None:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(8), rng.integers(10, 50, 8))
    groups = np.cumsum((rng.random(len(labels)) > 0.2) | np.r_[True, labels[1:] != labels[:-1]])
    split = stratified_split(labels, DEFAULT_CLASSES, groups, validation, test, seed)
    parts = (split.train, split.validation, split.test)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(labels)))
    assert sum(len(set(groups[part].tolist())) for part in parts) == len(set(groups.tolist()))
