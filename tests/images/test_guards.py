"""Small files that would cost a decoder gigabytes or hours: each is refused, or decoded, at once."""

import contextlib
import io
import struct
import time
import tracemalloc
import zlib
from collections.abc import Iterator

import pytest
from conftest import draw_picture, encode
from PIL import Image

from bloodcell_batch.images.damage import UndecodableImageError
from bloodcell_batch.images.decoding import decode_rgb
from bloodcell_batch.images.guards import (
    MAX_SCANS,
    DecodeLimits,
    UnboundedImageError,
    check_exif,
    check_scans,
    jpeg_exif,
    tiff_pages,
    webp_size,
)
from bloodcell_batch.records import Reason

LIMITS = DecodeLimits()
PICTURE = draw_picture(1, 64)


@pytest.fixture(autouse=True)
def within_a_second() -> Iterator[None]:
    start = time.process_time()
    yield
    assert time.process_time() - start < 1


def refused(data: bytes) -> UndecodableImageError:
    with pytest.raises(UndecodableImageError) as raised:
        decode_rgb(data, LIMITS)
    return raised.value


def tags_over_the_same_bytes(tags: int, size: int) -> bytes:
    """TIFF data in which each of many tags claims all of the bytes behind the directory."""
    body = 8 + 2 + 12 * tags + 4
    entries = b"".join(struct.pack("<HHII", 40000 + i, 1, size, body) for i in range(tags))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", tags) + entries + bytes(4) + bytes(size)


def with_chunk(png: bytes, name: bytes, body: bytes) -> bytes:
    """A PNG with one chunk more, behind its header."""
    chunk = struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    return png[:33] + chunk + png[33:]


class TestJpeg:
    def test_thousands_of_scans(self) -> None:
        jpeg = encode(PICTURE, "JPEG", progressive=True)
        last = jpeg.rindex(b"\xff\xda")
        bomb = jpeg[:-2] + jpeg[last:-2] * 5000 + b"\xff\xd9"
        error = refused(bomb)
        assert error.reason is Reason.CORRUPT
        assert "scans in one JPEG" in error.detail
        check_scans(jpeg)
        assert jpeg.count(b"\xff\xda") < MAX_SCANS / 5

    def test_exif_tags_that_claim_the_same_bytes_say_nothing(self) -> None:
        exif = b"Exif\0\0" + tags_over_the_same_bytes(4000, 10_000)
        jpeg = encode(PICTURE)
        bomb = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]
        assert jpeg_exif(bomb) == exif[6:]
        with pytest.raises(UnboundedImageError):
            check_exif(exif)
        assert decode_rgb(bomb, LIMITS).shape == (64, 64, 3)

    def test_the_same_in_a_jpeg_that_pillow_reads(self) -> None:
        exif = b"Exif\0\0" + tags_over_the_same_bytes(4000, 10_000)
        jpeg = encode(Image.fromarray(PICTURE).convert("CMYK"))
        assert (
            "claim more bytes"
            in refused(jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]).detail
        )

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_sound_exif_is_followed(self, orientation: int) -> None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
            upright = decode_rgb(encode(draw_picture(1, 64, 32), kind, exif=exif.tobytes()), LIMITS)
            assert upright.shape[:2] == ((64, 32) if orientation > 4 else (32, 64)), kind


