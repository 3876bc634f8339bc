import hashlib
import os
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import imagehash
import numpy as np
import pytest
from conftest import draw_picture, encode
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from bloodcell_batch.images.decoding import decode_rgb
from bloodcell_batch.images.guards import DecodeLimits
from bloodcell_batch.images.perceptual_hash import grey_thumbnail
from bloodcell_batch.images.preprocessing import Preprocessing, resize_to_input
from bloodcell_batch.records import DecodedImage, ImageFile, Quality, Reason, Rejection, Status
from bloodcell_batch.stages.decode import decode_ahead, make_decoder, measure_quality

PREPROCESSING = Preprocessing(input_size=32)
LIMITS = DecodeLimits()


def _file(root: Path, name: str) -> ImageFile:
    status = (root / name).stat()
    return ImageFile(name, "s", status.st_size, status.st_mtime_ns)


def _save(root: Path, name: str, data: bytes) -> ImageFile:
    (root / name).write_bytes(data)
    return _file(root, name)


def _quality(thumbnail: NDArray[np.uint8]) -> Quality:
    return measure_quality(thumbnail[None])[0]


def _decode(root: Path, file: ImageFile, limits: DecodeLimits = LIMITS) -> DecodedImage | Rejection:
    return make_decoder(str(root), PREPROCESSING, limits)(file)


def _decoded(root: Path, file: ImageFile) -> DecodedImage:
    outcome = _decode(root, file)
    assert isinstance(outcome, DecodedImage)
    return outcome


def _rejected(root: Path, file: ImageFile, limits: DecodeLimits = LIMITS) -> Reason | None:
    outcome = _decode(root, file, limits)
    assert isinstance(outcome, Rejection)
    assert outcome.file is file
    assert outcome.status is Status.FAILED
    assert outcome.detail
    assert outcome.facts is None
    return outcome.reason


