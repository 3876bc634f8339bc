"""TIFF: the tags are followed or the file is refused; what is damaged is refused in every compression."""

import contextlib
import io
import struct
from typing import Any

import numpy as np
import pytest
import tifffile
from conftest import Picture, draw_picture, encode
from numpy.typing import NDArray
from PIL import Image

from bloodcell_batch.images.damage import UndecodableImageError
from bloodcell_batch.images.decoding import decode_rgb
from bloodcell_batch.images.guards import DecodeLimits
from bloodcell_batch.records import Reason

LIMITS = DecodeLimits()
PICTURE = draw_picture(6, 72, 56)
GREY = PICTURE[:, :, 1]
PLANES = np.ascontiguousarray(np.moveaxis(PICTURE, 2, 0))
OPAQUE = np.full(GREY.shape, 255, np.uint8)
RGB: dict[str, Any] = {"photometric": "rgb"}
BLACK: dict[str, Any] = {"photometric": "minisblack"}
WHITE: dict[str, Any] = {"photometric": "miniswhite"}
WRITER = {"bigtiff", "byteorder", "imagej", "ome"}


def tiff(levels: NDArray[Any], **options: Any) -> bytes:  # noqa: ANN401 - whatever tifffile takes
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream, **{name: value for name, value in options.items() if name in WRITER}) as file:
        file.write(levels, **{name: value for name, value in options.items() if name not in WRITER})
    return stream.getvalue()


def with_tag(data: bytes, tag: int, value: int) -> bytes:
    """A little-endian TIFF whose first directory says another single number."""
    (place,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, place)
    for entry in range(place + 2, place + 2 + 12 * count, 12):
        if struct.unpack_from("<H", data, entry)[0] == tag:
            return data[: entry + 8] + struct.pack("<I", value) + data[entry + 12 :]
    raise AssertionError(f"no tag {tag}")


def without_tag(data: bytes, tag: int) -> bytes:
    """The same with a private tag in its place."""
    return data.replace(struct.pack("<HHI", tag, 3, 1), struct.pack("<HHI", 65000, 3, 1), 1)


def packed(levels: NDArray[Any], bits: int, photometric: int = 1, fill_order: int = 1) -> bytes:
    """Grey levels of a few bits each, in one strip, and the tags that it takes."""
    rows = b""
    for row in levels:
        text = "".join(f"{level:0{bits}b}" for level in row.tolist())
        text += "0" * (-len(text) % 8)
        rows += bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8))
    height, width = levels.shape
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric), (273, 0), (277, 1), (278, height)]
    tags.append((279, len(rows)))
    if fill_order == 2:
        rows = bytes(int(f"{byte:08b}"[::-1], 2) for byte in rows)
        tags = sorted([*tags, (266, 2)])
    body = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, body if tag == 273 else value) for tag, value in tags)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4) + rows


def _maximum(level: int) -> list[tuple[int, int, int, int, bool]]:
    return [(281, 3, 1, level, True)]


def refusal(data: bytes) -> UndecodableImageError:
    with pytest.raises(UndecodableImageError) as caught:
        decode_rgb(data, LIMITS)
    return caught.value


def _palette(shift: int) -> tuple[Picture, bytes]:
    colours = np.random.default_rng(0).integers(0, 256, (3, 256))
    index = GREY
    colormap = (colours << shift).astype(np.uint16)
    return colours.T[index].astype(np.uint8), tiff(index, photometric="palette", colormap=colormap)


