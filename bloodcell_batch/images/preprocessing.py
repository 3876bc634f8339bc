"""The one path from bytes to pixels, shared by classify, train, evaluate and export.

JPEG goes through libjpeg-turbo (simplejpeg) in strict mode: any decoder warning, such as missing or damaged data, is
a failure, because the pixels that libjpeg makes up in their place would be classified in silence. Everything else,
and JPEGs with colours that need care (CMYK), goes through Pillow with a closed list of formats.
"""

import io
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat

from bloodcell_batch.images.damage import UndecodableImageError, decoder_call
from bloodcell_batch.images.guards import check_exif, check_scans, jpeg_exif, tiff_pages, webp_size
from bloodcell_batch.images.resampling import BILINEAR, Columns, Rows, weights_of
from bloodcell_batch.records import Reason

# Format table: suffix -> Pillow format name. A file's content decides how it is read, its suffix whether it is.
IMAGE_SUFFIXES: dict[str, str] = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
    ".webp": "WEBP",
}
_PILLOW_FORMATS = tuple(dict.fromkeys(IMAGE_SUFFIXES.values()))
_JPEG_MAGIC = b"\xff\xd8\xff"
_EXIF_MARKER = b"Exif\x00\x00"
_EXIF_SEARCH_BYTES = 65536 + 20
_ORIENTATION_TAG = 0x0112
_BYTES_PER_PIXEL = 8  # that decoding takes at most: red, green, blue and alpha, twice
_LONGEST_SIDE = 1024  # of images that are resized by products; larger ones, no single cells, would take much memory

# Our own size guard reads the header and acts before any pixel is decoded; Pillow's would warn first and raise later.
Image.MAX_IMAGE_PIXELS = None


class Preprocessing(BaseModel):
    """How a decoded image becomes the network's input. Stored in the model file, never inferred from a name."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    input_size: int = Field(128, ge=16, le=1024, description="side of the square network input, in pixels")
    crop: float = Field(1.0, gt=0, le=1, description="central share of each side that is kept before resizing")
    mean: tuple[float, float, float] = Field((0.485, 0.456, 0.406), description="per channel, of values in 0-1")
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = Field(
        (0.229, 0.224, 0.225), description="per channel, of values in 0-1"
    )


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """Guards against files that would exhaust memory, and against images too small to show a cell."""

    max_pixels: int = 50_000_000
    max_bytes: int = 500_000_000
    min_side: int = 16


def decode_rgb(data: bytes, limits: DecodeLimits) -> NDArray[np.uint8]:
    """Decode image bytes to RGB.

    EXIF orientation is applied, alpha is laid over white (the colour of an empty smear), 16-bit greys are scaled to
    8 bits from their full range.

    Returns:
        uint8 array of shape (height, width, 3).

    Raises:
        UndecodableImageError: with the reason and the decoder's own words.
        MemoryError: memory is full, whatever the image.
    """
    if not data:
        raise UndecodableImageError(Reason.EMPTY, "the file has no bytes")
    try:
        return _decode(data, limits)
    except MemoryError:
        _check_memory(limits)
    # Other threads may have had the memory for a moment.
    try:
        return _decode(data, limits)
    except MemoryError as error:
        _check_memory(limits)
        detail = "decoding it takes more memory than there is, and more than its size would explain"
        raise UndecodableImageError(Reason.TOO_LARGE, detail) from error


def _check_memory(limits: DecodeLimits) -> None:
    """MemoryError if there is no room for the largest image that is allowed, so that memory is full for any image."""
    np.empty(limits.max_pixels * _BYTES_PER_PIXEL, dtype=np.uint8)


def _decode(data: bytes, limits: DecodeLimits) -> NDArray[np.uint8]:
    if data.startswith(_JPEG_MAGIC):
        rgb = _decode_jpeg(data, limits)
        if rgb is not None:
            return rgb
    return _decode_with_pillow(data, limits)


def resize_to_input(rgb: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Central crop, then antialiased bilinear resize of the whole crop to the square input.

    The sides are scaled independently, so no part of a cell that fills a non-square crop is lost. Pillow's own resize
    gives the same levels, or such that differ by one.

    Args:
        rgb: uint8 (height, width, 3).
        preprocessing: crop and input size.

    Returns:
        uint8 (input_size, input_size, 3).
    """
    height, width = rgb.shape[:2]
    side, crop = preprocessing.input_size, preprocessing.crop
    if max(height, width) > _LONGEST_SIDE:
        margin_x, margin_y = width * (1 - crop) / 2, height * (1 - crop) / 2
        box = (margin_x, margin_y, width - margin_x, height - margin_y)
        return np.asarray(Image.fromarray(rgb).resize((side, side), Image.Resampling.BILINEAR, box=box))
    rows, columns = _axis(height, side, crop)[0], _axis(width, side, crop)[1]
    room, pixels = rows.room(width * 3)
    pixels[:] = rgb.reshape(height, width * 3)
    low_room, low = columns.room(rows.size)
    rows.resize(room, low)
    low += 0.5
    np.floor(low, out=low)
    small = np.empty((rows.size, columns.size), dtype=np.float32)
    columns.resize(low_room, small)
    small += 0.5
    return small[:side, : side * 3].astype(np.uint8).reshape(side, side, 3)


