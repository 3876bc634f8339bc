"""The one path from bytes to pixels, shared by classify, train, evaluate and export.

Each format has a reader that tells of damage, and that knows what the file says of its pixels; see `file_formats`.
Pillow, with a closed list of formats, reads what has no reader of its own.
"""

import io
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from bloodcell_batch.images.damage import UndecodableImageError, decoder_call
from bloodcell_batch.images.file_formats import IMAGE_SUFFIXES, check_suffix, pillow_formats, without_its_library
from bloodcell_batch.images.guards import TIFF_MAGIC, DecodeLimits, check_exif, check_size, webp_size
from bloodcell_batch.images.jpeg import decode_jpeg
from bloodcell_batch.images.png import PNG_MAGIC, check_png, decode_wide, is_wide, png_size
from bloodcell_batch.images.rgb import eight_bits, oriented, over_white, profiled, three_channels
from bloodcell_batch.records import Reason

_JPEG_MAGIC = b"\xff\xd8\xff"
_DICOM_MAGIC = b"DICM"
_ORIENTATION_TAG = 0x0112
_BYTES_PER_PIXEL = 8  # that decoding takes at most: red, green, blue and alpha, twice
_OPTIONAL = {"AVIF": "avif", "JPEG2000": "jpg_2000"}  # formats that some builds of Pillow lack: their feature
_COLOURS = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"}

# Our own size guard reads the header and acts before any pixel is decoded; Pillow's would warn first and raise later.
Image.MAX_IMAGE_PIXELS = None


def decode_rgb(data: bytes, limits: DecodeLimits, suffix: str = "") -> NDArray[np.uint8]:
    """Decode image bytes to RGB: upright, in sRGB, alpha laid over white (the colour of an empty smear), 8 bits.

    Args:
        data: the file.
        limits: on its size.
        suffix: of its name, with the dot, in small letters; formats that are read under their own suffix only need it.

    Returns:
        uint8 array of shape (height, width, 3).

    Raises:
        UndecodableImageError: with the reason and the decoder's own words.
        MemoryError: memory is full, whatever the image.
    """
    if not data:
        raise UndecodableImageError(Reason.EMPTY, "the file has no bytes")
    try:
        return _decode(data, limits, suffix)
    except MemoryError:
        _check_memory(limits)
    # Other threads may have had the memory for a moment.
    try:
        return _decode(data, limits, suffix)
    except MemoryError as error:
        _check_memory(limits)
        detail = "decoding it takes more memory than there is, and more than its size would explain"
        raise UndecodableImageError(Reason.TOO_LARGE, detail) from error


def _check_memory(limits: DecodeLimits) -> None:
    """MemoryError if there is no room for the largest image that is allowed, so that memory is full for any image."""
    np.empty(limits.max_pixels * _BYTES_PER_PIXEL, dtype=np.uint8)


def _decode(data: bytes, limits: DecodeLimits, suffix: str) -> NDArray[np.uint8]:
    if data.startswith(_JPEG_MAGIC):
        return decode_jpeg(data, limits)
    check_suffix(suffix)
    if data.startswith(TIFF_MAGIC):
        from bloodcell_batch.images.tiff import decode_tiff  # noqa: PLC0415 - tifffile, which few folders need

        return decode_tiff(data, limits)
    if data[128:132] == _DICOM_MAGIC and IMAGE_SUFFIXES[".dcm"] is IMAGE_SUFFIXES.get(suffix):
        from bloodcell_batch.images.dicom import decode_dicom  # noqa: PLC0415 - pydicom is an extra

        return decode_dicom(data, limits)
    return _decode_with_pillow(data, limits, suffix)


def _decode_with_pillow(data: bytes, limits: DecodeLimits, suffix: str) -> NDArray[np.uint8]:
    formats = pillow_formats(suffix)
    if "HEIF" in formats:
        _add_heif()
    for name in _OPTIONAL.keys() & formats:
        if not features.check(_OPTIONAL[name]):
            raise UndecodableImageError(Reason.UNSUPPORTED_FORMAT, f"this Pillow can't read {name}; save it as PNG")
    is_png = data.startswith(PNG_MAGIC)
    size = png_size(data) if is_png else webp_size(data)
    if size is not None:
        check_size(*size, limits)
    if is_png:
        check_png(data)
    with decoder_call():
        image = Image.open(io.BytesIO(data), formats=formats)
    with image:
        check_size(image.width, image.height, limits)
        with decoder_call():
            frames = getattr(image, "n_frames", 1)
        if frames > 1:
            detail = f"{frames} images in one file; save each as a file of its own"
            raise UndecodableImageError(Reason.MULTIPLE_FRAMES, detail)
        with decoder_call():
            image.load()
        exif = image.info.get("exif")
        if isinstance(exif, bytes):  # a PNG may hold a text of that name
            check_exif(exif)
        with decoder_call():
            orientation = image.getexif().get(_ORIENTATION_TAG, 1)
        rgb = decode_wide(data) if is_png and is_wide(data) else _to_rgb(image)
        rgb = profiled(rgb, image.info.get("icc_profile"))
    return np.ascontiguousarray(oriented(rgb, orientation))


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith("I;16"):
        return three_channels(eight_bits(np.asarray(image).astype(np.uint16)))
    if image.mode not in _COLOURS:
        detail = f"pixel format {image.mode} has no fixed range; save the image as 8-bit RGB"
        raise UndecodableImageError(Reason.UNSUPPORTED_PIXELS, detail)
    with decoder_call():
        has_alpha = image.has_transparency_data
        colours = np.asarray(image.convert("RGBA" if has_alpha else "RGB"))
    return over_white(colours[:, :, :3], colours[:, :, 3]) if has_alpha else colours


@lru_cache(maxsize=1)
def _add_heif() -> None:
    try:
        import pillow_heif  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise without_its_library("HEIC") from error
    pillow_heif.register_heif_opener()