KINDS: dict[str, tuple[NDArray[Any], bytes]] = {
    **{f"grey of {b} bits": (GREY >> 8 - b, packed(GREY >> 8 - b, b)) for b in (1, 2, 4, 8)},
    "planes 16": (PICTURE, tiff(PLANES.astype(np.uint16) * 257, **RGB, planarconfig="separate")),
    "planes 16 in tiles, big-endian": (
        PICTURE,
        tiff(PLANES.astype(np.uint16) * 257, **RGB, planarconfig="separate", tile=(32, 32), byteorder=">"),
    ),
    "planes 8 in 16": (PICTURE, tiff(PLANES.astype(np.uint16), **RGB, planarconfig="separate")),
    "white is zero 8": (GREY, tiff(255 - GREY, **WHITE)),
    "white is zero 16": (GREY, tiff(65535 - GREY.astype(np.uint16) * 257, **WHITE)),
    "white is zero 16 deflate": (GREY, tiff(65535 - GREY.astype(np.uint16) * 257, **WHITE, compression="deflate")),
    "white is zero, 4 bits": (GREY >> 4, packed(15 - (GREY >> 4), 4, photometric=0)),
    "grey without a photometric tag": (GREY, without_tag(tiff(GREY, **BLACK), 262)),
    "rgb without a photometric tag": (PICTURE, without_tag(tiff(PICTURE, **RGB), 262)),
    "palette of 16 bits": _palette(8),
    "palette of 8 bits": _palette(0),
    "big-endian BigTIFF": (PICTURE, tiff(PICTURE, **RGB, bigtiff=True, byteorder=">")),
    "BigTIFF": (PICTURE, tiff(PICTURE, **RGB, bigtiff=True)),
    "16 bits big-endian predictor": (
        PICTURE,
        tiff(PICTURE.astype(np.uint16) * 257, **RGB, byteorder=">", compression="lzw", predictor=2),
    ),
    "tiles larger than the picture": (PICTURE, tiff(PICTURE, **RGB, tile=(96, 96), compression="deflate")),
    "strips of 7 rows": (PICTURE, tiff(PICTURE, **RGB, rowsperstrip=7, compression="lzw")),
    "grey of 4 bits, the low bit first": (GREY >> 4, packed(GREY >> 4, 4, fill_order=2)),
    "opaque alpha": (PICTURE, tiff(np.dstack([PICTURE, OPAQUE]), **RGB, extrasamples=["unassalpha"])),
    "premultiplied, opaque": (PICTURE, tiff(np.dstack([PICTURE, OPAQUE]), **RGB, extrasamples=["assocalpha"])),
    "grey, premultiplied": (
        GREY,
        tiff(np.dstack([GREY, OPAQUE]), **BLACK, extrasamples=["assocalpha"], planarconfig="contig"),
    ),
    "grey and alpha in planes": (
        GREY,
        tiff(np.stack([GREY, OPAQUE]), **BLACK, extrasamples=["unassalpha"], planarconfig="separate"),
    ),
    "a channel of something else": (
        PICTURE,
        tiff(np.dstack([PICTURE, OPAQUE * 0]), **RGB, extrasamples=["unspecified"]),
    ),
    "12 bits in 16, said": (
        GREY,
        tiff((GREY.astype(np.uint16) << 4) + 15, **BLACK, extratags=[(281, 3, 1, 4095, True)]),
    ),
    "10 bits in 16, said": (
        GREY,
        tiff((GREY.astype(np.uint16) << 2) + 3, **BLACK, extratags=_maximum(1023)),
    ),
    "ImageJ": (PICTURE, tiff(PICTURE, imagej=True, photometric="rgb")),
    "OME": (PICTURE, tiff(PICTURE, ome=True, photometric="rgb")),
}


