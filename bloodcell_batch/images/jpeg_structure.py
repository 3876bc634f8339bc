"""The structure of a JPEG: its markers, which say what decoders only guess at or keep to themselves."""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

_SOI, _EOI, _SOS, _DRI = 0xD8, 0xD9, 0xDA, 0xDD
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_ALONE = {0x01, *range(0xD0, 0xD8)}  # markers without a length
_NEXT_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # in coded data, 0xff is followed by 0 or a restart marker
_SEQUENTIAL = {0xC0, 0xC1, 0xC9}
_HUFFMAN_SEQUENTIAL = {0xC0, 0xC1}
_DECODED = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}
_WHOLE_SPECTRUM = b"\x00\x3f\x00"


@dataclass(frozen=True, slots=True)
class JpegStructure:
    """`frame` is the low byte of the SOF marker, `scans` the offsets of the SOS markers, `end` that of the EOI marker,
    or the size of the file without one."""

    frame: int
    bits: int
    components: int
    restarts: bool
    scans: tuple[int, ...]
    end: int

    @property
    def is_decoded(self) -> bool:
        """True for the kinds of JPEG that decoders of pictures know: 8 bits, sequential or progressive."""
        return self.frame in _DECODED and self.bits == 8

    @property
    def is_one_plain_scan(self) -> bool:
        """True for one sequential scan in Huffman code without restarts: each bit is needed, and none is left over."""
        return self.frame in _HUFFMAN_SEQUENTIAL and len(self.scans) == 1 and not self.restarts


def jpeg_structure(jpeg: bytes) -> JpegStructure | None:
    """What the markers say, up to the end marker; None if they are not JPEG's."""
    frame = bits = components = 0
    restarts, scans, end = False, [], len(jpeg)
    for marker, place in _markers(jpeg):
        if marker in _FRAMES and place + 10 <= len(jpeg):
            frame, bits, components = marker, jpeg[place + 4], jpeg[place + 9]
        elif marker == _DRI:
            restarts = jpeg[place + 4 : place + 6] != b"\0\0"
        elif marker == _SOS:
            scans.append(place)
        elif marker == _EOI:
            end = place
    return JpegStructure(frame, bits, components, restarts, tuple(scans), end) if frame and scans else None


def normalised(jpeg: bytes, structure: JpegStructure) -> bytes:
    """The same picture without what strict decoders take for damage and every viewer passes over: other data after
    the end marker, zeros before it, and a scan header that names no frequencies, where all are meant (Samsung's)."""
    body = bytearray(jpeg[: structure.end])
    if structure.frame in _SEQUENTIAL:
        for place in structure.scans:
            (length,) = struct.unpack_from(">H", body, place + 2)
            body[place + 2 + length - 3 : place + 2 + length] = _WHOLE_SPECTRUM
    if structure.end == len(jpeg):
        return bytes(body)  # no end marker: what is missing stays missing
    padded = len(body)
    while padded and body[padded - 1] == 0 and body[padded - 2] in {0, 0xFF}:
        if body[padded - 2] == 0xFF:
            break  # a stuffed byte, not padding
        padded -= 1
    return bytes(body[:padded]) + b"\xff\xd9"


def _markers(jpeg: bytes) -> Iterator[tuple[int, int]]:
    """(marker, offset of its 0xff) of every segment up to the end marker or to what is not a marker."""
    place = 0
    while place + 4 <= len(jpeg) or jpeg[place : place + 2] == b"\xff\xd9":
        if jpeg[place] != 0xFF:
            return
        marker = jpeg[place + 1]
        if marker == 0xFF:
            place += 1  # markers may be padded with 0xff
            continue
        yield marker, place
        if marker == _EOI:
            return
        if marker == _SOI or marker in _ALONE:
            place += 2
            continue
        place += 2 + int.from_bytes(jpeg[place + 2 : place + 4], "big")
        if marker == _SOS:
            following = _NEXT_MARKER.search(jpeg, place)
            if following is None:
                return
            place = following.start()
