from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from conftest import draw_picture, encode
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from bloodcell_batch.cell_classes import DEFAULT_CLASSES
from bloodcell_batch.errors import OutputError
from bloodcell_batch.images.preprocessing import Preprocessing
from bloodcell_batch.progress import NullObserver
from bloodcell_batch.training.data import image_cache
from bloodcell_batch.training.data.labelled import LabelledImages, load_labelled, short_digest

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


def load(folder: Path, listener: Listener | None = None) -> LabelledImages:
    return load_labelled(folder, SMALL, 1, listener or Listener())[0]


def test_labels_come_from_the_folder(folder: Path) -> None:
    images = load(folder)
    assert images.pixels.shape == (24, 16, 16, 3)
    for path, label in zip(images.paths, images.labels, strict=True):
        assert path.split("/")[0] == DEFAULT_CLASSES.names[label]
    assert len(set(images.groups.tolist())) == 24


def test_unreadable_files_and_foreign_folders_are_reported_and_left_out(folder: Path) -> None:
    (folder / "platelet" / "broken.jpg").write_bytes(b"no image")
    (folder / "spare").mkdir()
    (folder / "spare" / "a.jpg").write_bytes(encode(draw_picture(99)))
    listener = Listener()
    images, rejected = load_labelled(folder, SMALL, 1, listener)
    assert len(images) == 24
    assert [bad.file.path for bad in rejected] == ["platelet/broken.jpg"]
    assert listener.warnings == ["left out, not named after a class: spare (1 image)"]


def test_copies_share_a_group(folder: Path) -> None:
    picture = draw_picture(0)
    (folder / "basophil" / "copy.jpg").write_bytes(encode(picture, quality=60))
    images = load(folder)
    group = dict(zip(images.paths, images.groups.tolist(), strict=True))
    assert group["basophil/copy.jpg"] == group["basophil/0.jpg"]
    assert len(set(group.values())) == 24


def test_short_digest_is_the_first_eight_bytes() -> None:
    assert short_digest("00000000000000ff" + "ab" * 24) == 255


def test_a_cache_gives_the_same_images_without_decoding(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "platelet" / "broken.jpg").write_bytes(b"no image")
    cache = tmp_path / "cache"
    plain, rejected = load_labelled(folder, SMALL, 1, Listener())
    first, _ = load_labelled(folder, SMALL, 1, Listener(), cache=cache)

    def never(*_unused: object) -> None:
        raise AssertionError("decoded again")

    with monkeypatch.context() as patch:
        patch.setattr("bloodcell_batch.training.data.labelled._decode", never)
        second, again = load_labelled(folder, SMALL, 1, Listener(), cache=cache)
    assert isinstance(second.pixels, np.memmap)
    assert again == rejected
    for other in (first, second):
        assert other.paths == plain.paths
        for name in ("pixels", "labels", "digests", "groups", "parts"):
            np.testing.assert_array_equal(getattr(other, name), getattr(plain, name))


def test_a_changed_file_or_size_is_not_read_from_the_cache(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    before, _ = load_labelled(folder, SMALL, 1, Listener(), cache=cache)
    (folder / "basophil" / "0.jpg").write_bytes(encode(draw_picture(999), quality=70))
    after, _ = load_labelled(folder, SMALL, 1, Listener(), cache=cache)
    assert before.digests[0] != after.digests[0]
    assert not np.array_equal(before.pixels[0], after.pixels[0])
    larger, _ = load_labelled(folder, Preprocessing(input_size=20), 1, Listener(), cache=cache)
    assert larger.pixels.shape == (24, 20, 20, 3)
    assert not [path for path in cache.iterdir() if path.name.startswith(".")]


def test_of_two_trainings_that_share_a_cache_one_decodes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Both at once: the later one cut off the file that the earlier one had mapped, and a signal ended both.
    cache, decoding, waiting = tmp_path / "cache", Event(), Event()
    opened: list[Path] = []

    def slow(path: Path, mode: str) -> NDArray[np.uint8]:
        opened.append(path)
        decoding.set()
        assert waiting.wait(60)
        return np.asarray(open_memmap(path, mode=mode))

    class Second(Listener):
        def note(self, text: str, **_fields: object) -> None:
            self.warnings.append(text)
            waiting.set()

    monkeypatch.setattr(image_cache, "open_memmap", slow)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(load_labelled, folder, SMALL, 1, Listener(), cache=cache)
        assert decoding.wait(60)
        observer = Second()
        second = pool.submit(load_labelled, folder, SMALL, 1, observer, cache=cache)
        (images, _), (again, _) = first.result(60), second.result(60)
    assert len(opened) == 1
    np.testing.assert_array_equal(images.pixels, again.pixels)
    assert observer.warnings[0] == "another training is decoding the same images: waiting for it"
    assert not list(cache.glob(".*"))


def test_a_full_disk_leaves_no_half_cache(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache"

    def full(*_unused: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("bloodcell_batch.training.data.image_cache._write", full)
        with pytest.raises(OutputError, match="No space left on device"):
            load_labelled(folder, SMALL, 1, Listener(), cache=cache)
    assert not list(cache.glob("*.json"))
    assert len(load_labelled(folder, SMALL, 1, Listener(), cache=cache)[0]) == 24
