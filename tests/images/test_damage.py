"""What a decoder raises is said of the image; what our own code raises is a bug, and a full memory is neither."""

from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
import pytest
import simplejpeg
import tifffile
from conftest import draw_picture, encode
from PIL import Image, ImageFile

from bloodcell_batch.images import decoding, guards, jpeg, tiff
from bloodcell_batch.images.damage import UndecodableImageError, decoder_call
from bloodcell_batch.images.decoding import decode_rgb
from bloodcell_batch.images.guards import DecodeLimits
from bloodcell_batch.records import Reason

LIMITS = DecodeLimits()
PICTURE = draw_picture(1, 64)
EXIF = Image.Exif()
EXIF[0x0112] = 6
FILES = {
    "jpeg": encode(PICTURE, exif=EXIF),
    "cmyk": encode(Image.fromarray(PICTURE).convert("CMYK")),
    "odd sampling": encode(Image.fromarray(PICTURE).convert("CMYK"), subsampling=2),
    "wide png": bytes(imagecodecs.png_encode(PICTURE.astype(np.uint16) * 257)),
    "png": encode(Image.fromarray(PICTURE).convert("RGBA"), "PNG"),
    "tiff": encode(PICTURE, "TIFF"),
    "bmp": encode(PICTURE, "BMP"),
    "webp": encode(PICTURE, "WEBP"),
}
ERRORS = (AttributeError, TypeError, AssertionError, KeyError, RuntimeError, ZeroDivisionError, ValueError, OSError)


def raising(error: BaseException | type[BaseException]) -> Callable[..., Any]:
    def broken(*_arguments: object, **_options: object) -> object:
        raise error

    return broken


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize(
    ("where", "name", "kind"),
    [
        (jpeg, "check_size", "jpeg"),
        (jpeg, "oriented", "jpeg"),
        (jpeg, "check_scans", "jpeg"),
        (jpeg, "check_exif", "jpeg"),
        (jpeg, "oriented", "cmyk"),
        (jpeg, "jpeg_structure", "odd sampling"),
        (decoding, "over_white", "png"),
        (decoding, "check_png", "png"),
        (decoding, "oriented", "bmp"),
        (guards._Directories, "_claims", "tiff"),
        (tiff, "_check_segment", "tiff"),
        (tiff, "oriented", "tiff"),
        (decoding, "webp_size", "webp"),
    ],
)
def test_a_bug_beside_the_decoder_is_no_damage(
    where: object, name: str, kind: str, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(where, name, raising(error("a bug")))
    with pytest.raises(error, match="a bug"):
        decode_rgb(FILES[kind], LIMITS)


@pytest.mark.parametrize("error", [*ERRORS, SyntaxError, RecursionError])
@pytest.mark.parametrize(
    ("where", "name", "kind"),
    [
        (simplejpeg, "decode_jpeg_header", "jpeg"),
        (simplejpeg, "decode_jpeg", "jpeg"),
        (Image, "open", "png"),
        (ImageFile.ImageFile, "load", "bmp"),
        (tifffile, "TiffFile", "tiff"),
        (tifffile.TiffPage, "asarray", "tiff"),
        (imagecodecs, "png_decode", "wide png"),
        (Image.Image, "convert", "webp"),
    ],
)
def test_whatever_a_decoder_raises_is_damage(
    where: object, name: str, kind: str, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    if error is KeyError and name == "decode_jpeg_header":
        pytest.skip("what simplejpeg raises of sampling factors that it has no name for; see test_jpeg.py")
    monkeypatch.setattr(where, name, raising(error("what libraries say")))
    with pytest.raises(UndecodableImageError, match="what libraries say") as caught:
        decode_rgb(FILES[kind], LIMITS)
    assert caught.value.reason is Reason.CORRUPT


def test_an_error_without_words_is_named_by_its_kind() -> None:
    with pytest.raises(UndecodableImageError, match="KeyError"), decoder_call():
        raise KeyError


class TestMemory:
    @pytest.mark.parametrize("kind", ["jpeg", "png"])
    def test_a_full_memory_is_no_damage(self, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(simplejpeg, "decode_jpeg", raising(MemoryError))
        monkeypatch.setattr(ImageFile.ImageFile, "load", raising(MemoryError))
        monkeypatch.setattr(np, "empty", raising(MemoryError))
        with pytest.raises(MemoryError):
            decode_rgb(FILES[kind], LIMITS)

    @pytest.mark.parametrize("kind", ["jpeg", "png"])
    def test_an_image_that_takes_more_than_there_is_fails(self, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(simplejpeg, "decode_jpeg", raising(MemoryError))
        monkeypatch.setattr(ImageFile.ImageFile, "load", raising(MemoryError))
        with pytest.raises(UndecodableImageError, match="more memory than there is") as caught:
            decode_rgb(FILES[kind], LIMITS)
        assert caught.value.reason is Reason.TOO_LARGE

    def test_memory_that_was_full_for_a_moment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        decode, errors = simplejpeg.decode_jpeg, [MemoryError]

        def second_time(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - whatever the decoder takes
            if errors:
                raise errors.pop()
            return decode(*arguments, **options)

        expected = decode_rgb(FILES["jpeg"], LIMITS)
        monkeypatch.setattr(simplejpeg, "decode_jpeg", second_time)
        assert np.array_equal(decode_rgb(FILES["jpeg"], LIMITS), expected)
