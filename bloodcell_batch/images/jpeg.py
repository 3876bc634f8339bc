"""JPEG: libjpeg-turbo (simplejpeg) in strict mode, so that pixels which it makes up for missing data are never shown.

What simplejpeg refuses although it is sound is freed of what makes it unusual (scan headers of some cameras, data
after the end), or decoded by Pillow (other sampling factors, also of CMYK). Pillow's libjpeg keeps its warnings to
itself: such a file is shown only if its coded data are neither too short nor too long for it, as after damage they are.
"""

import io

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from bloodcell_batch.images.damage import UndecodableImageError, decoder_call
from bloodcell_batch.images.guards import DecodeLimits, check_exif, check_scans, check_size, jpeg_exif
from bloodcell_batch.images.jpeg_structure import JpegStructure, jpeg_structure, normalised
from bloodcell_batch.images.rgb import oriented, profiled
from bloodcell_batch.records import Reason

_EXIF_MARKER, _PROFILE_MARKER = b"Exif\x00\x00", b"ICC_PROFILE\x00"
_SEARCH_BYTES = 65536 + 20
_ORIENTATION_TAG = 0x0112
_PLAIN = {"YCbCr", "Gray", "RGB"}
_ENDS = (b"\x00\x00\x00", b"\x55\x55\x55", b"\xaa\xaa\xaa", b"\x93\x6c\xd1", b"\x2e\xb7\x48")
_END = b"\xff\xd9"


def decode_jpeg(data: bytes, limits: DecodeLimits) -> NDArray[np.uint8]:
    """RGB of a JPEG, uint8 (height, width, 3), upright, in sRGB.

    Raises:
        UndecodableImageError: it is damaged, of another kind, or too large.
    """
    check_scans(data)
    try:
        rgb = _strictly(data, limits)
    except UndecodableImageError as error:
        if error.reason in {Reason.TOO_LARGE, Reason.TOO_SMALL}:
            raise
        rgb = _unusual(data, limits, error)
    if _PROFILE_MARKER in data[:_SEARCH_BYTES]:
        rgb = _with_profile(data, rgb)
    return oriented(rgb, _orientation(data))


def check_stream(data: bytes) -> None:
    """Decode a JPEG that is part of another file, for what the decoder says of it.

    Raises:
        UndecodableImageError: it is damaged.
    """
    with decoder_call():
        colours = simplejpeg.decode_jpeg_header(data)[2]
    with decoder_call():
        simplejpeg.decode_jpeg(data, "CMYK" if colours in {"CMYK", "YCCK"} else "RGB", strict=True)


def _strictly(data: bytes, limits: DecodeLimits) -> NDArray[np.uint8]:
    with decoder_call():
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    check_size(width, height, limits)
    if colours in _PLAIN:
        with decoder_call():
            rgb: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, "RGB", strict=True)
        return rgb
    with decoder_call():
        simplejpeg.decode_jpeg(data, "CMYK", strict=True)  # says whether it is sound; Pillow knows Adobe's inversion
    return _by_pillow(data)


def _unusual(data: bytes, limits: DecodeLimits, refusal: UndecodableImageError) -> NDArray[np.uint8]:
    """A JPEG that the strict decoder refused: sound for another decoder, or the refusal."""
    structure = jpeg_structure(data)
    if structure is None:
        raise refusal
    if not structure.is_decoded:
        detail = f"JPEG of another kind (SOF{structure.frame - 0xC0}, {structure.bits} bits); save it as 8-bit baseline"
        raise UndecodableImageError(Reason.UNSUPPORTED_PIXELS, detail)
    plain = normalised(data, structure)
    if plain != data:
        try:
            return _strictly(plain, limits)
        except UndecodableImageError as error:
            refusal = error
            structure = jpeg_structure(plain) or structure
    if _refused_for_its_sampling(plain):
        return _with_other_sampling(plain, structure, limits)
    raise refusal


def _refused_for_its_sampling(data: bytes) -> bool:
    try:
        with decoder_call():
            simplejpeg.decode_jpeg_header(data)
    except UndecodableImageError as error:
        return isinstance(error.__cause__, KeyError) or "subsampling" in error.detail  # it has no name for some
    return False


def _with_other_sampling(data: bytes, structure: JpegStructure, limits: DecodeLimits) -> NDArray[np.uint8]:
    with decoder_call(), Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
        size = image.size
    check_size(*size, limits)
    if not structure.is_one_plain_scan:
        detail = "unusual sampling factors in several scans, whose damage can't be seen; save it as PNG"
        raise UndecodableImageError(Reason.UNSUPPORTED_PIXELS, detail)
    body = data[: structure.end]
    rgb = _by_pillow(data)
    # What follows the last bit of the picture changes nothing, and its last bits change something.
    if not data.endswith(_END) or not all(np.array_equal(_by_pillow(body + end * 40 + _END), rgb) for end in _ENDS):
        raise UndecodableImageError(Reason.TRUNCATED, "the coded data end before the picture does")
    if all(np.array_equal(_by_pillow(body[:-3] + end + _END), rgb) for end in _ENDS):
        raise UndecodableImageError(Reason.CORRUPT, "the picture ends before the coded data do")
    return rgb


def _by_pillow(data: bytes) -> NDArray[np.uint8]:
    check_exif(jpeg_exif(data))  # of which it reads a part while it only opens the file
    with decoder_call(), Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
        return np.asarray(image.convert("RGB"))


def _with_profile(data: bytes, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    try:
        check_exif(jpeg_exif(data))
        with decoder_call(), Image.open(io.BytesIO(data), formats=("JPEG", "MPO")) as image:
            profile = image.info.get("icc_profile")
    except UndecodableImageError:
        return rgb
    return profiled(rgb, profile)


def _orientation(data: bytes) -> int:
    """EXIF orientation 1-8 of a JPEG; the header is parsed only when there is an EXIF block at all."""
    if _EXIF_MARKER not in data[:_SEARCH_BYTES]:
        return 1
    try:
        check_exif(jpeg_exif(data))
        with decoder_call(), Image.open(io.BytesIO(data), formats=("JPEG", "MPO")) as image:
            return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except UndecodableImageError:
        return 1  # a damaged EXIF block says nothing; the pixels themselves decoded without a warning
