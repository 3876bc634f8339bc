"""What is read, refused and ignored: the table in the code, the files themselves, and the page in the docs."""

import io
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import draw_picture, encode
from PIL import Image, features

from bloodcell_batch.images import decoding
from bloodcell_batch.images.damage import UndecodableImageError
from bloodcell_batch.images.decoding import decode_rgb
from bloodcell_batch.images.file_formats import FORMATS, IMAGE_SUFFIXES, LEFT_OUT, check_suffix, suffix_of, why_left_out
from bloodcell_batch.images.guards import DecodeLimits
from bloodcell_batch.records import Reason

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "formats.md"
LIMITS = DecodeLimits()
PICTURE = draw_picture(8, 64)
IMAGE = Image.fromarray(PICTURE).resize((96, 96), Image.Resampling.BICUBIC)
SOFT = np.asarray(IMAGE)

pydicom = pytest.importorskip("pydicom")
pillow_heif = pytest.importorskip("pillow_heif")


def heic(*images: Image.Image) -> bytes:
    file = pillow_heif.HeifFile()
    for image in images:
        file.add_from_pillow(image)
    stream = io.BytesIO()
    file.save(stream, quality=95)
    return stream.getvalue()


def dicom(levels: np.ndarray, colours: str, bits: int = 8, frames: int = 1) -> bytes:
    """An uncompressed DICOM file."""
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.2"  # microscopic image
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    data = pydicom.dataset.Dataset()
    data.file_meta = meta
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, "1.2.3"
    data.Rows, data.Columns = levels.shape[:2]
    data.SamplesPerPixel = levels.shape[2] if levels.ndim == 3 else 1
    if levels.ndim == 3:
        data.PlanarConfiguration = 0
    data.PhotometricInterpretation = colours
    data.BitsAllocated = levels.dtype.itemsize * 8
    data.BitsStored, data.HighBit, data.PixelRepresentation = bits, bits - 1, 0
    if frames > 1:
        data.NumberOfFrames = frames
    data.PixelData = levels.tobytes() * frames
    stream = io.BytesIO()
    data.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def refusal(data: bytes, suffix: str) -> UndecodableImageError:
    with pytest.raises(UndecodableImageError) as caught:
        decode_rgb(data, LIMITS, suffix)
    return caught.value


FILES = {
    ".gif": encode(IMAGE, "GIF"),
    ".jp2": encode(IMAGE, "JPEG2000"),
    ".avif": encode(IMAGE, "AVIF", quality=95) if features.check("avif") else b"",
    ".heic": heic(IMAGE),
    ".dcm": dicom(SOFT, "RGB"),
}


