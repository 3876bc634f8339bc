"""Pictures are recognised in whatever file they come, and other pictures are not."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from conftest import Picture, draw_picture, encode
from PIL import Image
from small_model import SIDE, make_small_model

from bloodcell_batch.cell_classes import DEFAULT_CLASSES
from bloodcell_batch.images.perceptual_hash import turned
from bloodcell_batch.images.preprocessing import Preprocessing
from bloodcell_batch.model.file import SEEN_PREFIX, ModelFile, save_model
from bloodcell_batch.progress import NullObserver
from bloodcell_batch.training.data.labelled import LabelledImages, load_labelled
from bloodcell_batch.training.data.labelled_files import FREE, TRAIN, VALIDATION
from bloodcell_batch.training.data.seen import Counts, Seen, SeenPart

COUNT, ALL = 12, 18
TURNS = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)
MIRRORS = (Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.FLIP_TOP_BOTTOM)
DIAGONALS = (Image.Transpose.TRANSPOSE, Image.Transpose.TRANSVERSE)


class Listener(NullObserver):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str, **_fields: object) -> None:
        self.warnings.append(text)


@cache
def original(seed: int) -> Picture:
    """Half as large as the cells of PBC, and as nearly square."""
    return draw_picture(seed, 180, 182)


def middle(picture: Picture, side: int, resample: Image.Resampling = Image.Resampling.BICUBIC) -> Picture:
    """What MedMNIST makes of a cell of PBC: the middle 200 of its 360 pixels, resized."""
    height, width = picture.shape[:2]
    kept = width * 200 // 360
    top, left = (height - kept) // 2, (width - kept) // 2
    cut = picture[top : top + kept, left : left + kept]
    return np.asarray(Image.fromarray(cut).resize((side, side), resample))


def resized(picture: Picture, width: int, height: int) -> Picture:
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC))


def folder_of(folder: Path, files: list[tuple[str, bytes]]) -> Path:
    """The files in turn under the eight classes."""
    for number, (name, data) in enumerate(files):
        place = folder / DEFAULT_CLASSES.names[number % len(DEFAULT_CLASSES.names)]
        place.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(data)
    return folder


def medmnist(path: Path, pictures: list[Picture]) -> Path:
    labels = np.arange(len(pictures), dtype=np.uint8)[:, None] % len(DEFAULT_CLASSES.names)
    content: dict[str, object] = {"train_images": np.stack(pictures), "train_labels": labels}
    for part in ("val", "test"):
        content |= {f"{part}_images": content["train_images"][:0], f"{part}_labels": labels[:0]}  # type: ignore[index]
    np.savez(path, **content)  # type: ignore[arg-type]
    return path


def load(source: Path) -> LabelledImages:
    return load_labelled(source, Preprocessing(input_size=16), 1, NullObserver())[0]


def part(images: LabelledImages) -> SeenPart:
    return SeenPart.of(images.digests, images.hashes)


@pytest.fixture(scope="module")
def jpegs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    files = [(f"{seed:02}.jpg", encode(original(seed))) for seed in range(COUNT)]
    return folder_of(tmp_path_factory.mktemp("seen"), files)


@pytest.fixture(scope="module")
def seen(jpegs: Path) -> Seen:
    """Two thirds were trained on, the others were validated on."""
    images = load(jpegs)
    return Seen(part(images.take(np.arange(8))), part(images.take(np.arange(8, COUNT))))


Copy = Callable[[Picture], tuple[str, bytes]]


def _turned(turn: Image.Transpose) -> Copy:
    return lambda picture: (".jpg", encode(Image.fromarray(picture).transpose(turn), quality=80))


def _middle(side: int) -> Copy:
    return lambda picture: (".png", encode(middle(picture, side), "PNG"))


def _laid_on_its_side(picture: Picture) -> tuple[str, bytes]:
    image = Image.fromarray(picture).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it clockwise to see it upright
    return ".jpg", encode(image, exif=exif)


COPIES: dict[str, Copy] = {
    "a byte more": lambda picture: (".jpg", encode(picture) + b"\n"),
    "PNG": lambda picture: (".png", encode(picture, "PNG")),
    "TIFF": lambda picture: (".tif", encode(picture, "TIFF")),
    "BMP": lambda picture: (".bmp", encode(picture, "BMP")),
    "WebP": lambda picture: (".webp", encode(picture, "WEBP", quality=50)),
    "quality 90": lambda picture: (".jpg", encode(picture, quality=90)),
    "quality 30": lambda picture: (".jpg", encode(picture, quality=30)),
    "half": lambda picture: (".png", encode(resized(picture, 90, 91), "PNG")),
    "double": lambda picture: (".jpg", encode(resized(picture, 360, 364))),
    "whole in 28 pixels": lambda picture: (".png", encode(resized(picture, 28, 28), "PNG")),
    "grey": lambda picture: (".png", encode(Image.fromarray(picture).convert("L"), "PNG")),
    "orientation in EXIF": _laid_on_its_side,
    **{f"middle in {side} pixels": _middle(side) for side in (28, 64, 128, 224)},
    **{turn.name: _turned(turn) for turn in (*TURNS, *MIRRORS, *DIAGONALS)},
}


@pytest.mark.parametrize("copy", COPIES.values(), ids=list(COPIES))
def test_a_picture_in_another_file_was_seen(seen: Seen, tmp_path: Path, copy: Copy) -> None:
    """Of the pictures, those that were seen as JPEG, and only those."""
    files = []
    for seed in range(ALL):
        suffix, data = copy(original(seed))
        files.append((f"{seed:02}{suffix}", data))
    images = load(folder_of(tmp_path, files))
    known = seen.recognise(images.digests, images.hashes)
    assert known.counts() == Counts(same_file=0, same_picture=COUNT, never_seen=ALL - COUNT)
    numbers = np.array([int(Path(path).stem) for path in images.paths])
    assert ((known.parts != FREE) == (numbers < COUNT)).all()


def test_the_very_file_was_seen_and_counts_as_such(seen: Seen, jpegs: Path) -> None:
    images = load(jpegs)
    known = seen.recognise(images.digests, images.hashes)
    assert known.counts() == Counts(same_file=COUNT, same_picture=0)
    assert known.parts.tolist() == [TRAIN] * 8 + [VALIDATION] * 4
    assert known.counts(np.arange(5)).seen == 5


@pytest.mark.parametrize("side", [28, 64, 128, 224])
def test_thumbnails_of_medmnist_were_seen(seen: Seen, tmp_path: Path, side: int) -> None:
    images = load(medmnist(tmp_path / "b.npz", [middle(original(seed), side) for seed in range(ALL)]))
    assert seen.recognise(images.digests, images.hashes).counts() == Counts(0, COUNT, ALL - COUNT)


def test_what_was_seen_as_thumbnails_is_known_in_its_files(jpegs: Path, tmp_path: Path) -> None:
    thumbnails = load(medmnist(tmp_path / "b.npz", [middle(original(seed), 28) for seed in range(8)]))
    images = load(jpegs)
    known = Seen(part(thumbnails), Seen.nothing().validation).recognise(images.digests, images.hashes)
    assert known.counts() == Counts(0, 8, COUNT - 8)


def test_thumbnails_that_were_made_without_smoothing_are_known_too(seen: Seen, tmp_path: Path) -> None:
    pictures = [middle(original(seed), 28, Image.Resampling.BOX) for seed in range(ALL)]
    images = load(medmnist(tmp_path / "b.npz", pictures))
    assert seen.recognise(images.digests, images.hashes).counts().same_picture == COUNT


def test_blank_pictures_are_nobodys_copies(tmp_path: Path) -> None:
    flat = [(f"{level}.png", encode(np.full((40, 40, 3), level, dtype=np.uint8), "PNG")) for level in range(100, 116)]
    images = load(folder_of(tmp_path, flat))
    assert not images.hashes.any()
    trained, others = images.take(np.arange(8)), images.take(np.arange(8, 16))
    seen = Seen(part(trained), Seen.nothing().validation)
    assert seen.recognise(others.digests, others.hashes).counts().seen == 0
    assert seen.recognise(images.digests, images.hashes).counts().same_file == 8


def test_what_was_trained_and_validated_on_counts_as_trained_on(jpegs: Path) -> None:
    images = load(jpegs)
    both = part(images)
    assert set(Seen(both, both).recognise(images.digests, images.hashes).parts.tolist()) == {TRAIN}
    nothing = np.zeros_like(images.digests)
    assert set(Seen(both, both).recognise(nothing, images.hashes).parts.tolist()) == {TRAIN}


def test_files_come_before_pictures(tmp_path: Path) -> None:
    """A copy in the validation part is the file that was validated on, not the picture that was trained on."""
    files = [("a.jpg", encode(original(1))), ("b.png", encode(original(1), "PNG"))]
    images = load(folder_of(tmp_path, files))
    one, other = images.take(np.array([0])), images.take(np.array([1]))
    assert Seen(part(one), part(other)).recognise(images.digests, images.hashes).parts.tolist() == [TRAIN, VALIDATION]


def test_nothing_is_known_without_images_or_a_past(jpegs: Path, seen: Seen) -> None:
    images = load(jpegs)
    assert Seen.nothing().recognise(images.digests, images.hashes).counts() == Counts(0, 0, COUNT)
    none = images.take(np.arange(0))
    assert seen.recognise(none.digests, none.hashes).counts() == Counts(0, 0, 0)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    return make_small_model(tmp_path_factory.mktemp("model"))


def with_seen(model: ModelFile, path: Path, seen: Seen) -> ModelFile:
    tensors = {SEEN_PREFIX + name: value for name, value in seen.tensors().items()}
    return save_model(path, model.header, model.load_tensors("") | tensors)


def test_the_model_file_keeps_it_in_72_bytes_an_image(model: ModelFile, seen: Seen, tmp_path: Path) -> None:
    written = with_seen(model, tmp_path / "m.safetensors", seen)
    for before, after in zip(seen.tensors().items(), Seen.by(written).tensors().items(), strict=True):
        assert before[0] == after[0]
        np.testing.assert_array_equal(before[1], after[1])
    growth = written.path.stat().st_size - model.path.stat().st_size
    assert growth < COUNT * 72 + 400  # and the names
    listener = Listener()
    Seen.by(written).warn_of_files_only(written.path, listener)
    assert listener.warnings == []


def test_a_model_of_an_earlier_release_knows_files_and_says_so(
    model: ModelFile, seen: Seen, jpegs: Path, tmp_path: Path
) -> None:
    old = {SEEN_PREFIX + "train": seen.train.digests, SEEN_PREFIX + "validation": seen.validation.digests}
    written = save_model(tmp_path / "old.safetensors", model.header, model.load_tensors("") | old)
    known, listener = Seen.by(written), Listener()
    images = load(jpegs)
    assert known.recognise(images.digests, images.hashes).counts() == Counts(COUNT, 0, 0)
    assert known.recognise(images.digests + np.uint64(1), images.hashes).counts() == Counts(0, 0, COUNT)
    known.warn_of_files_only(written.path, listener)
    assert [warning.partition(" copies of them")[0] for warning in listener.warnings] == [
        f"{written.path} knows {COUNT} images of its training by their bytes only:"
    ]


def test_pictures_are_joined_to_the_files_that_are_known(seen: Seen) -> None:
    blind = SeenPart(seen.train.digests, np.zeros_like(seen.train.hashes))
    nothing = Seen.nothing()
    for first, second in ((seen, Seen(blind, nothing.validation)), (Seen(blind, nothing.validation), seen)):
        joined = first.and_also(second)
        np.testing.assert_array_equal(joined.train.digests, seen.train.digests)
        np.testing.assert_array_equal(joined.train.hashes, seen.train.hashes)
        assert len(joined.validation.digests) == COUNT - 8
        assert joined.train.known_by_file_only == 0
    assert Seen(blind, nothing.validation).train.known_by_file_only == 8


def test_hashes_turn_as_their_pictures_do(jpegs: Path, tmp_path: Path) -> None:
    """Rotations counter-clockwise, each followed by its mirror image."""
    whole = load(jpegs).hashes[:, 0]
    for number, hashes in enumerate(turned(whole)):
        files = []
        for seed in range(COUNT):
            picture = np.rot90(original(seed), number // 2)
            picture = np.ascontiguousarray(picture[:, ::-1] if number % 2 else picture)
            files.append((f"{seed:02}.jpg", encode(picture)))
        other = load(folder_of(tmp_path / str(number), files)).hashes[:, 0]
        apart = np.bitwise_count(hashes ^ other).sum(axis=1)
        assert apart.max() <= 30
        assert np.median(apart) <= 12


def test_the_cache_of_decoded_images_keeps_the_hashes(jpegs: Path, tmp_path: Path) -> None:
    preprocessing = Preprocessing(input_size=SIDE)
    plain, _ = load_labelled(jpegs, preprocessing, 1, NullObserver())
    for _ in range(2):
        cached, _ = load_labelled(jpegs, preprocessing, 1, NullObserver(), cache=tmp_path / "cache")
        np.testing.assert_array_equal(cached.hashes, plain.hashes)


def test_real_cells_are_told_apart_and_recognised(pbc: Path, tmp_path: Path) -> None:
    files = [file for folder in sorted(pbc.iterdir()) for file in sorted(folder.glob("*.jpg"))[:20]]
    originals = load(folder_of(tmp_path / "a", [(file.name, file.read_bytes()) for file in files[::2]]))
    seen = Seen(part(originals), Seen.nothing().validation)
    pictures = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    for number, form in enumerate(("quality 30", "ROTATE_90", "middle in 28 pixels")):
        copies = [(file.stem, *COPIES[form](picture)) for file, picture in zip(files, pictures, strict=True)]
        images = load(folder_of(tmp_path / f"b{number}", [(stem + suffix, data) for stem, suffix, data in copies]))
        known = seen.recognise(images.digests, images.hashes)
        expected = {Path(path).stem for path in originals.paths}
        found = {Path(path).stem for path, code in zip(images.paths, known.parts, strict=True) if code != FREE}
        assert found == expected
