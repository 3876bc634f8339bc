"""TIFF: what the tags say of the pixels is followed, or refused with a reason; every strip and tile is checked.

tifffile reads the tags and imagecodecs unpacks. Strips that give too few bytes are filled up in silence, checksums
behind the last byte are not compared, and libjpeg keeps its warnings to itself; so each strip is looked at first.
"""

import io
import logging
import math
import zlib
from collections.abc import Callable, Iterator

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from bloodcell_batch.images.damage import UndecodableImageError, decoder_call
from bloodcell_batch.images.guards import DecodeLimits, UnboundedImageError, check_size, tiff_pages, tiff_tags
from bloodcell_batch.images.jpeg import check_stream
from bloodcell_batch.images.rgb import eight_bits, oriented, over_white, profiled, scaled, three_channels
from bloodcell_batch.records import Reason

# What is wrong with a file becomes its row: tifffile would write it to stderr.
logging.getLogger("tifffile").addHandler(logging.NullHandler())
logging.getLogger("tifffile").propagate = False

_NONE, _LZW, _JPEG, _DEFLATES = 1, 5, 7, {8, 32946}
_UNPACK: dict[int, Callable[[bytes], bytes | bytearray]] = {
    _LZW: imagecodecs.lzw_decode,
    32773: imagecodecs.packbits_decode,
    34925: imagecodecs.lzma_decode,
    50000: imagecodecs.zstd_decode,
}
_READ = {_NONE, _JPEG, *_DEFLATES, *_UNPACK}
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
_COLOURS = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _PALETTE: 1, _CMYK: 4, _YCBCR: 3}
_PREMULTIPLIED, _ALPHA = 1, 2  # values of the tag ExtraSamples
_MOST_SAMPLES = 8
_STACK_TAG = 33629  # MetaMorph: as many pictures behind the one directory
_BITS, _PHOTOMETRIC, _FILL_ORDER, _ORIENTATION, _MAX_LEVEL, _SAMPLE_FORMAT = 258, 262, 266, 274, 281, 339
# Width, height, compression, ..., samples, rows per strip, planes, predictor, tile width and height, depth.
_ONE_NUMBER = {256, 257, 259, _PHOTOMETRIC, _FILL_ORDER, _ORIENTATION, 277, 278, 284, 317, 322, 323, 32997}
# Bits, strips, maximum, colour map, tiles, extra samples, sample format, JPEG tables.
_NUMBERS = {_BITS, 273, 279, _MAX_LEVEL, 320, 324, 325, 338, _SAMPLE_FORMAT, 347}
_LOW_BIT_FIRST = 2
_TABLES = 347  # of JPEG: bytes
_OTHERS = {320, _TABLES}  # which are not a list of numbers; the first is the colour map
_PIECE = 1 << 20


def decode_tiff(data: bytes, limits: DecodeLimits) -> NDArray[np.uint8]:
    """RGB of a TIFF of one page, uint8 (height, width, 3), upright, in sRGB.

    Raises:
        UndecodableImageError: it is damaged, of several pages, of a kind that is not read, or too large.
    """
    tiff_pages(data)
    with decoder_call():
        file = tifffile.TiffFile(io.BytesIO(data))
    with file:
        page = _the_page(file)
        _check_tags(page, data)
        check_size(page.imagewidth, page.imagelength, limits)
        _check_kind(page, limits)
        for index, segment in _segments(page, data):
            _check_segment(page, index, segment)
        with decoder_call():
            levels = page.asarray(maxworkers=1)
            orientation, profile = _value(page, _ORIENTATION, 1), page.iccprofile
        if page.samplesperpixel == 1:
            levels = levels.reshape(page.imagelength, page.imagewidth, 1)
        elif page.planarconfig == 2:
            levels = np.moveaxis(levels, 0, -1)
        if levels.shape != (page.imagelength, page.imagewidth, page.samplesperpixel):
            raise UndecodableImageError(Reason.CORRUPT, f"pixels of the shape {levels.shape}")
        return oriented(profiled(_to_rgb(page, levels), profile), orientation)


def _the_page(file: tifffile.TiffFile) -> tifffile.TiffPage:
    """The one picture of the file; thumbnails and masks beside it don't count."""
    with decoder_call():
        pages = [file.pages[i].aspage() for i in range(len(file.pages))]
        whole = [page for page in pages if not (page.is_reduced or page.is_mask)] or pages
        count = max(len(whole), *(page.tags[_STACK_TAG].count for page in whole if _STACK_TAG in page.tags), 1)
        if file.is_imagej and file.imagej_metadata:
            count = max(count, int(file.imagej_metadata.get("images", 1)))
    if count > 1:
        detail = f"{count} images in one file; save each as a file of its own"
        raise UndecodableImageError(Reason.MULTIPLE_FRAMES, detail)
    return whole[0]