def _as_rgb(right: NDArray[Any], kind: str) -> Picture:
    if right.ndim == 3:
        return right
    bits = next((b for b in (1, 2, 4) if f" {b} bits" in kind), 8)
    levels = (right.astype(int) * 255 // ((1 << bits) - 1)).astype(np.uint8)
    return np.repeat(levels[:, :, None], 3, axis=2)


@pytest.mark.parametrize("kind", KINDS)
def test_kinds(kind: str) -> None:
    right, data = KINDS[kind]
    assert np.array_equal(decode_rgb(data, LIMITS), _as_rgb(right, kind))


@pytest.mark.parametrize("bits", [9, 10, 11, 12, 13, 14])
@pytest.mark.parametrize("photometric", [0, 1])
def test_packed_levels(bits: int, photometric: int) -> None:
    levels = (GREY.astype(np.uint32) * ((1 << bits) - 1) // 255).astype(np.uint16)
    stored = levels if photometric else (1 << bits) - 1 - levels
    rgb = decode_rgb(packed(stored, bits, photometric), LIMITS)
    assert np.abs(rgb[:, :, 0].astype(int) - GREY).max() <= 1


@pytest.mark.parametrize("compression", [None, "lzw", "deflate", "packbits", "lzma", "zstd"])
@pytest.mark.parametrize("planes", [False, True])
def test_compressions(compression: str | None, *, planes: bool) -> None:
    options = RGB | ({"planarconfig": "separate"} if planes else {})
    data = tiff(PLANES if planes else PICTURE, compression=compression, **options)
    assert np.array_equal(decode_rgb(data, LIMITS), PICTURE)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(orientation: int) -> None:
    data = tiff(PICTURE, **RGB, extratags=[(274, 3, 1, orientation, True)])
    with Image.open(io.BytesIO(encode(PICTURE, "TIFF", exif=_exif(orientation)))) as image:
        assert image.getexif()[274] == orientation
    upright = decode_rgb(encode(PICTURE, "PNG", exif=_exif(orientation)), LIMITS)
    assert np.array_equal(decode_rgb(data, LIMITS), upright)


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[274] = orientation
    return exif


def test_four_inks() -> None:
    cmyk = np.asarray(Image.fromarray(PICTURE).convert("CMYK"))
    assert np.array_equal(decode_rgb(tiff(cmyk, photometric="separated"), LIMITS), PICTURE)


def test_alpha_over_white() -> None:
    alpha = np.where(np.arange(72) < 36, 255, 0).astype(np.uint8)[None, :].repeat(56, axis=0)
    for kind, colours in (("unassalpha", PICTURE), ("assocalpha", PICTURE * (alpha[:, :, None] // 255))):
        rgb = decode_rgb(tiff(np.dstack([colours, alpha]), **RGB, extrasamples=[kind]), LIMITS)
        assert np.array_equal(rgb[:, :36], PICTURE[:, :36])
        assert (rgb[:, 36:] == 255).all()


def test_a_thumbnail_beside_the_picture_is_no_second_one() -> None:
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as file:
        file.write(PICTURE, **RGB)
        file.write(PICTURE[::4, ::4].copy(), **RGB, subfiletype=1)
    assert np.array_equal(decode_rgb(stream.getvalue(), LIMITS), PICTURE)


REFUSED: dict[str, tuple[Reason, bytes]] = {
    "float": (Reason.UNSUPPORTED_PIXELS, tiff(PICTURE / np.float32(255), **RGB)),
    "signed": (Reason.UNSUPPORTED_PIXELS, tiff(GREY.astype(np.int16), **BLACK)),
    "32 bits": (Reason.UNSUPPORTED_PIXELS, tiff(GREY.astype(np.uint32), **BLACK)),
    "12 bits in 16": (Reason.UNSUPPORTED_PIXELS, tiff(GREY.astype(np.uint16) << 4, **BLACK)),
    "12 bits in 16, planes": (
        Reason.UNSUPPORTED_PIXELS,
        tiff(PLANES.astype(np.uint16) << 4, **RGB, planarconfig="separate"),
    ),
    "a lie about the maximum": (
        Reason.UNSUPPORTED_PIXELS,
        tiff(GREY.astype(np.uint16) << 4, **BLACK, extratags=_maximum(1023)),
    ),
    "lab": (Reason.UNSUPPORTED_PIXELS, tiff(PICTURE, photometric="cielab")),
    "YCbCr without JPEG": (Reason.UNSUPPORTED_PIXELS, with_tag(tiff(PICTURE, **RGB), 262, 6)),
    "a mask": (Reason.UNSUPPORTED_PIXELS, with_tag(tiff(GREY, **BLACK), 262, 4)),
    "a colour filter array": (Reason.UNSUPPORTED_PIXELS, with_tag(tiff(GREY, **BLACK), 262, 32803)),
    "too few samples": (Reason.UNSUPPORTED_PIXELS, with_tag(tiff(GREY, **BLACK), 262, 2)),
    "old JPEG": (Reason.UNSUPPORTED_PIXELS, with_tag(tiff(GREY, **BLACK), 259, 6)),
    "an unknown compression": (Reason.UNSUPPORTED_PIXELS, with_tag(tiff(GREY, **BLACK), 259, 4711)),
    "fax": (Reason.UNSUPPORTED_PIXELS, encode(Image.fromarray(GREY).convert("1"), "TIFF", compression="group3")),
    "alpha 0": (Reason.UNSUPPORTED_PIXELS, tiff(np.dstack([PICTURE, OPAQUE * 0]), **RGB, extrasamples=["unassalpha"])),
    "pages": (Reason.MULTIPLE_FRAMES, tiff(np.stack([GREY] * 3), **BLACK)),
    "an ImageJ stack": (Reason.MULTIPLE_FRAMES, tiff(np.stack([GREY] * 3), imagej=True)),
    "a strip outside of the file": (Reason.TRUNCATED, with_tag(tiff(GREY, **BLACK), 273, 1_000_000)),
    "fewer bytes than the picture takes": (Reason.TRUNCATED, with_tag(tiff(GREY, **BLACK), 257, 57)),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refused_for_what_it_is(kind: str) -> None:
    reason, data = REFUSED[kind]
    assert refusal(data).reason is reason


class TestDamage:
    @pytest.mark.parametrize("options", [{}, {"predictor": 2}, {"tile": (32, 32)}, {"rowsperstrip": 9}], ids=str)
    def test_no_flipped_bit_passes_the_checksum_of_deflate(self, options: dict[str, Any]) -> None:
        data, rng = tiff(PICTURE, **RGB, compression="deflate", **options), np.random.default_rng(1)
        right, start = decode_rgb(data, LIMITS), len(data) // 3
        for place in rng.integers(start, len(data) - 400 if not options else len(data) * 2 // 3, 80).tolist():
            damaged = bytearray(data)
            damaged[place] ^= 1 << int(rng.integers(8))
            try:
                assert np.array_equal(decode_rgb(bytes(damaged), LIMITS), right)  # between two strips
            except UndecodableImageError:
                continue

    @pytest.mark.parametrize("compression", ["lzw", "deflate", "packbits", "zstd", "lzma", "jpeg"])
    def test_a_strip_that_lost_some_bytes(self, compression: str) -> None:
        data = tiff(PICTURE, **RGB, compression=compression, rowsperstrip=56)
        (place,) = struct.unpack_from("<I", data, 4)
        strip = with_tag(data, 279, len(data) // 2)
        assert place
        assert refusal(strip).reason in {Reason.TRUNCATED, Reason.CORRUPT}

    def test_jpeg_strips_are_as_strict_as_jpeg_files(self) -> None:
        for data in (tiff(PICTURE, **RGB, compression="jpeg"), encode(PICTURE, "TIFF", compression="jpeg")):
            assert decode_rgb(data, LIMITS).shape == PICTURE.shape
            end = data.rindex(b"\xff\xd9")
            damaged = data[: end - 40] + b"\x5a\x17" * 20 + data[end:]
            assert refusal(damaged[: end - 200] + bytes(100) + damaged[end - 100 :]).reason in {
                Reason.TRUNCATED,
                Reason.CORRUPT,
            }

    @pytest.mark.parametrize("tag", [256, 257, 258, 259, 277, 278, 262])
    def test_tags_that_cannot_be_read_are_no_defaults(self, tag: int) -> None:
        data = tiff(PICTURE, **RGB, compression="lzw", predictor=2)
        (place,) = struct.unpack_from("<I", data, 4)
        (count,) = struct.unpack_from("<H", data, place)
        entries = {struct.unpack_from("<H", data, e)[0]: e for e in range(place + 2, place + 2 + 12 * count, 12)}
        entry = entries[tag]
        unknown_type = data[: entry + 2] + struct.pack("<H", 200) + data[entry + 4 :]
        assert refusal(unknown_type).reason in {Reason.CORRUPT, Reason.NOT_AN_IMAGE}

    @pytest.mark.parametrize("kind", [1, 2, 5, 7, 12])
    @pytest.mark.parametrize("tag", [258, 259, 262, 273, 277, 279, 320, 338, 339])
    def test_tags_of_another_type_raise_nothing_else(self, tag: int, kind: int) -> None:
        alpha = tiff(np.dstack([PICTURE, OPAQUE]), **RGB, extrasamples=["unassalpha"])
        for data in (alpha, KINDS["palette of 16 bits"][1], KINDS["grey of 4 bits"][1]):
            (place,) = struct.unpack_from("<I", data, 4)
            (count,) = struct.unpack_from("<H", data, place)
            for entry in range(place + 2, place + 2 + 12 * count, 12):
                if struct.unpack_from("<H", data, entry)[0] == tag:
                    with contextlib.suppress(UndecodableImageError):
                        decode_rgb(data[: entry + 2] + struct.pack("<H", kind) + data[entry + 4 :], LIMITS)

    def test_tiles_without_bound(self) -> None:
        data = with_tag(with_tag(tiff(PICTURE, **RGB, tile=(32, 32)), 322, 1 << 20), 323, 1 << 20)
        assert "tiles of" in refusal(data).detail
