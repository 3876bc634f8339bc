"""JPEG decoding on an NVIDIA GPU (nvJPEG through torchvision), for pictures of a megapixel and more.

Off by default. libjpeg warns of every damaged code, nvJPEG may not: a file whose end is there but whose inside is
damaged could decode to made-up pixels. What can be seen from outside still goes to the strict decoder on the CPU: files
without their end marker, unusual colours, rotation in the EXIF data, and whatever nvJPEG itself refuses. The pixels
differ from the CPU's in the last digits, so tables of both decoders are not byte-identical.
"""

import logging
import threading
import warnings
from collections.abc import Callable

import numpy as np
import simplejpeg
import torch
from numpy.typing import NDArray
from torchvision.io import ImageReadMode, decode_jpeg

from bloodcell_batch.errors import BackendError
from bloodcell_batch.images.decoding import decode_rgb
from bloodcell_batch.images.guards import DecodeLimits, check_scans

_log = logging.getLogger(__name__)

_START, _END = b"\xff\xd8\xff", b"\xff\xd9"
_EXIF, _EXIF_SEARCH_BYTES = b"Exif\x00\x00", 65536 + 20
_COLOURS = {"YCbCr", "Gray"}


def gpu_rgb_decoder(device: str = "cuda") -> Callable[[bytes, DecodeLimits, str], NDArray[np.uint8]]:
    """A stand-in for `decode_rgb` that decodes plain JPEGs on `device`, one file a call.

    A file that the GPU can't or shouldn't decode goes to the CPU, so it costs no other file its row. The function may
    be called from several threads.

    Raises:
        BackendError: PyTorch finds no usable GPU.
    """
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise BackendError("--jpeg-decoder gpu needs an NVIDIA GPU, and PyTorch finds none.", hint="Leave it out.")
    one_at_a_time = threading.Lock()  # nvJPEG's decoder is shared, and not safe to enter twice

    def decode(data: bytes, limits: DecodeLimits, suffix: str = "") -> NDArray[np.uint8]:
        if not _is_plain(data, limits):
            return decode_rgb(data, limits, suffix)
        # A writable copy: torch warns about tensors over read-only memory.
        encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        try:
            with one_at_a_time, warnings.catch_warnings():
                # Deprecated since torchvision 0.29 in favour of another package, which needs FFmpeg's libraries.
                warnings.simplefilter("ignore", DeprecationWarning)
                planes = decode_jpeg(encoded, ImageReadMode.RGB, device=device)
                rgb: NDArray[np.uint8] = planes.permute(1, 2, 0).contiguous().cpu().numpy()
                return rgb
        except RuntimeError as error:
            _log.info("nvJPEG refused a file, the CPU decodes it: %s", str(error).splitlines()[0])
            return decode_rgb(data, limits, suffix)

    return decode


def _is_plain(data: bytes, limits: DecodeLimits) -> bool:
    """Whether nvJPEG and libjpeg should agree on a file; if not, or if in doubt, the CPU decides what it is."""
    if not data.startswith(_START) or not data.rstrip(b"\x00").endswith(_END):
        return False
    if _EXIF in data[:_EXIF_SEARCH_BYTES]:
        return False
    try:
        check_scans(data)
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return False
    return colours in _COLOURS and width * height <= limits.max_pixels and min(width, height) >= limits.min_side