class TestFacts:
    def test_everything_comes_from_one_reading(self, tmp_path: Path) -> None:
        data = encode(draw_picture(1, side=80, height=60))
        file = _save(tmp_path, "a.jpg", data)
        image = _decoded(tmp_path, file)
        rgb = decode_rgb(data, LIMITS)
        assert image.file is file
        assert image.facts.sha256 == hashlib.sha256(data).hexdigest()
        assert (image.facts.width, image.facts.height) == (80, 60)
        assert image.facts.phash.hex() == str(imagehash.phash(Image.fromarray(rgb), hash_size=16))
        assert image.facts.quality == _quality(grey_thumbnail(Image.fromarray(rgb)))
        assert np.array_equal(image.pixels, resize_to_input(rgb, PREPROCESSING))
        assert image.pixels.shape == (32, 32, 3)

    def test_width_and_height_are_of_the_upright_image(self, tmp_path: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        turned = _decoded(tmp_path, _save(tmp_path, "a.jpg", encode(draw_picture(1, side=80, height=60), exif=exif)))
        assert (turned.facts.width, turned.facts.height) == (60, 80)

    def test_the_pixel_digest_is_of_the_picture_not_of_the_file(self, tmp_path: Path) -> None:
        picture = draw_picture(2)
        names = {"a.png": "PNG", "b.bmp": "BMP", "c.tif": "TIFF"}
        images = [_decoded(tmp_path, _save(tmp_path, name, encode(picture, kind))) for name, kind in names.items()]
        assert len({image.facts.pixel_digest for image in images}) == 1
        assert len({image.facts.sha256 for image in images}) == 3

    def test_the_pixel_digest_tells_pictures_and_shapes_apart(self, tmp_path: Path) -> None:
        flat = np.full((20, 40, 3), 100, dtype=np.uint8)
        changed = flat.copy()
        changed[19, 39, 2] += 1
        pictures = [flat, flat.reshape(40, 20, 3), changed, draw_picture(3)]
        files = [_save(tmp_path, f"{i}.png", encode(picture, "PNG")) for i, picture in enumerate(pictures)]
        assert len({_decoded(tmp_path, file).facts.pixel_digest for file in files}) == len(pictures)

    def test_quality_measures(self) -> None:
        flat = _quality(np.full((64, 64), 90, dtype=np.uint8))
        assert (flat.brightness, flat.contrast, flat.sharpness) == (90, 0, 0)
        assert flat.is_blank
        board = _quality((np.indices((64, 64)).sum(axis=0) % 2 * 200).astype(np.uint8))
        assert (board.brightness, board.contrast) == (100, 100)
        assert not board.is_blank
        noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
        laplacian = ndimage.correlate(noise.astype(float), [[0, -1, 0], [-1, 4, -1], [0, -1, 0]])[1:-1, 1:-1]
        measured = _quality(noise)
        assert measured.brightness == round(noise.mean(), 2)
        assert measured.contrast == round(noise.std(), 2)
        assert measured.sharpness == round(laplacian.var(), 2)
        smooth = _quality(grey_thumbnail(Image.fromarray(draw_picture(4))))
        assert 0 < smooth.sharpness < board.sharpness

    def test_a_blank_picture_is_decoded_and_marked(self, tmp_path: Path) -> None:
        blank = np.full((40, 40, 3), 250, dtype=np.uint8)
        assert _decoded(tmp_path, _save(tmp_path, "a.png", encode(blank, "PNG"))).facts.quality.is_blank
        assert not _decoded(tmp_path, _save(tmp_path, "b.png", encode(draw_picture(5), "PNG"))).facts.quality.is_blank


class TestRejections:
    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (b"", Reason.EMPTY),
            (b"text, no image at all", Reason.NOT_AN_IMAGE),
            (encode(draw_picture(6))[:1000], Reason.TRUNCATED),
            (encode(draw_picture(6, side=8), "PNG"), Reason.TOO_SMALL),
        ],
    )
    def test_bad_content(self, tmp_path: Path, data: bytes, reason: Reason) -> None:
        assert _rejected(tmp_path, _save(tmp_path, "a.jpg", data)) is reason

    @pytest.mark.parametrize("name", ["not-there.svs", "not-there.CZI", "not-there.dng"])
    def test_a_format_that_is_not_read_is_not_opened(self, tmp_path: Path, name: str) -> None:
        assert _rejected(tmp_path, ImageFile(name, "s", 10**10, 1)) is Reason.UNSUPPORTED_FORMAT

    def test_the_suffix_decides_over_formats_of_their_own(self, tmp_path: Path) -> None:
        gif = encode(draw_picture(5), "GIF")
        assert _decoded(tmp_path, _save(tmp_path, "a.GIF", gif)).facts.width == 96
        assert _rejected(tmp_path, _save(tmp_path, "b.png", gif)) is Reason.NOT_AN_IMAGE

    def test_a_file_over_the_byte_limit_is_not_read(self, tmp_path: Path) -> None:
        file = ImageFile("not-there.jpg", "s", 1001, 0)
        assert _rejected(tmp_path, file, DecodeLimits(max_bytes=1000)) is Reason.TOO_LARGE

    def test_an_image_over_the_pixel_limit(self, tmp_path: Path) -> None:
        file = _save(tmp_path, "a.png", encode(draw_picture(6), "PNG"))
        assert _rejected(tmp_path, file, DecodeLimits(max_pixels=1000)) is Reason.TOO_LARGE

    @pytest.mark.parametrize("change", [b"x", b"much more" * 1000, b""])
    def test_a_file_that_changed_its_size(self, tmp_path: Path, change: bytes) -> None:
        file = _save(tmp_path, "a.jpg", encode(draw_picture(7)))
        (tmp_path / "a.jpg").write_bytes(change)
        assert _rejected(tmp_path, file) is Reason.CHANGED_DURING_RUN

    def test_a_file_that_grew_beyond_the_limit(self, tmp_path: Path) -> None:
        file = _save(tmp_path, "a.jpg", bytes(1000))
        (tmp_path / "a.jpg").write_bytes(bytes(100_000))
        assert _rejected(tmp_path, file, DecodeLimits(max_bytes=1000)) is Reason.CHANGED_DURING_RUN

    def test_no_more_is_set_aside_than_the_file_holds(self, tmp_path: Path) -> None:
        file = _save(tmp_path, "a.jpg", b"text, no image at all")
        tracemalloc.start()
        try:
            _rejected(tmp_path, file)
            assert tracemalloc.get_traced_memory()[1] < 10_000_000  # not the 500 MB that a file may have
        finally:
            tracemalloc.stop()

    @pytest.mark.parametrize(("change", "said"), [(b"x", "1 when read"), (b"x" * 100_000, "more when read")])
    def test_a_changed_size_is_told(self, tmp_path: Path, change: bytes, said: str) -> None:
        file = _save(tmp_path, "a.jpg", encode(draw_picture(7)))
        (tmp_path / "a.jpg").write_bytes(change)
        outcome = _decode(tmp_path, file)
        assert isinstance(outcome, Rejection)
        assert outcome.detail == f"{file.size_bytes} bytes when scanned, {said}"

    def test_a_file_that_vanished(self, tmp_path: Path) -> None:
        file = _save(tmp_path, "a.jpg", encode(draw_picture(7)))
        (tmp_path / "a.jpg").unlink()
        assert _rejected(tmp_path, file) is Reason.CHANGED_DURING_RUN

    def test_a_dangling_link(self, tmp_path: Path) -> None:
        (tmp_path / "a.jpg").symlink_to("nowhere")
        assert _rejected(tmp_path, ImageFile("a.jpg", "s", 0, 0)) is Reason.BROKEN_LINK

    def test_a_link_that_broke_during_the_run(self, tmp_path: Path) -> None:
        (tmp_path / "a.jpg").symlink_to("gone.jpg")
        assert _rejected(tmp_path, ImageFile("a.jpg", "s", 10, 1)) is Reason.CHANGED_DURING_RUN

    @pytest.mark.parametrize("target", ["b.jpg/inside", "n" * 300])
    def test_a_link_to_a_name_that_cannot_be(self, tmp_path: Path, target: str) -> None:
        (tmp_path / "b.jpg").write_bytes(b"")
        (tmp_path / "a.jpg").symlink_to(target)
        assert _rejected(tmp_path, ImageFile("a.jpg", "s", 0, 0)) is Reason.BROKEN_LINK

    def test_a_link_to_itself(self, tmp_path: Path) -> None:
        (tmp_path / "a.jpg").symlink_to("a.jpg")
        assert _rejected(tmp_path, ImageFile("a.jpg", "s", 0, 0)) is Reason.BROKEN_LINK

    def test_a_folder_in_the_place_of_the_file(self, tmp_path: Path) -> None:
        (tmp_path / "a.jpg").mkdir()
        assert _rejected(tmp_path, ImageFile("a.jpg", "s", 10, 0)) is Reason.UNREADABLE

    def test_a_file_without_permission(self, tmp_path: Path) -> None:
        file = _save(tmp_path, "a.jpg", encode(draw_picture(7)))
        (tmp_path / "a.jpg").chmod(0)
        if os.access(tmp_path / "a.jpg", os.R_OK):
            pytest.skip("this user may read everything")
        assert _rejected(tmp_path, file) is Reason.UNREADABLE

    def test_a_fifo_is_not_opened(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "a.jpg")  # opening it would wait for ever
        file = ImageFile("a.jpg", "s", 0, 0, is_regular=False)
        assert _rejected(tmp_path, file) is Reason.NOT_A_REGULAR_FILE

    def test_a_name_that_is_no_utf_8(self, tmp_path: Path) -> None:
        data = encode(draw_picture(8))
        with open(os.fsencode(tmp_path) + b"/a\xff.jpg", "wb") as handle:
            handle.write(data)
        image = _decoded(tmp_path, ImageFile("a\udcff.jpg", "s", len(data), 0))
        assert image.facts.sha256 == hashlib.sha256(data).hexdigest()