def _check_tags(page: tifffile.TiffPage, data: bytes) -> None:
    """Tifffile passes over tags that it can't read, and takes a default for what they would have said."""
    lost = tiff_tags(data, page.offset) & (_ONE_NUMBER | _NUMBERS) - set(page.tags.keys())
    odd = [tag for tag in _ONE_NUMBER if tag in page.tags and not isinstance(page.tags[tag].value, int)]
    odd += [tag for tag in _NUMBERS - _OTHERS if tag in page.tags and not _numbers(page, tag)]
    odd += [_TABLES] if not isinstance(page.tags.valueof(_TABLES, default=b""), bytes) else []
    if lost or odd:
        raise UndecodableImageError(Reason.CORRUPT, f"the tag {min({*lost, *odd})} can't be read")


def _check_kind(page: tifffile.TiffPage, limits: DecodeLimits) -> None:
    """Refuse what is not a picture of unsigned levels, or can't be checked for damage."""
    bits, kind, samples = page.bitspersample, _photometric(page), page.samplesperpixel
    compression = int(page.compression)
    said = ""
    if compression not in _READ:
        said = f"compression {getattr(page.compression, 'name', compression)}"
    elif len({*_numbers(page, _BITS)}) > 1 or not 1 <= bits <= 16:
        said = f"{bits} bits a level"
    elif {*_numbers(page, _SAMPLE_FORMAT)} - {1}:
        said = "signed or floating-point levels, which have no fixed range"
    elif kind not in _COLOURS or samples < _COLOURS[kind] or samples > _MOST_SAMPLES:
        said = f"{samples} samples with the photometric interpretation {kind}"
    elif (compression == _JPEG and (bits != 8 or kind == _CMYK)) or (kind == _YCBCR and compression != _JPEG):
        said = f"photometric interpretation {kind}, {bits} bits, in compression {compression}"
    elif kind == _PALETTE and page.colormap is None:
        said = "a palette without colours"
    elif page.imagedepth != 1 or page.predictor not in {1, 2}:
        said = f"depth {page.imagedepth}, predictor {page.predictor}"
    if said:
        raise UndecodableImageError(Reason.UNSUPPORTED_PIXELS, f"TIFF of {said}; save it as 8-bit RGB")
    if page.is_tiled and page.tilewidth * page.tilelength > max(limits.max_pixels, 1 << 16):
        raise UnboundedImageError(f"tiles of {page.tilewidth}x{page.tilelength} pixels")


def _segments(page: tifffile.TiffPage, data: bytes) -> Iterator[tuple[int, bytes]]:
    """(number, bytes) of each strip or tile, as many as the picture takes."""
    with decoder_call():
        offsets, counts = page.dataoffsets, page.databytecounts
        wanted = math.prod(page.chunked)
    if len(offsets) < wanted or len(counts) < wanted:
        detail = f"{min(len(offsets), len(counts))} of {wanted} strips or tiles"
        raise UndecodableImageError(Reason.TRUNCATED, detail)
    for index in range(wanted):
        offset, count = offsets[index], counts[index]
        if count <= 0 or offset <= 0 or offset + count > len(data):
            raise UndecodableImageError(Reason.TRUNCATED, f"strip or tile {index} lies outside of the file")
        segment = data[offset : offset + count]
        if _value(page, _FILL_ORDER, 1) == _LOW_BIT_FIRST and int(page.compression) != _JPEG:
            segment = bytes(imagecodecs.bitorder_decode(segment))
        yield index, segment


def _check_segment(page: tifffile.TiffPage, index: int, segment: bytes) -> None:
    compression, (size, padded) = int(page.compression), _sizes_of(page, index)
    if compression == _JPEG:
        return check_stream(_with_tables(segment, page.jpegtables))
    if compression in _DEFLATES:
        unpacked = _inflated_size(segment, size)
    elif compression == _NONE:
        unpacked = len(segment)
    else:
        with decoder_call():
            unpacked = len(_UNPACK[compression](segment))
    if unpacked < size:
        detail = f"strip or tile {index} has {unpacked} of {size} bytes"
        raise UndecodableImageError(Reason.TRUNCATED, detail)
    if compression in _UNPACK and unpacked not in {size, padded}:
        detail = f"strip or tile {index} unpacks to {unpacked} bytes instead of {size}"
        raise UndecodableImageError(Reason.CORRUPT, detail)
    return None


