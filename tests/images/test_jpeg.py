"""Sound JPEGs that are unusual are read; damaged ones are refused, whatever their colours and sampling."""

import contextlib
import io
import struct
from collections.abc import Callable

import imagecodecs
import numpy as np
import pytest
from conftest import Picture, draw_picture, encode
from jpegs import Factors, jpeg_with, segment
from PIL import Image

from bloodcell_batch.images.damage import UndecodableImageError
from bloodcell_batch.images.decoding import decode_rgb
from bloodcell_batch.images.guards import DecodeLimits
from bloodcell_batch.images.jpeg_structure import jpeg_structure
from bloodcell_batch.records import Reason

LIMITS = DecodeLimits()
PICTURE = draw_picture(2, 120, 96)
IMAGE = Image.fromarray(PICTURE)
PLAIN = encode(PICTURE)
SCAN = PLAIN.index(b"\xff\xda")
END = b"\xff\xd9"
FACTORS = [
    *[((h, v), (1, 1), (1, 1)) for h in range(1, 5) for v in range(1, 5) if h * v <= 8],
    *[((1, 1), (2, 2), (1, 1)), ((2, 2), (1, 2), (2, 1)), ((1, 2), (2, 1), (1, 1)), ((1, 1), (1, 1), (4, 1))],
    *[((2, 2), (1, 1), (1, 1), (2, 2)), ((2, 1), (1, 1), (1, 1), (1, 1)), ((1, 1), (1, 1), (1, 1), (1, 1))],
    *[((h, v),) for h in range(1, 5) for v in range(1, 5)],
]
UNUSUAL = [
    ((3, 1), (1, 1), (1, 1)),
    ((2, 4), (1, 1), (1, 1)),
    ((1, 1), (2, 2), (1, 1)),
    ((2, 2), (1, 1), (1, 1), (2, 2)),
]


def pillow(data: bytes) -> Picture:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def refusal(data: bytes) -> UndecodableImageError:
    with pytest.raises(UndecodableImageError) as caught:
        decode_rgb(data, LIMITS)
    return caught.value


def cases_shown(data: bytes, lost: int, cases: int) -> int:
    """How many files are shown of those that lost so many bytes of their coded data, each at another place."""
    rng, shown = np.random.default_rng(0), 0
    start = data.rindex(b"\xff\xda") + 14
    for place in rng.integers(start, len(data) - lost - 4, cases).tolist():
        with contextlib.suppress(UndecodableImageError):
            decode_rgb(data[:place] + data[place + lost :], LIMITS)
            shown += 1
    return shown


@pytest.mark.parametrize("factors", FACTORS, ids=str)
def test_all_sampling_factors(factors: Factors) -> None:
    data = jpeg_with(factors)
    assert np.array_equal(decode_rgb(data, LIMITS), pillow(data))


