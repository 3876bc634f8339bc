import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Picture, draw_picture, encode
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngImageFile

from bloodcell_batch.images.damage import UndecodableImageError
from bloodcell_batch.images.decoding import decode_rgb
from bloodcell_batch.images.file_formats import FORMATS, IMAGE_SUFFIXES
from bloodcell_batch.images.guards import DecodeLimits
from bloodcell_batch.records import Reason

LIMITS = DecodeLimits()
ORIENTATION = 0x0112
DAMAGED = {Reason.TRUNCATED, Reason.CORRUPT, Reason.NOT_AN_IMAGE}

# Pillow warns about damaged metadata before it raises or goes on.
quiet_pillow = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


def _with_orientation(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


def _grey16(picture: Picture) -> Image.Image:
    return Image.fromarray(picture[:, :, 0].astype(np.uint16) * 257)


def _variants() -> dict[str, bytes]:
    picture = draw_picture(1, side=64)
    image = Image.fromarray(picture)
    return {
        "jpeg": encode(picture),
        "jpeg-progressive": encode(picture, progressive=True),
        "jpeg-grey": encode(image.convert("L")),
        "jpeg-cmyk": encode(image.convert("CMYK")),
        "jpeg-rgb-coded": encode(picture, keep_rgb=True),
        "jpeg-exif": encode(picture, exif=_with_orientation(6)),
        "png": encode(picture, "PNG"),
        "png-palette": encode(image.convert("P"), "PNG"),
        "png-grey16": encode(_grey16(picture), "PNG"),
        "png-exif": encode(picture, "PNG", exif=_with_orientation(6)),
        "tiff": encode(picture, "TIFF"),
        "tiff-lzw": encode(picture, "TIFF", compression="tiff_lzw"),
        "tiff-deflate": encode(picture, "TIFF", compression="tiff_adobe_deflate"),
        "tiff-jpeg": encode(picture, "TIFF", compression="jpeg"),
        "tiff-exif": encode(picture, "TIFF", exif=_with_orientation(6)),
        "bmp": encode(picture, "BMP"),
        "webp": encode(picture, "WEBP"),
        "webp-lossless": encode(picture, "WEBP", lossless=True),
    }


VARIANTS = _variants()
every_variant = pytest.mark.parametrize("name", VARIANTS)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _png(side: int, depth: int, colour: int, rows: bytes, *extra: bytes) -> bytes:
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, depth, colour, 0, 0, 0))
    body = _chunk(b"IDAT", zlib.compress(rows, 1))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + body + _chunk(b"IEND", b"")


def _black_png(*extra: bytes) -> bytes:
    return _png(32, 8, 2, bytes(32 * 97), *extra)


def _pillow(data: bytes) -> Picture:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def _reason(data: bytes, limits: DecodeLimits = LIMITS) -> Reason:
    with pytest.raises(UndecodableImageError) as caught:
        decode_rgb(data, limits)
    assert caught.value.detail
    return caught.value.reason


def _decode(data: bytes) -> Picture | Reason:
    """The pixels, or the reason why there are none; any other exception is the decoder's mistake."""
    try:
        return decode_rgb(data, LIMITS)
    except UndecodableImageError as error:
        return error.reason


def _largest_gap(one: Picture, other: Picture) -> int:
    assert one.shape == other.shape
    return int(np.abs(one.astype(int) - other.astype(int)).max())