@lru_cache(maxsize=256)
def _axis(length: int, side: int, crop: float) -> tuple[Rows, Columns]:
    """Bilinear weights with 16 bits after the point: times 8-bit levels they fit into the 24 bits of a float32.

    The weights of a pixel add up to 1 exactly, so that no sum exceeds the largest level, and one grey stays that grey.
    """
    margin = length * (1 - crop) / 2
    weights = weights_of(BILINEAR, length, side, (margin, length - margin))
    fixed = np.round(weights.matrix * 2**16)
    fixed[np.arange(side), fixed.argmax(axis=1)] += 2**16 - fixed.sum(axis=1)
    weights = replace(weights, matrix=fixed / 2**16)
    return Rows(weights, np.float32), Columns(weights, np.float32, channels=3)


def _check_size(width: int, height: int, limits: DecodeLimits) -> None:
    if width * height > limits.max_pixels:
        detail = f"{width}x{height} pixels, more than the limit of {limits.max_pixels / 1e6:g} megapixels"
        raise UndecodableImageError(Reason.TOO_LARGE, detail)
    if min(width, height) < limits.min_side:
        detail = f"{width}x{height} pixels, less than {limits.min_side} on one side"
        raise UndecodableImageError(Reason.TOO_SMALL, detail)


def _decode_jpeg(data: bytes, limits: DecodeLimits) -> NDArray[np.uint8] | None:
    """RGB of a grey or YCbCr JPEG; None where Pillow knows better (CMYK, YCCK, RGB-coded)."""
    check_scans(data)
    with decoder_call():
        height, width, colour_space, _ = simplejpeg.decode_jpeg_header(data)
    if colour_space not in {"YCbCr", "Gray"}:
        return None
    _check_size(width, height, limits)
    with decoder_call():
        rgb: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, "RGB", strict=True)
    return _apply_orientation(rgb, _jpeg_orientation(data))


def _jpeg_orientation(data: bytes) -> int:
    """EXIF orientation 1-8 of a JPEG; the header is parsed only when there is an EXIF block at all."""
    if _EXIF_MARKER not in data[:_EXIF_SEARCH_BYTES]:
        return 1
    try:
        check_exif(jpeg_exif(data))
        with decoder_call(), Image.open(io.BytesIO(data), formats=("JPEG", "MPO")) as image:
            return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except UndecodableImageError:
        return 1  # a damaged EXIF block says nothing; the pixels themselves decoded without a warning


def _apply_orientation(rgb: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Undo an EXIF orientation (1-8); other values mean nothing and change nothing."""
    if orientation == 1:
        return rgb
    upright = {
        2: rgb[:, ::-1],
        3: rgb[::-1, ::-1],
        4: rgb[::-1],
        5: rgb.transpose(1, 0, 2),
        6: rgb.transpose(1, 0, 2)[:, ::-1],
        7: rgb.transpose(1, 0, 2)[::-1, ::-1],
        8: rgb.transpose(1, 0, 2)[::-1],
    }.get(orientation, rgb)
    return np.ascontiguousarray(upright)


def _decode_with_pillow(data: bytes, limits: DecodeLimits) -> NDArray[np.uint8]:
    pages = _guard(data, limits)
    with decoder_call():
        image = Image.open(io.BytesIO(data), formats=_PILLOW_FORMATS)
    with image:
        _check_size(image.width, image.height, limits)
        with decoder_call():
            frames = pages or getattr(image, "n_frames", 1)
        if frames > 1 and image.format != "MPO":
            detail = f"{frames} images in one file; save each as a file of its own"
            raise UndecodableImageError(Reason.MULTIPLE_FRAMES, detail)
        _refuse_fax(image)
        with decoder_call():
            image.load()
        exif = image.info.get("exif")
        if isinstance(exif, bytes):  # a PNG may hold a text of that name
            check_exif(exif)
        with decoder_call():
            upright = ImageOps.exif_transpose(image)
        return np.ascontiguousarray(_to_rgb(upright), dtype=np.uint8)


def _guard(data: bytes, limits: DecodeLimits) -> int:
    """Look at what Pillow would work on while it only opens the file; the number of pages of a TIFF, else 0."""
    if data.startswith(_JPEG_MAGIC):
        check_scans(data)
        check_exif(jpeg_exif(data))
    size = webp_size(data)
    if size is not None:
        _check_size(*size, limits)
    return tiff_pages(data)


def _refuse_fax(image: Image.Image) -> None:
    """Fax compression (black and white, so no cells): its decoder makes up lines for damaged ones and doesn't say."""
    compression = str(image.info.get("compression", ""))
    if image.format == "TIFF" and compression.startswith(("group", "tiff_ccitt")):
        detail = f"compression {compression}, whose damage can't be seen; save the image as 8-bit RGB"
        raise UndecodableImageError(Reason.UNSUPPORTED_PIXELS, detail)


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith("I;16"):
        grey = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode in {"I", "F", "LAB", "HSV"}:
        detail = f"pixel format {image.mode} has no fixed range; save the image as 8-bit RGB"
        raise UndecodableImageError(Reason.UNSUPPORTED_PIXELS, detail)
    with decoder_call():
        has_alpha = image.has_transparency_data
        colours = image.convert("RGBA" if has_alpha else "RGB")
    if has_alpha:
        white = Image.new("RGBA", colours.size, (255, 255, 255, 255))
        colours = Image.alpha_composite(white, colours).convert("RGB")
    return np.asarray(colours)
