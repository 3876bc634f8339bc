"""PNG: its checksums, which decoders pass over, and pictures of 16 bits, of which Pillow keeps the upper half only."""

import zlib
from collections.abc import Iterator

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from bloodcell_batch.images.damage import UndecodableImageError, decoder_call
from bloodcell_batch.images.rgb import eight_bits, over_white, three_channels
from bloodcell_batch.records import Reason

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_PICTURE = {
    b"IHDR",
    b"PLTE",
    b"tRNS",
    b"IDAT",
    b"IEND",
}  # the chunks that make the picture; the others only describe it
_COLOUR_TYPE, _KEY_BYTES = 25, {0: 2, 2: 6}  # place of the colour type; bytes of a transparent grey or colour
_PIECE = 1 << 20
_MOST_BYTES_A_PIXEL = 8
_SPARE_BYTES = 1 << 16


def check_png(png: bytes) -> None:
    """Compare the checksums of a PNG: CRC-32 of each chunk that makes the picture, Adler-32 of its levels.

    Raises:
        UndecodableImageError: one is wrong, or the file is cut off.
    """
    stream = zlib.decompressobj()
    left = _SPARE_BYTES
    ended = False
    for kind, body, crc in _chunks(png):
        if kind in _PICTURE and zlib.crc32(body, zlib.crc32(kind)) != crc:
            raise UndecodableImageError(Reason.CORRUPT, f"wrong checksum of the chunk {kind.decode('latin-1')}")
        if kind == b"IHDR" and len(body) >= 13:
            if body[10:12] != b"\0\0":
                raise UndecodableImageError(Reason.CORRUPT, "a compression or filter that PNG does not have")
            width, height = int.from_bytes(body[:4], "big"), int.from_bytes(body[4:8], "big")
            left += (width * _MOST_BYTES_A_PIXEL + 1) * height * 2
        elif kind == b"IDAT" and left > 0:
            left -= _inflate(stream, body, left)
        ended = kind == b"IEND"
    if not ended or not (stream.eof or left <= 0):
        raise UndecodableImageError(Reason.TRUNCATED, "the file ends before the picture does")


def png_size(png: bytes) -> tuple[int, int] | None:
    """Width and height as the header says them; None if it is cut off."""
    if len(png) < 24:
        return None
    return int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")


def is_wide(png: bytes) -> bool:
    """True for a PNG with 16 bits a level."""
    return png[24:25] == b"\x10"


def decode_wide(png: bytes) -> NDArray[np.uint8]:
    """RGB of a PNG with 16 bits, uint8 (height, width, 3); not yet upright.

    Raises:
        UndecodableImageError: it is damaged, or it is unknown where in the 16 bits the picture lies.
    """
    with decoder_call():
        levels = imagecodecs.png_decode(_bare(png))
    if levels.ndim == 2:
        return three_channels(eight_bits(levels))
    colours = 1 if levels.shape[2] < 3 else 3
    rgb = eight_bits(levels[:, :, :colours])
    if colours == 1:
        rgb = three_channels(rgb[:, :, 0])
    return rgb if levels.shape[2] == colours else over_white(rgb, (levels[:, :, -1] >> 8).astype(np.uint8))


def _bare(png: bytes) -> bytes:
    """The same picture without the chunks that describe it, of which libpng would complain on stderr."""
    bare = PNG_MAGIC
    for kind, body, crc in _chunks(png):
        if kind == b"tRNS" and len(body) != _KEY_BYTES.get(png[_COLOUR_TYPE]):
            raise UndecodableImageError(Reason.CORRUPT, "a transparent colour that is not a colour of the picture")
        if kind in _PICTURE and kind != b"PLTE":
            bare += len(body).to_bytes(4, "big") + kind + body + crc.to_bytes(4, "big")
    return bare


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes, int]]:
    """(kind, body, checksum) of each chunk up to the last one; what comes after it is not part of the picture."""
    place = len(PNG_MAGIC)
    while place + 12 <= len(png):
        length = int.from_bytes(png[place : place + 4], "big")
        kind, stop = png[place + 4 : place + 8], place + 8 + length
        if stop + 4 > len(png):
            return
        yield kind, png[place + 8 : stop], int.from_bytes(png[stop : stop + 4], "big")
        if kind == b"IEND":
            return
        place = stop + 4


def _inflate(stream: "zlib._Decompress", body: bytes, at_most: int) -> int:
    """Unpack a part of the levels, for the checksum behind them; the number of bytes."""
    done = 0
    while body and not stream.eof and done < at_most:
        with decoder_call():
            done += len(stream.decompress(body, _PIECE))
        body = stream.unconsumed_tail
    return done
