"""Decode: read each file once and derive everything from that one reading, ahead of the network, in order."""

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import numpy as np
import xxhash
from numpy.typing import NDArray
from PIL import Image

from bloodcell_batch.ahead import ahead
from bloodcell_batch.perceptual_hash import grey_thumbnail, perceptual_hash
from bloodcell_batch.preprocessing import (
    DecodeLimits,
    Preprocessing,
    UndecodableImageError,
    decode_rgb,
    resize_image_to_input,
)
from bloodcell_batch.records import DecodedImage, ImageFacts, ImageFile, Quality, Reason, Rejection, Status
from bloodcell_batch.storage import Fetch, open_fetch

Outcome = TypeVar("Outcome")
RgbDecoder = Callable[[bytes, DecodeLimits], NDArray[np.uint8]]
Decoder = Callable[[ImageFile], DecodedImage | Rejection]
Reader = Callable[[ImageFile], tuple[str, NDArray[np.uint8]]]
"""Gives the SHA-256 (hex) of an image's bytes and its pixels, uint8 (height, width, 3) RGB; raises
`UndecodableImageError`."""


def make_decoder(
    root: str, preprocessing: Preprocessing, limits: DecodeLimits, to_rgb: RgbDecoder = decode_rgb
) -> Decoder:
    """A function that reads one image under `root` and decodes it; a bad file gives a `Rejection`, never an error."""
    return decoder_of(make_reader(root, limits, to_rgb), preprocessing)


def make_reader(root: str, limits: DecodeLimits, to_rgb: RgbDecoder = decode_rgb) -> Reader:
    """A function that reads one image file under `root`, a folder or a URL; `to_rgb` turns its bytes into pixels."""
    fetch = open_fetch(root)

    def read(file: ImageFile) -> tuple[str, NDArray[np.uint8]]:
        data = read_file(fetch, file, limits)
        return hashlib.sha256(data).hexdigest(), to_rgb(data, limits)

    return read


def decoder_of(reader: Reader, preprocessing: Preprocessing) -> Decoder:
    """A function that derives everything the run needs from one reading of an image."""

    def decode(file: ImageFile) -> DecodedImage | Rejection:
        try:
            sha256, rgb = reader(file)
        except UndecodableImageError as error:
            return Rejection(file, Status.FAILED, error.reason, error.detail)
        image = Image.fromarray(rgb)  # a copy, so made once: Pillow keeps 4 bytes a pixel
        thumbnail = grey_thumbnail(image)
        facts = ImageFacts(
            sha256=sha256,
            phash=perceptual_hash(thumbnail),
            width=rgb.shape[1],
            height=rgb.shape[0],
            quality=measure_quality(thumbnail),
            pixel_digest=pixel_digest(rgb),
        )
        return DecodedImage(file, facts, resize_image_to_input(image, preprocessing))

    return decode


def decode_ahead(
    files: Iterable[ImageFile],
    decoder: Callable[[ImageFile], Outcome],
    workers: int,
    window: int,
    timeout: float = math.inf,
) -> Iterator[Outcome | Rejection]:
    """Decode on `workers` threads, at most `window` files ahead of the consumer, in the order of `files`.

    The decoders release the interpreter lock, so threads run in parallel and share the pixels without copies.
    With 0 workers everything runs in the calling thread. A file that takes more than `timeout` seconds fails; without
    threads there is no limit.
    """

    def hung(file: ImageFile) -> Rejection:
        return Rejection(file, Status.FAILED, Reason.TIMED_OUT, f"not read and decoded within {timeout:g} s")

    work: Callable[[ImageFile], Outcome | Rejection] = decoder
    yield from ahead(files, work, workers, window, timeout, hung)


def measure_quality(thumbnail: NDArray[np.uint8]) -> Quality:
    """Quality measures of the 64x64 grey thumbnail (uint8), to the two decimals that the tables show: what is decided
    on them can be decided again from a table."""
    grey = thumbnail.astype(np.float64)
    laplacian = 4 * grey[1:-1, 1:-1]
    laplacian -= grey[:-2, 1:-1]
    laplacian -= grey[2:, 1:-1]
    laplacian -= grey[1:-1, :-2]
    laplacian -= grey[1:-1, 2:]
    brightness, variance = _mean_and_variance(grey.ravel())
    sharpness = _mean_and_variance(laplacian.ravel())[1]
    return Quality(round(brightness, 2), round(math.sqrt(variance), 2), round(sharpness, 2))


def _mean_and_variance(levels: NDArray[np.float64]) -> tuple[float, float]:
    """Of whole numbers, whose sums are exact; a third of the time of `mean` and `var`."""
    mean = float(levels.sum()) / levels.size
    return mean, max(0.0, float(levels @ levels) / levels.size - mean**2)


def pixel_digest(rgb: NDArray[np.uint8]) -> bytes:
    """128-bit digest of the decoded pixels and their shape.

    xxh3 instead of SHA-256: at 360x363 pixels it costs 6 microseconds, not 220, and it only has to tell pictures
    apart, not to withstand forgery.
    """
    return xxhash.xxh3_128_digest(rgb.data, seed=rgb.shape[1])


def read_file(fetch: Fetch, file: ImageFile, limits: DecodeLimits) -> bytes:
    """The bytes of a file as the scan saw it.

    Raises:
        UndecodableImageError: it is no regular file, too large, gone, changed or can't be read.
    """
    if not file.is_regular:
        # Opening a FIFO would wait for a writer that may never come.
        raise UndecodableImageError(Reason.NOT_A_REGULAR_FILE, "neither a file nor a link to one")
    if file.size_bytes > limits.max_bytes:
        detail = f"{file.size_bytes:,} bytes, more than the limit of {limits.max_bytes:,}"
        raise UndecodableImageError(Reason.TOO_LARGE, detail)
    try:
        data = fetch(file.path, file.size_bytes + 1)
    except FileNotFoundError as error:
        raise UndecodableImageError(Reason.CHANGED_DURING_RUN, "the file is gone, or a link leads nowhere") from error
    except OSError as error:
        raise UndecodableImageError(Reason.UNREADABLE, error.strerror or str(error)) from error
    if len(data) != file.size_bytes:
        now = str(len(data)) if len(data) < file.size_bytes else "more"
        detail = f"{file.size_bytes} bytes when scanned, {now} when read"
        raise UndecodableImageError(Reason.CHANGED_DURING_RUN, detail)
    return data
