from pathlib import Path

import numpy as np
import pytest
from conftest import draw_picture, encode

from bloodcell_batch.errors import InputError, TrainingError
from bloodcell_batch.labels import CLASS_NAMES
from bloodcell_batch.preprocessing import Preprocessing
from bloodcell_batch.progress import NullObserver
from bloodcell_batch.training.dataset import (
    LabelledImages,
    class_folder_rule,
    load_labelled,
    resolve_conflicts,
    short_digest,
    stratified_split,
)

SMALL = Preprocessing(input_size=16)


class Listener(NullObserver):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str, **_fields: object) -> None:
        self.warnings.append(text)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for label, name in enumerate(CLASS_NAMES):
        (tmp_path / name).mkdir()
        for i in range(3):
            (tmp_path / name / f"{i}.jpg").write_bytes(encode(draw_picture(10 * label + i)))
    return tmp_path


def load(folder: Path, listener: Listener | None = None) -> LabelledImages:
    return load_labelled(folder, SMALL, 1, listener or Listener())[0]


def test_labels_come_from_the_folder(folder: Path) -> None:
    images = load(folder)
    assert images.pixels.shape == (24, 16, 16, 3)
    for path, label in zip(images.paths, images.labels, strict=True):
        assert path.split("/")[0] == CLASS_NAMES[label]
    assert len(set(images.groups.tolist())) == 24


def test_unreadable_files_and_foreign_folders_are_reported_and_left_out(folder: Path) -> None:
    (folder / "platelet" / "broken.jpg").write_bytes(b"no image")
    (folder / "smudge").mkdir()
    (folder / "smudge" / "a.jpg").write_bytes(encode(draw_picture(99)))
    listener = Listener()
    images, rejected = load_labelled(folder, SMALL, 1, listener)
    assert len(images) == 24
    assert [bad.file.path for bad in rejected] == ["platelet/broken.jpg"]
    assert listener.warnings == ["left out, not named after a class: smudge"]


def test_a_folder_without_class_folders_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder that is named after a class"):
        class_folder_rule(tmp_path)


def test_copies_share_a_group(folder: Path) -> None:
    picture = draw_picture(0)
    (folder / "basophil" / "copy.jpg").write_bytes(encode(picture, quality=60))
    images = load(folder)
    group = dict(zip(images.paths, images.groups.tolist(), strict=True))
    assert group["basophil/copy.jpg"] == group["basophil/0.jpg"]
    assert len(set(group.values())) == 24


def test_copies_under_two_labels_are_an_error_that_lists_them(folder: Path) -> None:
    (folder / "neutrophil" / "same.jpg").write_bytes((folder / "eosinophil" / "1.jpg").read_bytes())
    images = load(folder)
    with pytest.raises(TrainingError, match=r"eosinophil/1\.jpg, neutrophil/same\.jpg"):
        resolve_conflicts(images, "error", NullObserver())
    listener = Listener()
    kept = resolve_conflicts(images, "drop", listener)
    assert set(images.paths) - set(kept.paths) == {"eosinophil/1.jpg", "neutrophil/same.jpg"}
    assert "left out 2 images" in listener.warnings[0]
    assert kept.pixels.shape[0] == len(kept)


def test_split_is_stratified_disjoint_and_reproducible() -> None:
    labels = np.repeat(np.arange(8), [100, 20, 50, 60, 30, 40, 200, 10])
    groups = np.arange(len(labels))
    split = stratified_split(labels, groups, 0.1, 0.2, seed=3)
    parts = [split.train, split.validation, split.test]
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(labels)))
    for label, size in enumerate(np.bincount(labels)):
        assert (labels[split.validation] == label).sum() == max(1, round(size * 0.1))
        assert (labels[split.test] == label).sum() == pytest.approx(0.2 * size, abs=1)
    again = stratified_split(labels, groups, 0.1, 0.2, seed=3)
    assert np.array_equal(split.test, again.test)
    assert not np.array_equal(split.test, stratified_split(labels, groups, 0.1, 0.2, seed=4).test)


def test_no_group_is_split() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(8), 60)
    groups = labels * 1000 + rng.integers(0, 20, len(labels))
    split = stratified_split(labels, groups, 0.15, 0.15, seed=0)
    sides = [set(groups[part].tolist()) for part in (split.train, split.validation, split.test)]
    assert not sides[0] & sides[1]
    assert not sides[0] & sides[2]
    assert not sides[1] & sides[2]
    assert all(side for side in sides)


def test_a_class_with_too_few_images_is_named() -> None:
    labels = np.repeat(np.arange(8), [20, 20, 20, 20, 20, 20, 20, 9])
    with pytest.raises(TrainingError, match="platelet has 9 images"):
        stratified_split(labels, np.arange(len(labels)), 0.1, 0.1, seed=0)


def test_short_digest_is_the_first_eight_bytes() -> None:
    assert short_digest("00000000000000ff" + "ab" * 24) == 255
