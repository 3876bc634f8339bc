"""PNG: checksums are compared, and 16 bits are read for what they hold."""

import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from conftest import Picture, draw_picture, encode
from numpy.typing import NDArray
from PIL import Image

from bloodcell_batch.images.damage import UndecodableImageError
from bloodcell_batch.images.decoding import decode_rgb
from bloodcell_batch.images.guards import DecodeLimits
from bloodcell_batch.images.png import PNG_MAGIC
from bloodcell_batch.records import Reason

LIMITS = DecodeLimits()
PICTURE = draw_picture(4, 40, 32)
HEIGHT, WIDTH, _ = PICTURE.shape
GREY = PICTURE[:, :, 0]
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def lines(levels: NDArray[np.generic]) -> bytes:
    flat = np.ascontiguousarray(levels).reshape(len(levels), -1)
    kind = ">u2" if flat.dtype == np.uint16 else "u1"
    return b"".join(b"\0" + line.astype(kind).tobytes() for line in flat)


def png(levels: NDArray[np.generic], colour: int, *extra: bytes, rows: bytes = b"", interlaced: int = 0) -> bytes:
    depth = 16 if levels.dtype == np.uint16 else 8
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, depth, colour, 0, 0, interlaced))
    packed = zlib.compress(rows or lines(levels))
    half = len(packed) // 2
    data = chunk(b"IDAT", packed[:half]) + chunk(b"IDAT", packed[half:])
    return PNG_MAGIC + header + b"".join(extra) + data + chunk(b"IEND", b"")


def interlaced_rows(levels: NDArray[np.generic]) -> bytes:
    return b"".join(lines(levels[y::down, x::across]) for x, y, across, down in ADAM7)


def wide(levels: Picture) -> NDArray[np.uint16]:
    return levels.astype(np.uint16) * 257


def refusal(data: bytes) -> UndecodableImageError:
    with pytest.raises(UndecodableImageError) as caught:
        decode_rgb(data, LIMITS)
    return caught.value


OPAQUE = np.full((HEIGHT, WIDTH), 65535, np.uint16)
KEY = chunk(b"tRNS", struct.pack(">HHH", 1, 2, 3))
KINDS: dict[str, tuple[Picture, bytes]] = {
    "rgb": (PICTURE, png(PICTURE, 2)),
    "rgb 16": (PICTURE, png(wide(PICTURE), 2)),
    "rgb 16 with alpha": (PICTURE, png(np.dstack([wide(PICTURE), OPAQUE]), 6)),
    "grey 16": (GREY, png(wide(GREY), 0)),
    "grey 16 with alpha": (GREY, png(np.dstack([wide(GREY), OPAQUE]), 4)),
    "rgb 16 with a transparent colour": (PICTURE, png(wide(PICTURE), 2, KEY)),
    "rgb 16 of fewer bits": (PICTURE, png(wide(PICTURE), 2, chunk(b"sBIT", b"\x0c\x0c\x0c"))),
    "rgb 8 in 16": (PICTURE, png(PICTURE.astype(np.uint16), 2)),
    "grey 8 in 16": (GREY, png(GREY.astype(np.uint16), 0)),
    "adam7": (PICTURE, png(PICTURE, 2, rows=interlaced_rows(PICTURE), interlaced=1)),
    "adam7 16": (PICTURE, png(wide(PICTURE), 2, rows=interlaced_rows(wide(PICTURE)), interlaced=1)),
    "more behind the end": (PICTURE, png(PICTURE, 2) + b"more"),
    "gamma and colours": (PICTURE, png(PICTURE, 2, chunk(b"gAMA", struct.pack(">I", 45455)))),
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds(kind: str) -> None:
    right, data = KINDS[kind]
    right = right if right.ndim == 3 else np.repeat(right[:, :, None], 3, axis=2)
    assert np.array_equal(decode_rgb(data, LIMITS), right)


@pytest.mark.parametrize("top", [300, 1023, 4095, 16383])
@pytest.mark.parametrize("colour", [0, 2])
def test_levels_of_an_unknown_number_of_bits_are_refused(top: int, colour: int) -> None:
    levels = (PICTURE.astype(np.uint32) * top // PICTURE.max()).astype(np.uint16)
    error = refusal(png(levels if colour == 2 else levels[:, :, 0], colour))
    assert error.reason is Reason.UNSUPPORTED_PIXELS
    assert "save it as 8-bit RGB" in error.detail


def _wrong_adler(data: bytes) -> bytes:
    """Another picture's checksum in the stream, and all chunks sound."""
    packed = zlib.compress(lines(PICTURE))
    body = packed[:-4] + zlib.adler32(b"other").to_bytes(4, "big")
    return data[: data.index(b"IDAT") - 4] + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def _wrong_crc(kind: bytes) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        place = data.index(kind)
        (length,) = struct.unpack_from(">I", data, place - 4)
        end = place + 4 + length
        return data[:end] + bytes([data[end] ^ 1]) + data[end + 1 :]

    return change


@pytest.mark.parametrize("kind", ["rgb", "rgb 16", "grey 16 with alpha", "adam7"])
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_wrong_crc(b"IDAT"), Reason.CORRUPT),
        (_wrong_crc(b"IEND"), Reason.CORRUPT),
        (lambda d: d[: d.rindex(b"IEND") - 4], Reason.TRUNCATED),
        (lambda d: d[: d.rindex(b"IDAT") - 4] + chunk(b"IEND", b""), Reason.TRUNCATED),
    ],
    ids=["crc of the levels", "crc of the end", "no end", "half of the levels"],
)
def test_damage(kind: str, change: Callable[[bytes], bytes], reason: Reason) -> None:
    assert refusal(change(KINDS[kind][1])).reason is reason


def test_a_wrong_checksum_within_a_sound_chunk() -> None:
    assert refusal(_wrong_adler(KINDS["rgb"][1])).reason is Reason.CORRUPT


def test_damaged_colours_of_a_palette_and_of_its_alpha() -> None:
    data = encode(Image.fromarray(PICTURE).quantize(50), "PNG", transparency=3)
    assert decode_rgb(data, LIMITS).shape == PICTURE.shape
    for kind in (b"PLTE", b"tRNS"):
        assert refusal(_wrong_crc(kind)(data)).reason is Reason.CORRUPT


@pytest.mark.parametrize("seed", range(3))
def test_no_flipped_bit_of_the_picture_passes(seed: int) -> None:
    data, rng = encode(PICTURE, "PNG", compress_level=1), np.random.default_rng(seed)
    for place in rng.integers(data.index(b"IDAT"), data.rindex(b"IEND"), 100).tolist():
        damaged = bytearray(data)
        damaged[place] ^= 1 << int(rng.integers(8))
        refusal(bytes(damaged))


def test_a_transparent_colour_of_another_kind() -> None:
    assert refusal(png(wide(PICTURE), 2, chunk(b"tRNS", b"\0\1"))).reason in {Reason.CORRUPT, Reason.TRUNCATED}
    assert refusal(png(wide(PICTURE), 2, chunk(b"tRNS", bytes(8)))).reason is Reason.CORRUPT
