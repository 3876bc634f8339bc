"""From what a file holds to the picture that it means: 8-bit levels, alpha over white, upright, sRGB."""

import io
import logging
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from bloodcell_batch.images.damage import UndecodableImageError, decoder_call
from bloodcell_batch.records import Reason

_log = logging.getLogger(__name__)

_LEAST_TOP_LEVEL = 1 << 14  # of 16-bit levels: a smear's background is bright, at least a quarter of the range
_LIKE_SRGB = 4  # levels by which a profile may differ from sRGB and still be taken for it
_SRGB = ImageCms.createProfile("sRGB")


def eight_bits(levels: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """16-bit levels as 8-bit ones. Cameras of 8 to 14 bits often leave the upper bits of a file empty, and it doesn't
    say so; only where every level fits into the lowest 8 bits is it certain which bits hold the picture.

    Raises:
        UndecodableImageError: it is not.
    """
    top = int(levels.max(initial=0))
    if top <= 255:
        return levels.astype(np.uint8)
    if top < _LEAST_TOP_LEVEL:
        detail = (
            f"16-bit levels that reach only {top:,} of 65,535, and the file doesn't say how many bits the camera had; "
            "save it as 8-bit RGB"
        )
        raise UndecodableImageError(Reason.UNSUPPORTED_PIXELS, detail)
    return (levels >> 8).astype(np.uint8)


def scaled(levels: NDArray[np.uint16], bits: int) -> NDArray[np.uint8]:
    """Levels of a known number of bits, 1 to 16, as 8-bit ones."""
    if bits == 8:
        return levels.astype(np.uint8)
    if bits > 8:
        return (levels >> (bits - 8)).astype(np.uint8)
    return (levels.astype(np.uint32) * 255 // ((1 << bits) - 1)).astype(np.uint8)


def over_white(
    colours: NDArray[np.uint8], alpha: NDArray[np.uint8], *, premultiplied: bool = False
) -> NDArray[np.uint8]:
    """Lay colours (height, width, 3) with alpha (height, width) over white, the colour of an empty smear.

    Raises:
        UndecodableImageError: alpha is 0 everywhere, or premultiplied colours are brighter than their alpha.
    """
    if not alpha.any():
        detail = "its alpha is 0 everywhere, so nothing of the picture is to be seen; save it without alpha"
        raise UndecodableImageError(Reason.UNSUPPORTED_PIXELS, detail)
    if (alpha == 255).all():
        return colours
    if premultiplied:
        if (colours > alpha[:, :, None]).any():
            detail = "its colours are brighter than their premultiplied alpha allows; save it without alpha"
            raise UndecodableImageError(Reason.UNSUPPORTED_PIXELS, detail)
        return colours + (255 - alpha)[:, :, None]
    picture = Image.fromarray(np.dstack([colours, alpha]))
    white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
    return np.asarray(Image.alpha_composite(white, picture).convert("RGB"))


def three_channels(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Grey levels (height, width) as RGB."""
    return np.repeat(grey[:, :, None], 3, axis=2)


def oriented(rgb: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
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


def profiled(rgb: NDArray[np.uint8], profile: object) -> NDArray[np.uint8]:
    """Convert to sRGB from the colours of an ICC profile, unless they are sRGB or nearly so.

    A profile that is damaged, or of other colours than red, green and blue, says nothing of the pixels.
    """
    transform = _to_srgb(profile) if isinstance(profile, bytes) and profile else None
    if transform is None:
        return rgb
    with decoder_call():
        return np.asarray(ImageCms.applyTransform(Image.fromarray(rgb), transform))


@lru_cache(maxsize=16)
def _to_srgb(profile: bytes) -> ImageCms.ImageCmsTransform | None:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != "RGB":
            return None
        transform = ImageCms.buildTransform(source, _SRGB, "RGB", "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC)
    except (OSError, ImageCms.PyCMSError) as error:
        _log.info("a colour profile can't be used: %s", error)
        return None
    steps = np.linspace(0, 255, 9).astype(np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(27, 27, 3)
    converted = np.asarray(ImageCms.applyTransform(Image.fromarray(colours), transform))
    gap = np.abs(converted.astype(int) - colours).max()
    return transform if gap > _LIKE_SRGB else None