class TestRead:
    @pytest.mark.parametrize("suffix", FILES)
    def test_formats_under_their_own_suffix(self, suffix: str) -> None:
        if not FILES[suffix]:
            pytest.skip("this Pillow was built without it")
        rgb = decode_rgb(FILES[suffix], LIMITS, suffix)
        assert np.abs(rgb.astype(int) - SOFT).mean() < 12

    @pytest.mark.parametrize("suffix", FILES)
    @pytest.mark.parametrize("other", [".png", ".jpg", ""])
    def test_the_same_under_another_suffix_is_no_image(self, suffix: str, other: str) -> None:
        assert refusal(FILES[suffix] or b"x", other).reason is Reason.NOT_AN_IMAGE

    @pytest.mark.parametrize("suffix", FILES)
    def test_sizes_are_limited(self, suffix: str) -> None:
        if FILES[suffix]:
            with pytest.raises(UndecodableImageError) as caught:
                decode_rgb(FILES[suffix], DecodeLimits(max_pixels=9000), suffix)
            assert caught.value.reason is Reason.TOO_LARGE

    @pytest.mark.parametrize("suffix", FILES)
    def test_cut_files_are_refused(self, suffix: str) -> None:
        data = FILES[suffix]
        for length in (len(data) // 2, len(data) // 4, 40):
            refusal(data[:length] or b"x", suffix)

    @pytest.mark.parametrize("suffix", [".gif", ".heic", ".dcm", ".avif"])
    def test_several_pictures_in_one_file(self, suffix: str) -> None:
        other = Image.fromarray(255 - SOFT)
        several = {
            ".gif": lambda: encode(IMAGE, "GIF", save_all=True, append_images=[other]),
            ".heic": lambda: heic(IMAGE, other),
            ".dcm": lambda: dicom(SOFT, "RGB", frames=3),
            ".avif": lambda: encode(IMAGE, "AVIF", save_all=True, append_images=[other]),
        }
        if suffix == ".avif" and not features.check("avif"):
            pytest.skip("this Pillow was built without it")
        assert refusal(several[suffix](), suffix).reason is Reason.MULTIPLE_FRAMES

    def test_dicom_greys(self) -> None:
        grey = SOFT[:, :, 0]
        for colours, stored in (("MONOCHROME2", grey), ("MONOCHROME1", 255 - grey)):
            assert np.array_equal(decode_rgb(dicom(stored, colours), LIMITS, ".dcm")[:, :, 1], grey)

    def test_dicom_levels_that_need_a_window_are_refused(self) -> None:
        error = refusal(dicom(SOFT[:, :, 0].astype(np.uint16) * 16, "MONOCHROME2", bits=12), ".dcm")
        assert error.reason is Reason.UNSUPPORTED_PIXELS

    @pytest.mark.parametrize(("suffix", "module"), [(".heic", "pillow_heif"), (".dcm", "pydicom")])
    def test_without_the_extra_it_says_what_to_install(
        self, suffix: str, module: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, module, None)
        decoding._add_heif.cache_clear()
        error = refusal(FILES[suffix], suffix)
        assert error.reason is Reason.UNSUPPORTED_FORMAT
        assert "bloodcell-batch[formats]" in error.detail
        assert "save the picture as PNG" in error.detail

    @pytest.mark.parametrize("suffix", [".avif", ".jp2"])
    def test_a_pillow_that_lacks_the_format(self, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(features, "check", lambda _: False)
        assert refusal(FILES[suffix] or b"x", suffix).reason is Reason.UNSUPPORTED_FORMAT


class TestRefused:
    @pytest.mark.parametrize("suffix", [suffix for kind in FORMATS if kind.refused for suffix in kind.suffixes])
    def test_formats_that_are_not_read_say_what_to_do(self, suffix: str) -> None:
        with pytest.raises(UndecodableImageError) as caught:
            check_suffix(suffix)
        assert caught.value.reason is Reason.UNSUPPORTED_FORMAT
        assert IMAGE_SUFFIXES[suffix].refused in caught.value.detail

    def test_all_others_may_be_tried(self) -> None:
        for kind in FORMATS:
            for suffix in () if kind.refused else kind.suffixes:
                check_suffix(suffix)

    def test_suffixes_are_unique(self) -> None:
        assert len(IMAGE_SUFFIXES) == sum(len(kind.suffixes) for kind in FORMATS)

    @pytest.mark.parametrize(
        ("path", "suffix"),
        [("a/b.JPG", ".jpg"), ("a.b/c", ""), (".jpg", ""), ("a.tar.gz", ".gz"), ("ä/ö.TIF", ".tif")],
    )
    def test_suffixes(self, path: str, suffix: str) -> None:
        assert suffix_of(path) == suffix


class TestLeftOut:
    @pytest.mark.parametrize(
        ("path", "why"),
        [
            ("s/@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg", "system folder"),
            ("@Recycle/s/a.jpg", "system folder"),
            ("s/@tmp/a.png", "system folder"),
            ("#recycle/a.jpg", "system folder"),
            ("#snapshot/2026-01-01/s/a.jpg", "system folder"),
            ("$RECYCLE.BIN/S-1-5/$R123.jpg", "system folder"),
            ("RECYCLER/a.jpg", "system folder"),
            ("System Volume Information/a.jpg", "system folder"),
            ("lost+found/a.jpg", "system folder"),
            ("s/__MACOSX/a.jpg", "system folder"),
            ("found.000/a.jpg", "system folder"),
            ("Network Trash Folder/a.jpg", "system folder"),
            ("s/thumbs/a.jpg", "thumbnail folder"),
            ("s/Thumbnails/a.jpg", "thumbnail folder"),
            ("s/.thumbnails/a.jpg", "hidden"),
            ("s/.AppleDouble/a.jpg", "hidden"),
            ("s/._a.jpg", "hidden"),
            (".Trash-1000/files/a.jpg", "hidden"),
            ("s/.@__thumb/a.jpg", "hidden"),
            ("s/Thumbs.db", "system file"),
            ("s/AlbumArtSmall.jpg", "system file"),
            ("s/~$notes.docx", "system file"),
            ("study/importances.png", "own picture"),
            ("m.training/curves.png", "own picture"),
        ],
    )
    def test_what_boxes_systems_and_viewers_leave(self, path: str, why: str) -> None:
        assert why_left_out(path) == why

    @pytest.mark.parametrize(
        "path",
        ["s/a.jpg", "#1.jpg", "s/@1.png", "s/$5.tif", "thumbs.jpg", "s/thumb_a.jpg", "s/a.thumbs/b.jpg", "a#1/b.jpg"],
    )
    def test_pictures_and_slides_stay(self, path: str) -> None:
        assert not why_left_out(path)


class TestPage:
    """The page of the documentation says what the table in the code says."""

    def test_every_format_has_its_row(self) -> None:
        rows = {row[0]: row for row in _rows("read") + _rows("refused")}
        assert set(rows) == {kind.name for kind in FORMATS}
        for kind in FORMATS:
            assert rows[kind.name][1:] == (
                [_suffixes(kind.suffixes), kind.refused]
                if kind.refused
                else [_suffixes(kind.suffixes), kind.reader, kind.notes]
            )

    def test_every_kind_of_ignored_files_has_its_row(self) -> None:
        assert _rows("ignored") == [[kind.why, kind.what] for kind in LEFT_OUT]


def _suffixes(suffixes: tuple[str, ...]) -> str:
    return " ".join(f"`{suffix}`" for suffix in suffixes)


def _rows(table: str) -> list[list[str]]:
    """Cells of the table after a mark, without its head."""
    block = PAGE.read_text(encoding="utf-8").split(f"<!-- {table} -->\n")[1].split("\n\n")[0]
    return [re.split(r" +\| +", line.strip("| ")) for line in block.splitlines()[2:]]
