"""DICOM: files of one frame, as microscopes and viewers export them."""

import io

import numpy as np
from numpy.typing import NDArray

from bloodcell_batch.images.damage import UndecodableImageError, decoder_call
from bloodcell_batch.images.file_formats import without_its_library
from bloodcell_batch.images.guards import DecodeLimits, check_size
from bloodcell_batch.images.rgb import three_channels
from bloodcell_batch.records import Reason

_GREY = {"MONOCHROME1": True, "MONOCHROME2": False}  # name: whether 0 is white
_COLOUR = {"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"}


def decode_dicom(data: bytes, limits: DecodeLimits) -> NDArray[np.uint8]:
    """RGB of a DICOM file of one frame with 8-bit levels, uint8 (height, width, 3).

    Raises:
        UndecodableImageError: it is damaged, of other levels or frames, too large, or pydicom is not installed.
    """
    try:
        import pydicom  # noqa: PLC0415 - an extra
        from pydicom.pixels.utils import pixel_array  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise without_its_library("DICOM") from error
    with decoder_call():
        dataset = pydicom.dcmread(io.BytesIO(data))
        height, width = int(dataset.Rows), int(dataset.Columns)
        frames, bits = int(dataset.get("NumberOfFrames", 1) or 1), int(dataset.BitsStored)
        signed, colours = int(dataset.PixelRepresentation), str(dataset.PhotometricInterpretation)
    check_size(width, height, limits)
    if frames > 1:
        raise UndecodableImageError(Reason.MULTIPLE_FRAMES, f"{frames} frames; save each as a file of its own")
    if bits != 8 or signed or colours not in {*_GREY, *_COLOUR}:
        detail = f"DICOM of {bits} bits, {colours}; save the picture as 8-bit RGB"
        raise UndecodableImageError(Reason.UNSUPPORTED_PIXELS, detail)
    with decoder_call():
        levels = pixel_array(dataset)  # converts YBR to RGB
    if levels.shape not in {(height, width), (height, width, 3)}:
        raise UndecodableImageError(Reason.CORRUPT, f"{levels.shape} levels for {width}x{height} pixels")
    levels = levels.astype(np.uint8)
    if levels.ndim == 2:
        levels = three_channels(255 - levels if _GREY.get(colours) else levels)
    return np.ascontiguousarray(levels)
