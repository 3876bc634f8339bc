"""What is checked of an image file before a decoder sees it: files that would cost it memory or time without bound.

Each check reads headers only, and refuses nothing that a sound file has: in it, the values of TIFF and EXIF tags lie
side by side, so they can't add up to more bytes than there are; a progressive JPEG has a dozen scans; a WebP says its
size in front.
"""

import struct
from dataclasses import dataclass

from bloodcell_batch.images.damage import UndecodableImageError
from bloodcell_batch.images.jpeg_structure import jpeg_structure
from bloodcell_batch.records import Reason

MAX_SCANS = 100
"""A decoder works through the whole picture once a scan: thousands of empty ones fit into a small JPEG."""

_MAX_PAGES = 1000
_SCAN = b"\xff\xda"
_EXIF = b"Exif\x00\x00"
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_DIRECTORIES = {0x014A, 0x8769, 0x8825, 0xA005}  # tags that point to further directories: SubIFDs, EXIF, GPS, interop
TIFF_MAGIC = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """Guards against files that would exhaust memory, and against images too small to show a cell."""

    max_pixels: int = 50_000_000
    max_bytes: int = 500_000_000
    min_side: int = 16


class UnboundedImageError(UndecodableImageError):
    """Decoding the file could take memory or time out of all proportion to its size."""

    def __init__(self, detail: str) -> None:
        super().__init__(Reason.CORRUPT, detail)


def check_size(width: int, height: int, limits: DecodeLimits) -> None:
    """Compare the size that a header claims with the limits.

    Raises:
        UndecodableImageError: it is outside.
    """
    if width * height > limits.max_pixels:
        detail = f"{width}x{height} pixels, more than the limit of {limits.max_pixels / 1e6:g} megapixels"
        raise UndecodableImageError(Reason.TOO_LARGE, detail)
    if min(width, height) < limits.min_side:
        detail = f"{width}x{height} pixels, less than {limits.min_side} on one side"
        raise UndecodableImageError(Reason.TOO_SMALL, detail)


def check_scans(jpeg: bytes) -> None:
    """Count the scans of a JPEG.

    Raises:
        UnboundedImageError: more than `MAX_SCANS`.
    """
    scans = jpeg.count(_SCAN)  # in coded data, 0xff is followed by 0 or a restart marker
    if scans > MAX_SCANS:  # in other data after the end marker it means nothing
        structure = jpeg_structure(jpeg)
        scans = len(structure.scans) if structure else scans
    if scans > MAX_SCANS:
        raise UnboundedImageError(f"{scans} scans in one JPEG, more than {MAX_SCANS}")


def jpeg_exif(jpeg: bytes) -> bytes:
    """The EXIF data of a JPEG, of all its segments; empty without any."""
    found, place = b"", 2
    while place + 4 <= len(jpeg) and jpeg[place] == 0xFF and jpeg[place + 1] != _SCAN[1]:
        (length,) = struct.unpack_from(">H", jpeg, place + 2)
        if jpeg[place + 1] == 0xE1 and jpeg[place + 4 : place + 10] == _EXIF:
            found += jpeg[place + 10 : place + 2 + length]
        place += 2 + length
    return found


def check_exif(exif: bytes) -> None:
    """Check the tags of an EXIF block, with or without the marker before it; what is not EXIF is none of our business.

    Raises:
        UnboundedImageError: its tags claim more bytes than it has.
    """
    block = exif.removeprefix(_EXIF)
    if block.startswith(TIFF_MAGIC):
        _Directories(block).check()


def tiff_pages(data: bytes) -> int:
    """Number of pages of a TIFF (0 if it is none); its tags are checked on the way.

    Raises:
        UnboundedImageError: the tags claim more bytes than the file has, a directory lies outside of the file, or
            there are more than a thousand pages.
    """
    return _Directories(data).check() if data.startswith(TIFF_MAGIC) else 0


def tiff_tags(data: bytes, directory: int) -> set[int]:
    """Numbers of the tags in a TIFF's directory at an offset, also of those that can't be read."""
    return _Directories(data).tags(directory)


def webp_size(data: bytes) -> tuple[int, int] | None:
    """Width and height as a WebP's header says them; None if it is not a WebP, or of an unknown kind."""
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or len(data) < 30:
        return None
    kind = data[12:16]
    if kind == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if kind == b"VP8 ":
        return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return None


class _Directories:
    """The tag directories of TIFF data (classic or BigTIFF)."""

    def __init__(self, data: bytes) -> None:
        order = "<" if data[:2] == b"II" else ">"
        big = data[2:4] in {b"+\x00", b"\x00+"}
        self._data = data
        self._entry = struct.Struct(order + ("HHQ" if big else "HHI"))
        self._offset = struct.Struct(order + ("Q" if big else "I"))
        self._count = struct.Struct(order + ("Q" if big else "H"))
        self._first = 8 if big else 4
        self._left = len(data)

    def check(self) -> int:
        """Check the directories of the first page and count the pages."""
        try:
            (first,) = self._offset.unpack_from(self._data, self._first)
            pending, seen = [first], set[int]()
            while pending:
                place = pending.pop()
                if place not in seen:
                    seen.add(place)
                    pending += self._claims(place)
            return self._pages(first)
        except (struct.error, OverflowError) as error:  # an offset of 64 bits is more than Python can seek
            raise UnboundedImageError("a directory lies outside of the TIFF data") from error

    def tags(self, place: int) -> set[int]:
        """Numbers of the tags in a directory."""
        size = self._entry.size + self._offset.size
        (count,) = self._count.unpack_from(self._data, place)
        start = place + self._count.size
        entries = range(start, min(start + count * size, len(self._data) - size + 1), size)
        return {self._entry.unpack_from(self._data, entry)[0] for entry in entries}

    def _claims(self, place: int) -> list[int]:
        """Subtract what the tags of a directory claim from what there is; returns the directories it points to."""
        more: list[int] = []
        size = self._entry.size + self._offset.size
        (count,) = self._count.unpack_from(self._data, place)
        for i in range(min(count, len(self._data))):
            entry = place + self._count.size + i * size
            tag, kind, length = self._entry.unpack_from(self._data, entry)
            claimed = length * _SIZES.get(kind, 0)
            if claimed > self._offset.size:
                self._left -= claimed
            elif tag in _DIRECTORIES and length == 1:
                more.append(self._offset.unpack_from(self._data, entry + self._entry.size)[0])
            if self._left < 0:
                raise UnboundedImageError("the tags claim more bytes than there are")
        return more

    def _pages(self, first: int) -> int:
        size = self._entry.size + self._offset.size
        place, seen = first, set[int]()
        while place and place not in seen:
            seen.add(place)
            if len(seen) > _MAX_PAGES:
                raise UnboundedImageError(f"more than {_MAX_PAGES} pages in one TIFF")
            (count,) = self._count.unpack_from(self._data, place)
            (place,) = self._offset.unpack_from(self._data, place + self._count.size + count * size)
        return len(seen)