@pytest.mark.parametrize("factors", FACTORS, ids=str)
def test_the_same_damaged(factors: Factors) -> None:
    """Too few or too many coded data are seen in every one of them."""
    data = jpeg_with(factors, seed=1)
    for damaged in (data[:-8] + END, data[:-2] + b"\x5a\x17\x3c\x99" * 3 + END, data[: len(data) * 3 // 4]):
        assert refusal(damaged).reason in {Reason.TRUNCATED, Reason.CORRUPT}


@pytest.mark.parametrize("factors", UNUSUAL, ids=str)
def test_bytes_lost_within_unusual_sampling_are_seen(factors: Factors) -> None:
    assert cases_shown(jpeg_with(factors, mcus=6), lost=24, cases=30) <= 2


def test_unusual_sampling_whose_damage_cannot_be_seen_is_refused_for_what_it_is() -> None:
    assert refusal(jpeg_with(UNUSUAL[0], restart=2)).reason is Reason.UNSUPPORTED_PIXELS
    progressive = encode(IMAGE.convert("CMYK"), subsampling=2, progressive=True)
    assert refusal(progressive).reason is Reason.UNSUPPORTED_PIXELS


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("mode", ["CMYK", "RGB", "YCbCr", "L"])
def test_colours_and_their_damage(mode: str, subsampling: int) -> None:
    image = IMAGE.convert(mode)
    _check_colours(encode(image, subsampling=subsampling), image)


def test_rgb_without_conversion_and_its_damage() -> None:
    _check_colours(encode(IMAGE, keep_rgb=True, subsampling=0), IMAGE)


def _check_colours(data: bytes, image: Image.Image) -> None:
    assert np.abs(decode_rgb(data, LIMITS).astype(int) - np.asarray(image.convert("RGB"))).mean() < 12
    assert np.array_equal(decode_rgb(data, LIMITS), pillow(data))
    assert cases_shown(data, lost=len(data) // 4, cases=20) == 0
    assert refusal(data[:-2] + b"\x5a\x17\x3c\x99" * 10 + END).reason is Reason.CORRUPT


def test_adobes_four_colours() -> None:
    """YCCK: Adobe's marker says that the first three of four are YCbCr."""
    cmyk = jpeg_with(((1, 1),) * 4)
    ycck = cmyk[:2] + segment(0xEE, b"Adobe\0\x64\0\0\0\0\x02") + cmyk[2:]
    assert np.array_equal(decode_rgb(ycck, LIMITS), pillow(ycck))
    assert not np.array_equal(decode_rgb(ycck, LIMITS), decode_rgb(cmyk, LIMITS))
    assert refusal(ycck[:-2] + b"\x5a\x17\x3c" * 4 + END).reason is Reason.CORRUPT


def _samsung(data: bytes) -> bytes:
    scan = data.rindex(b"\xff\xda")
    (length,) = struct.unpack_from(">H", data, scan + 2)
    return data[: scan + 2 + length - 3] + bytes(3) + data[scan + 2 + length :]


def _moved_tables(data: bytes) -> bytes:
    """The quantisation tables behind the frame header."""
    start = data.index(b"\xff\xdb")
    frame = data.index(b"\xff\xc0")
    (length,) = struct.unpack_from(">H", data, frame + 2)
    return data[:start] + data[frame : frame + 2 + length] + data[start:frame] + data[frame + 2 + length :]


@pytest.mark.parametrize(
    "change",
    [
        _samsung,
        _moved_tables,
        lambda d: d + np.random.default_rng(0).bytes(3_000_000),
        lambda d: d + encode(draw_picture(3, 32)) * 300,
        lambda d: d[:-2] + bytes(500) + END,
        lambda d: _samsung(d) + b"\xff\xda" * 200,
        lambda d: d[:2] + b"\xff" * 5 + d[2:],
        lambda d: d[:SCAN] + b"\xff" * 3 + d[SCAN:],
        lambda d: d[:SCAN] + segment(0xFE, b"\xff\xd9\xff\xda a comment") + d[SCAN:],
        lambda d: d[:SCAN] + segment(0xE7, bytes(60_000)) + d[SCAN:],
        lambda d: d[:SCAN] + segment(0xDD, b"\0\0") + d[SCAN:],
        lambda d: d[:2] + segment(0xE1, b"Exif\0\0" + encode(draw_picture(3, 32))) + d[2:],
    ],
    ids=[
        *("samsung", "tables behind the frame", "film", "trailing thumbnails", "zeros before the end"),
        *("samsung with a tail of scans", "fill bytes", "fill bytes before the scan", "markers in a comment"),
        *("a long segment", "no restarts", "a thumbnail in front"),
    ],
)
def test_sound_files_of_cameras_and_phones(change: Callable[[bytes], bytes]) -> None:
    data = change(PLAIN)
    assert data != PLAIN
    assert np.array_equal(decode_rgb(data, LIMITS), decode_rgb(PLAIN, LIMITS))


@pytest.mark.parametrize(
    "change", [lambda d: _samsung(d)[:-300], lambda d: _samsung(d)[:-300] + END, lambda d: d[:-300] + bytes(300) + END]
)
def test_what_makes_them_unusual_hides_no_damage(change: Callable[[bytes], bytes]) -> None:
    assert refusal(change(PLAIN)).reason in {Reason.TRUNCATED, Reason.CORRUPT}


def test_a_lossless_jpeg() -> None:
    data = bytes(imagecodecs.jpeg8_encode(PICTURE, lossless=True))
    assert np.array_equal(decode_rgb(data, LIMITS), PICTURE)


def test_a_jpeg_of_12_bits_is_refused_for_what_it_is() -> None:
    error = refusal(bytes(imagecodecs.jpeg8_encode(PICTURE.astype(np.uint16) * 16, bitspersample=12)))
    assert error.reason is Reason.UNSUPPORTED_PIXELS
    assert "save it as" in error.detail


@pytest.mark.parametrize("marker", [*range(0xC3, 0xC8), *range(0xCB, 0xD0), 0xF7])
def test_frames_of_all_kinds_raise_nothing_else(marker: int) -> None:
    data = PLAIN.replace(b"\xff\xc0", bytes([0xFF, marker]), 1)
    refusal(data)


def test_the_structure_of_a_jpeg() -> None:
    structure = jpeg_structure(PLAIN + PLAIN)
    assert structure is not None
    assert (structure.frame, structure.bits, structure.components) == (0xC0, 8, 3)
    assert structure.scans == (SCAN,)
    assert structure.end == len(PLAIN) - 2
    assert structure.is_one_plain_scan
    progressive = jpeg_structure(encode(PICTURE, progressive=True))
    assert progressive is not None
    assert len(progressive.scans) > 3
    for nothing in (b"", b"\xff\xd8", b"\xff\xd8\xff", PLAIN[:30], b"\xff\xd8" + bytes(50), b"\xff" * 50):
        assert jpeg_structure(nothing) is None