def _sizes_of(page: tifffile.TiffPage, index: int) -> tuple[int, int]:
    """Bytes of a strip or tile when unpacked, and of one that was filled up to the height of the others."""
    if page.is_tiled:
        width, rows, per_strip = page.tilewidth, page.tilelength, page.tilelength
    else:
        per_strip = min(page.rowsperstrip or page.imagelength, page.imagelength)
        strips = -(-page.imagelength // per_strip)
        width, rows = page.imagewidth, min(per_strip, page.imagelength - index % strips * per_strip)
    samples = 1 if page.planarconfig == 2 else page.samplesperpixel
    row_bytes = -(-width * samples * page.bitspersample // 8)
    return rows * row_bytes, per_strip * row_bytes


def _inflated_size(segment: bytes, at_most: int) -> int:
    """Bytes that a deflate stream unpacks to; its checksum is compared."""
    stream = zlib.decompressobj()
    size = 0
    while segment and not stream.eof and size <= at_most + _PIECE:
        with decoder_call():
            size += len(stream.decompress(segment, _PIECE))
        segment = stream.unconsumed_tail
    if not stream.eof:
        raise UndecodableImageError(Reason.TRUNCATED, "a deflate stream without its end")
    return size


def _with_tables(segment: bytes, tables: bytes | None) -> bytes:
    """A strip's JPEG stream with the tables that all of them share, which are a stream themselves."""
    return segment if not tables else tables[:-2] + segment[2:]


def _to_rgb(page: tifffile.TiffPage, levels: NDArray[np.generic]) -> NDArray[np.uint8]:
    kind, wide = _photometric(page), levels.astype(np.uint16)
    colours = _COLOURS[kind]
    picture = wide[:, :, :colours]
    if kind == _PALETTE:
        rgb = _from_palette(picture[:, :, 0], page.colormap)
    else:
        if kind == _WHITE_IS_ZERO:
            picture = (1 << page.bitspersample) - 1 - picture
        narrow = _narrowed(page, picture)
        if kind == _CMYK:
            rgb = np.asarray(Image.fromarray(narrow, mode=None if colours != 4 else "CMYK").convert("RGB"))
        else:
            rgb = three_channels(narrow[:, :, 0]) if colours == 1 else np.ascontiguousarray(narrow)
    for place, extra in enumerate(page.extrasamples):
        if extra in {_PREMULTIPLIED, _ALPHA} and colours + place < wide.shape[2]:
            alpha = scaled(wide[:, :, colours + place], page.bitspersample)
            return over_white(rgb, alpha, premultiplied=extra == _PREMULTIPLIED)
    return rgb


def _narrowed(page: tifffile.TiffPage, levels: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Eight bits of the levels. Those of 16 bits may be a camera's fewer, and then a tag should say so."""
    if page.bitspersample < 16:
        return scaled(levels, page.bitspersample)
    said = _value(page, _MAX_LEVEL, 0)
    if 255 <= said < 65535 and said & (said + 1) == 0 and levels.max(initial=0) <= said:
        return scaled(levels, said.bit_length())
    return eight_bits(levels)


def _from_palette(index: NDArray[np.uint16], colormap: NDArray[np.uint16] | None) -> NDArray[np.uint8]:
    """Colours of a palette, (3, N) levels of 16 bits; some writers leave the upper 8 empty."""
    shape = np.shape(colormap) if colormap is not None else ()  # it is whatever the tag says
    if colormap is None or len(shape) != 2 or shape[0] != 3 or index.max(initial=0) >= shape[1]:
        raise UndecodableImageError(Reason.CORRUPT, "a pixel of a colour that the palette lacks")
    colours = colormap if colormap.max(initial=0) <= 255 else colormap >> 8
    return np.ascontiguousarray(colours.astype(np.uint8).T[index])


def _photometric(page: tifffile.TiffPage) -> int:
    """What the levels mean; without the tag, as libtiff takes it."""
    if _PHOTOMETRIC in page.tags:
        return int(page.tags[_PHOTOMETRIC].value)
    return _BLACK_IS_ZERO if page.samplesperpixel < 3 else _RGB


def _numbers(page: tifffile.TiffPage, tag: int) -> tuple[int, ...]:
    """The numbers of a tag; none if it is missing or says something else."""
    value = page.tags[tag].value if tag in page.tags else ()
    numbers = value if isinstance(value, tuple) else (value,)
    return tuple(int(number) for number in numbers if isinstance(number, int))


def _value(page: tifffile.TiffPage, tag: int, default: int) -> int:
    """The least number of a tag; the default where it has none."""
    return min(_numbers(page, tag), default=default)