class TestTiff:
    def test_tags_that_claim_the_same_bytes(self) -> None:
        bomb = tags_over_the_same_bytes(20_000, 1_000_000)  # 20 GB in a file of 1.2 MB
        error = refused(bomb)
        assert error.reason is Reason.CORRUPT
        assert "claim more bytes" in error.detail

    def test_directories_without_end(self) -> None:
        pages = 150_000  # Pillow compares each with all before it
        chain = b"".join(struct.pack("<HI", 0, 8 + 6 * (i + 1)) for i in range(pages))
        assert "more than 1000 pages" in refused(b"II*\0\x08\0\0\0" + chain).detail

    def test_directories_in_a_circle(self) -> None:
        tiff = bytearray(encode(PICTURE, "TIFF"))
        (first,) = struct.unpack_from("<I", tiff, 4)
        (count,) = struct.unpack_from("<H", tiff, first)
        struct.pack_into("<I", tiff, first + 2 + 12 * count, first)
        assert tiff_pages(bytes(tiff)) == 1
        assert decode_rgb(bytes(tiff), LIMITS).shape == (64, 64, 3)

    def test_pages_are_counted(self) -> None:
        stream = io.BytesIO()
        image = Image.fromarray(PICTURE)
        image.save(stream, "TIFF", save_all=True, append_images=[image, image])
        assert tiff_pages(stream.getvalue()) == 3
        assert refused(stream.getvalue()).reason is Reason.MULTIPLE_FRAMES

    def test_big_tiff(self) -> None:
        data = encode(PICTURE, "TIFF", big_tiff=True)
        assert tiff_pages(data) == 1
        assert decode_rgb(data, LIMITS).shape == (64, 64, 3)

    def test_a_count_that_no_file_can_hold(self) -> None:
        entry = struct.pack("<HHQQ", 273, 16, 2**61, 16)
        data = b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 1) + entry + bytes(8)
        assert "claim more bytes" in refused(data).detail

    def test_fax_compression_hides_damage(self) -> None:
        data = encode(Image.fromarray(PICTURE).convert("1"), "TIFF", compression="group4")
        error = refused(data)
        assert error.reason is Reason.UNSUPPORTED_PIXELS
        assert "CCITT" in error.detail

    @pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"])
    def test_sound_files_pass(self, compression: str) -> None:
        assert decode_rgb(encode(PICTURE, "TIFF", compression=compression), LIMITS).shape == (64, 64, 3)


class TestPng:
    @pytest.mark.parametrize(
        ("name", "before"), [(b"zTXt", b"key\0\0"), (b"iTXt", b"key\0\1\0\0\0"), (b"iCCP", b"key\0\0")]
    )
    def test_texts_and_profiles_that_unpack_to_gigabytes(self, name: bytes, before: bytes) -> None:
        packer = zlib.compressobj(9)
        body = before + b"".join(packer.compress(bytes(1_000_000)) for _ in range(60)) + packer.flush()
        bomb = with_chunk(encode(PICTURE, "PNG"), name, body)
        tracemalloc.start()
        with contextlib.suppress(UndecodableImageError):
            assert decode_rgb(bomb, LIMITS).shape == (64, 64, 3)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
        tracemalloc.stop()

    def test_exif_tags_that_claim_the_same_bytes(self) -> None:
        bomb = with_chunk(encode(PICTURE, "PNG"), b"eXIf", tags_over_the_same_bytes(20_000, 1_000_000))
        assert "claim more bytes" in refused(bomb).detail


class TestSizes:
    def test_webp_sizes_are_those_of_pillow(self) -> None:
        image = Image.fromarray(draw_picture(1, 70, 40))
        for options in ({}, {"lossless": True}, {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0"}):
            assert webp_size(encode(image, "WEBP", **options)) == (70, 40)
        assert webp_size(encode(image.convert("RGBA"), "WEBP")) == (70, 40)
        assert webp_size(b"RIFF") is None
        assert webp_size(b"RIFF\0\0\0\0WEBPnone" + bytes(30)) is None

    def test_sizes_that_no_memory_holds(self) -> None:
        webp = b"RIFF" + struct.pack("<I", 100) + b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + b"\xfe\x3f\0" * 2
        png = bytearray(encode(PICTURE, "PNG"))
        struct.pack_into(">II", png, 16, 2**31 - 1, 2**31 - 1)
        struct.pack_into(">I", png, 29, zlib.crc32(png[12:29]))
        bmp = bytearray(encode(PICTURE, "BMP"))
        struct.pack_into("<ii", bmp, 18, 2**31 - 1, 2**31 - 1)
        jpeg = bytearray(encode(PICTURE))
        struct.pack_into(">HH", jpeg, jpeg.index(b"\xff\xc0") + 5, 65000, 65000)
        for data in (webp + bytes(60), bytes(png), bytes(bmp), bytes(jpeg)):
            assert refused(data).reason is Reason.TOO_LARGE