FILES = [ImageFile(f"{number:03d}.jpg", "s", 1, 0) for number in range(60)]


def _counting() -> tuple[list[str], Callable[[ImageFile], DecodedImage | Rejection]]:
    """A decoder that notes what it opened; later files are ready sooner."""
    opened: list[str] = []
    lock = threading.Lock()

    def decode(file: ImageFile) -> Rejection:
        with lock:
            opened.append(file.path)
        time.sleep(0.002 if int(file.path[:3]) % 4 == 0 else 0)
        return Rejection(file, Status.FAILED, Reason.EMPTY, "test")

    return opened, decode


def _decode_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("ahead-")]


class TestReadAhead:
    @pytest.mark.parametrize("workers", [0, 1, 4])
    @pytest.mark.parametrize("window", [1, 2, 7, 60, 1000])
    def test_the_order_is_kept(self, workers: int, window: int) -> None:
        opened, decode = _counting()
        outcomes = list(decode_ahead(FILES, decode, workers, window))
        assert [outcome.file for outcome in outcomes] == FILES
        assert sorted(opened) == [file.path for file in FILES]
        assert not _decode_threads()

    @pytest.mark.parametrize("workers", [0, 1, 4])
    @pytest.mark.parametrize("window", [1, 2, 7])
    def test_no_more_than_the_window_is_read_ahead(self, workers: int, window: int) -> None:
        opened, decode = _counting()
        ahead = []
        for used, _ in enumerate(decode_ahead(FILES, decode, workers, window), start=1):
            time.sleep(0.001)
            ahead.append(len(opened) - used)
        assert max(ahead) <= window + 1
        assert workers == 0 or window == 1 or max(ahead) >= 1

    def test_the_list_of_files_is_read_ahead_no_further(self) -> None:
        taken: list[ImageFile] = []

        def files() -> Iterator[ImageFile]:
            for file in FILES:
                taken.append(file)
                yield file

        _, decode = _counting()
        stream = decode_ahead(files(), decode, workers=2, window=5)
        next(stream)
        assert len(taken) <= 6
        stream.close()  # type: ignore[attr-defined]

    @pytest.mark.parametrize("workers", [1, 4])
    def test_closing_early_stops_the_threads(self, workers: int) -> None:
        opened, decode = _counting()
        stream = decode_ahead(FILES, decode, workers, window=10)
        next(stream)
        assert _decode_threads()
        stream.close()  # type: ignore[attr-defined]
        assert not _decode_threads()
        assert len(opened) <= 12

    @pytest.mark.parametrize("workers", [0, 2])
    def test_no_files(self, workers: int) -> None:
        assert list(decode_ahead([], _counting()[1], workers, 4)) == []
        assert not _decode_threads()

    @pytest.mark.parametrize("workers", [0, 2])
    def test_an_error_of_the_decoder_arrives_and_stops_the_threads(self, workers: int) -> None:
        def decode(file: ImageFile) -> DecodedImage | Rejection:
            if file.path.startswith("003"):
                raise RuntimeError("broken decoder")
            return Rejection(file, Status.FAILED, Reason.EMPTY, "test")

        seen: list[ImageFile] = []
        with pytest.raises(RuntimeError, match="broken decoder"):
            seen.extend(outcome.file for outcome in decode_ahead(FILES, decode, workers, 8))
        assert not _decode_threads()

    def test_threads_decode_what_the_main_thread_decodes(self, tmp_path: Path) -> None:
        files = [
            _save(tmp_path, f"{seed:02d}.jpg", encode(draw_picture(seed)) if seed % 5 else b"broken")
            for seed in range(20)
        ]
        decoder = make_decoder(str(tmp_path), PREPROCESSING, LIMITS)
        alone = list(decode_ahead(files, decoder, workers=0, window=1))
        together = list(decode_ahead(files, decoder, workers=4, window=6))
        for one, other in zip(alone, together, strict=True):
            if isinstance(one, Rejection):
                assert one == other
                continue
            assert isinstance(other, DecodedImage)
            assert (one.file, one.facts) == (other.file, other.facts)
            assert np.array_equal(one.pixels, other.pixels)
