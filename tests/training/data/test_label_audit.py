from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import draw_picture, encode

from bloodcell_batch.cell_classes import DEFAULT_CLASSES
from bloodcell_batch.errors import TrainingError
from bloodcell_batch.images.preprocessing import Preprocessing
from bloodcell_batch.progress import NullObserver
from bloodcell_batch.training.data.label_audit import audit
from bloodcell_batch.training.data.labelled import load_labelled
from bloodcell_batch.training.data.labelled_files import FREE, TEST, TRAIN, VALIDATION

SMALL = Preprocessing(input_size=16)


class Listener(NullObserver):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str, **_fields: object) -> None:
        self.warnings.append(text)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for label, name in enumerate(DEFAULT_CLASSES.names):
        (tmp_path / name).mkdir()
        for i in range(3):
            (tmp_path / name / f"{i}.jpg").write_bytes(encode(draw_picture(10 * label + i)))
    return tmp_path


def test_copies_under_two_labels_are_an_error_that_lists_them(folder: Path) -> None:
    (folder / "neutrophil" / "same.jpg").write_bytes((folder / "eosinophil" / "1.jpg").read_bytes())
    images, rejected = load_labelled(folder, SMALL, 1, Listener())
    with pytest.raises(TrainingError, match=r"eosinophil/1\.jpg, neutrophil/same\.jpg") as caught:
        audit(images, rejected, "error", NullObserver())
    assert "conflicts" in caught.value.hint
    listener = Listener()
    kept, found = audit(images, rejected, "drop", listener)
    assert set(images.paths) - set(kept.paths) == set(found.conflicting) == {"eosinophil/1.jpg", "neutrophil/same.jpg"}
    assert "left out 2 images" in listener.warnings[0]
    assert found.classes["eosinophil"] == 2
    assert kept.pixels.shape[0] == len(kept) == sum(found.classes.values())


def test_unreadable_files_and_copies_are_counted(folder: Path) -> None:
    (folder / "platelet" / "broken.jpg").write_bytes(b"no image")
    (folder / "platelet" / "again.jpg").write_bytes((folder / "platelet" / "0.jpg").read_bytes())
    images, rejected = load_labelled(folder, SMALL, 1, Listener())
    listener = Listener()
    _, found = audit(images, rejected, "error", listener)
    assert found.copies == 1
    assert list(found.unreadable) == ["platelet/broken.jpg"]
    assert "platelet/broken.jpg: not_an_image" in listener.warnings[0]


def test_a_copy_of_a_training_image_leaves_the_test_part(folder: Path) -> None:
    for name in ("a", "b", "c"):
        (folder / "platelet" / f"{name}.jpg").write_bytes((folder / "platelet" / "0.jpg").read_bytes())
    (folder / "ig" / "twin.jpg").write_bytes((folder / "ig" / "2.jpg").read_bytes())
    images, _ = load_labelled(folder, SMALL, 1, Listener())
    given = {"platelet/0.jpg": TEST, "platelet/a.jpg": TRAIN, "platelet/b.jpg": FREE, "platelet/c.jpg": VALIDATION}
    given |= {"ig/2.jpg": TEST, "ig/twin.jpg": VALIDATION, "basophil/0.jpg": TEST}
    parts = np.array([given.get(path, FREE) for path in images.paths], dtype=np.int8)
    listener = Listener()
    joined, found = audit(replace(images, parts=parts), (), "error", listener)
    after = dict(zip(joined.paths, joined.parts.tolist(), strict=True))
    assert {after[f"platelet/{name}.jpg"] for name in "0abc"} == {TRAIN}
    assert after["ig/2.jpg"] == after["ig/twin.jpg"] == VALIDATION
    assert after["basophil/0.jpg"] == TEST
    assert set(found.moved) == {"platelet/0.jpg", "platelet/c.jpg", "ig/2.jpg"}
    assert "3 copies" in listener.warnings[0]


def test_the_known_conflict_of_the_real_images_is_found(pbc: Path, tmp_path: Path) -> None:
    """Two files of the published set hold one picture under two labels."""
    import hashlib  # noqa: PLC0415

    by_size: dict[int, list[Path]] = {}
    for name in ("eosinophil", "neutrophil"):
        for path in sorted((pbc / name).glob("*.jpg")):
            by_size.setdefault(path.stat().st_size, []).append(path)
    twins: dict[str, list[Path]] = {}
    for paths in by_size.values():
        if len({path.parent.name for path in paths}) == 2:
            for path in paths:
                twins.setdefault(hashlib.sha256(path.read_bytes()).hexdigest(), []).append(path)
    pair = [paths for paths in twins.values() if len({path.parent.name for path in paths}) == 2]
    if not pair:
        pytest.skip("the subset of the real images on this machine lacks the pair")
    for path in [*pair[0], *sorted((pbc / "eosinophil").glob("*.jpg"))[:40]]:
        target = tmp_path / path.parent.name / path.name
        target.parent.mkdir(exist_ok=True)
        target.symlink_to(path)
    images, _ = load_labelled(tmp_path, SMALL, 1, Listener())
    with pytest.raises(TrainingError, match="2 images are copies of each other under different labels"):
        audit(images, (), "error", NullObserver())