class TestJpeg:
    @pytest.mark.parametrize("seed", range(20))
    @pytest.mark.parametrize(
        "options",
        [
            {"quality": 95},
            {"quality": 40},
            {"progressive": True},
            {"subsampling": "4:4:4"},
            {"subsampling": "4:2:2"},
            {"optimize": True},
        ],
        ids=str,
    )
    def test_pixels_are_identical_to_pillows(self, seed: int, options: dict[str, Any]) -> None:
        data = encode(draw_picture(seed, side=50 + seed, height=97 - seed), **options)
        assert np.array_equal(decode_rgb(data, LIMITS), _pillow(data))

    def test_pixels_of_real_images_are_identical_to_pillows(self, pbc: Path) -> None:
        files = sorted(pbc.glob("*/[!.]*.jpg"))
        for file in files[:: max(1, len(files) // 50)]:
            data = file.read_bytes()
            assert np.array_equal(decode_rgb(data, LIMITS), _pillow(data)), file.name

    def test_grey_becomes_three_equal_channels(self) -> None:
        data = encode(Image.fromarray(draw_picture(2)).convert("L"))
        rgb = decode_rgb(data, LIMITS)
        assert rgb.shape == (96, 96, 3)
        assert (rgb == rgb[:, :, :1]).all()
        assert np.array_equal(rgb, _pillow(data))

    @pytest.mark.parametrize("name", ["jpeg-cmyk", "jpeg-rgb-coded"])
    def test_unusual_colour_spaces_come_out_as_pillow_converts_them(self, name: str) -> None:
        rgb = decode_rgb(VARIANTS[name], LIMITS)
        assert _largest_gap(rgb, _pillow(VARIANTS[name])) <= 2
        assert _largest_gap(rgb, draw_picture(1, side=64)) <= 40

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_exif_orientation_is_undone(self, orientation: int) -> None:
        data = encode(draw_picture(3, side=80, height=48), exif=_with_orientation(orientation))
        rgb = decode_rgb(data, LIMITS)
        assert np.array_equal(rgb, _pillow(data))
        assert rgb.shape == ((80, 48, 3) if orientation > 4 else (48, 80, 3))
        assert rgb.flags.c_contiguous

    @pytest.mark.parametrize("orientation", [0, 9, 65535])
    def test_meaningless_orientation_changes_nothing(self, orientation: int) -> None:
        picture = draw_picture(3, side=80, height=48)
        data = encode(picture, exif=_with_orientation(orientation))
        assert np.array_equal(decode_rgb(data, LIMITS), decode_rgb(encode(picture), LIMITS))

    @pytest.mark.parametrize("tail", [b"\0" * 100, b"padding", b"\r\n"])
    def test_bytes_after_the_end_marker_are_no_damage(self, tail: bytes) -> None:
        data = VARIANTS["jpeg"]
        assert np.array_equal(decode_rgb(data + tail, LIMITS), decode_rgb(data, LIMITS))

    def test_an_end_marker_in_the_middle_is_damage(self) -> None:
        data = VARIANTS["jpeg"]
        assert _reason(data[: len(data) * 3 // 4] + b"\xff\xd9") in DAMAGED


class TestOtherFormats:
    @pytest.mark.parametrize(
        ("kind", "options"),
        [
            ("PNG", {}),
            ("TIFF", {}),
            ("TIFF", {"compression": "tiff_lzw"}),
            ("TIFF", {"compression": "tiff_adobe_deflate"}),
            ("TIFF", {"compression": "packbits"}),
            ("BMP", {}),
            ("WEBP", {"lossless": True}),
        ],
        ids=str,
    )
    def test_lossless_pixels_come_back(self, kind: str, options: dict[str, Any]) -> None:
        picture = draw_picture(4, side=70, height=50)
        rgb = decode_rgb(encode(picture, kind, **options), LIMITS)
        assert rgb.dtype == np.uint8
        assert np.array_equal(rgb, picture)

    @pytest.mark.parametrize(
        ("kind", "options"), [("TIFF", {"compression": "jpeg", "quality": 95}), ("WEBP", {"quality": 95})], ids=str
    )
    def test_lossy_pixels_come_back_nearly(self, kind: str, options: dict[str, Any]) -> None:
        picture = draw_picture(4, side=70, height=50)
        data = encode(picture, kind, **options)
        rgb = decode_rgb(data, LIMITS)
        assert np.array_equal(rgb, _pillow(data))
        assert float(np.abs(rgb.astype(float) - picture).mean()) < 20

    @pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
    @pytest.mark.parametrize("orientation", [2, 6])
    def test_exif_orientation_is_undone(self, kind: str, orientation: int) -> None:
        picture = draw_picture(5, side=60, height=40)
        options: dict[str, object] = {"lossless": True} if kind == "WEBP" else {}
        data = encode(picture, kind, exif=_with_orientation(orientation), **options)
        upright = picture[:, ::-1] if orientation == 2 else np.rot90(picture, -1)
        assert np.array_equal(decode_rgb(data, LIMITS), upright)

    @pytest.mark.parametrize("kind", ["PNG", "TIFF"])
    def test_alpha_is_laid_over_white(self, kind: str) -> None:
        picture = draw_picture(6, side=32)
        alpha = np.zeros((32, 32, 1), dtype=np.uint8)
        alpha[:, 16:] = 255
        alpha[0, 0] = 128
        rgb = decode_rgb(encode(Image.fromarray(np.dstack([picture, alpha])), kind), LIMITS)
        assert (rgb[1:, :16] == 255).all()
        assert np.array_equal(rgb[:, 16:], picture[:, 16:])
        half = 255 + (picture[0, 0].astype(float) - 255) * 128 / 255
        assert np.abs(rgb[0, 0] - half).max() <= 1

    def test_grey_with_alpha_is_laid_over_white(self) -> None:
        pixels = np.full((20, 20, 2), 90, dtype=np.uint8)
        pixels[:, :, 1] = 255
        pixels[5:, :, 1] = 0
        rgb = decode_rgb(encode(Image.fromarray(pixels), "PNG"), LIMITS)
        assert (rgb[:5] == 90).all()
        assert (rgb[5:] == 255).all()

    def test_a_transparent_palette_colour_is_laid_over_white(self) -> None:
        indices = np.zeros((20, 20), dtype=np.uint8)
        indices[10:] = 1
        image = Image.fromarray(indices, mode=None).convert("P")
        image.putpalette([200, 10, 10, 10, 200, 10])
        rgb = decode_rgb(encode(image, "PNG", transparency=0), LIMITS)
        assert (rgb[:10] == 255).all()
        assert (rgb[10:] == (10, 200, 10)).all()

    def test_a_palette_becomes_its_colours(self) -> None:
        image = Image.fromarray(draw_picture(7)).convert("P", palette=Image.Palette.ADAPTIVE)
        assert np.array_equal(decode_rgb(encode(image, "PNG"), LIMITS), np.asarray(image.convert("RGB")))

    @pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
    def test_one_bit_becomes_black_and_white(self, kind: str) -> None:
        image = Image.fromarray(draw_picture(8)).convert("1")
        rgb = decode_rgb(encode(image, kind), LIMITS)
        assert set(np.unique(rgb)) == {0, 255}
        assert np.array_equal(rgb[:, :, 0] == 255, np.asarray(image))

    @pytest.mark.parametrize("kind", ["PNG", "TIFF"])
    def test_16_bit_grey_is_scaled_from_its_full_range(self, kind: str) -> None:
        ramp = np.linspace(0, 65535, 32 * 32).astype(np.uint16).reshape(32, 32)
        rgb = decode_rgb(encode(Image.fromarray(ramp), kind), LIMITS)
        assert (rgb[0, 0] == 0).all()
        assert (rgb[-1, -1] == 255).all()
        assert np.abs(rgb[:, :, 0] - ramp / 65535 * 255).max() <= 1
        assert (rgb == rgb[:, :, :1]).all()

    def test_big_endian_16_bit_tiff_is_read_in_its_byte_order(self) -> None:
        ramp = np.linspace(0, 65535, 32 * 32).astype(np.uint16).reshape(32, 32)
        image = Image.frombytes("I;16B", (32, 32), ramp.astype(">u2").tobytes())
        assert np.array_equal(decode_rgb(encode(image, "TIFF"), LIMITS)[:, :, 0], ramp >> 8)

    def test_every_suffix_names_a_format_that_pillow_can_read(self) -> None:
        Image.init()
        assert {kind.pillow for kind in FORMATS if kind.pillow} <= {*Image.OPEN, "HEIF"}
        assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in IMAGE_SUFFIXES)

    def test_a_fresh_process_reads_formats_that_pillow_loads_late(self, tmp_path: Path) -> None:
        (tmp_path / "a.tif").write_bytes(VARIANTS["tiff-lzw"])
        (tmp_path / "b.webp").write_bytes(VARIANTS["webp"])
        program = (
            "import pathlib, sys; from bloodcell_batch.images.decoding import decode_rgb; "
            "from bloodcell_batch.images.guards import DecodeLimits\n"
            "for name in sys.argv[1:]: print(decode_rgb(pathlib.Path(name).read_bytes(), DecodeLimits()).shape)"
        )
        command = [sys.executable, "-c", program, "a.tif", "b.webp"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines() == ["(64, 64, 3)"] * 2


class TestDamage:
    @quiet_pillow
    @every_variant
    def test_no_cut_file_decodes_to_other_pixels(self, name: str) -> None:
        data = VARIANTS[name]
        whole = decode_rgb(data, LIMITS)
        spread = range(1, len(data), max(1, len(data) // 60))
        for cut in sorted({*spread, *range(1, 64), *range(len(data) - 40, len(data))}):
            outcome = _decode(data[:cut])
            if isinstance(outcome, Reason):
                assert outcome in DAMAGED, f"cut to {cut} bytes"
            else:
                assert np.array_equal(outcome, whole), f"cut to {cut} bytes"

    @pytest.mark.parametrize("name", ["jpeg", "jpeg-progressive", "jpeg-grey", "jpeg-cmyk", "png", "tiff", "bmp"])
    @pytest.mark.parametrize("share", [0.5, 0.9])
    def test_half_a_file_is_called_truncated(self, name: str, share: float) -> None:
        data = VARIANTS[name]
        assert _reason(data[: int(len(data) * share)]) is Reason.TRUNCATED

    @quiet_pillow
    @every_variant
    def test_random_damage_raises_nothing_else(self, name: str) -> None:
        data = VARIANTS[name]
        rng = np.random.default_rng(len(data))
        refused = 0
        for _ in range(300):
            damaged = bytearray(data)
            # Half of the damage goes into the header and the metadata.
            reach = len(data) if rng.random() < 0.5 else min(300, len(data))
            for place in rng.integers(2, reach, rng.integers(1, 6)):
                damaged[place] ^= 1 << int(rng.integers(8))
            outcome = _decode(bytes(damaged))
            if isinstance(outcome, Reason):
                refused += 1
            else:
                assert outcome.ndim == 3
                assert outcome.dtype == np.uint8
        assert refused > 20

    @quiet_pillow
    @pytest.mark.parametrize(
        "extra",
        [
            _chunk(b"eXIf", b"MM\0*"),
            _chunk(b"eXIf", b"II*\0\x08\0\0\0\x05\0\x12\x01"),
            _chunk(b"eXIf", b"garbage"),
            _chunk(b"eXIf", b""),
            _chunk(b"zTXt", b"key\0\0garbage"),
            _chunk(b"iTXt", b"key\0\1\0\0\0garbage"),
            _chunk(b"iCCP", b"name\0\0garbage"),
            _chunk(b"tRNS", b"\1"),
            _chunk(b"acTL", bytes(8)),
            _chunk(b"acTL", b"\0"),
            _chunk(b"pHYs", b"\0"),
        ],
        ids=str,
    )
    def test_damaged_png_metadata_raises_nothing_else(self, extra: bytes) -> None:
        outcome = _decode(_black_png(extra))
        assert outcome in DAMAGED if isinstance(outcome, Reason) else not outcome.any()

    def test_wrong_checksum_of_a_png_is_damage(self) -> None:
        data = bytearray(VARIANTS["png"])
        data[len(data) // 2] ^= 0x55
        assert _reason(bytes(data)) in DAMAGED

    def test_no_bytes_is_empty(self) -> None:
        assert _reason(b"") is Reason.EMPTY

    @pytest.mark.parametrize(
        "data",
        [
            b"just a note about this slide\n" * 10,
            b"%PDF-1.7\n" + bytes(100),
            b"<html><body>404</body></html>",
            bytes(1000),
            b"x",
            encode(draw_picture(9), "GIF"),
            encode(draw_picture(9), "PPM"),
            encode(draw_picture(9), "JPEG2000"),
        ],
        ids=["text", "pdf", "html", "zeros", "one byte", "gif", "ppm", "jpeg 2000"],
    )
    def test_other_content_is_no_image(self, data: bytes) -> None:
        assert _reason(data) is Reason.NOT_AN_IMAGE


class TestLimits:
    def test_a_huge_image_is_refused_from_its_header(self, monkeypatch: pytest.MonkeyPatch) -> None:
        data = _png(30_000, 1, 0, bytes((30_000 // 8 + 1) * 30_000))
        # Decoding would take a second and 900 MB.
        monkeypatch.setattr(PngImageFile, "load", lambda _: pytest.fail("it was decoded"))
        assert _reason(data) is Reason.TOO_LARGE

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP", "WEBP"])
    def test_borders_of_the_size_limits(self, kind: str) -> None:
        data = encode(draw_picture(10, side=40, height=20), kind)
        assert decode_rgb(data, DecodeLimits(max_pixels=800, min_side=20)).shape == (20, 40, 3)
        assert _reason(data, DecodeLimits(max_pixels=799)) is Reason.TOO_LARGE
        assert _reason(data, DecodeLimits(min_side=21)) is Reason.TOO_SMALL

    def test_the_default_limits(self) -> None:
        assert _reason(encode(draw_picture(10, side=15, height=400))) is Reason.TOO_SMALL
        assert decode_rgb(encode(draw_picture(10, side=16, height=16)), LIMITS).shape == (16, 16, 3)

    @pytest.mark.parametrize("kind", ["TIFF", "WEBP", "PNG"])
    def test_several_images_in_one_file_are_refused(self, kind: str) -> None:
        first, second = (Image.fromarray(draw_picture(seed)) for seed in (11, 12))
        assert _reason(encode(first, kind, save_all=True, append_images=[second])) is Reason.MULTIPLE_FRAMES

    @pytest.mark.parametrize("dtype", [np.int32, np.float32])
    def test_pixels_without_a_fixed_range_are_refused(self, dtype: type[np.generic]) -> None:
        grey = draw_picture(13)[:, :, 0].astype(dtype)
        assert _reason(encode(Image.fromarray(grey), "TIFF")) is Reason.UNSUPPORTED_PIXELS
