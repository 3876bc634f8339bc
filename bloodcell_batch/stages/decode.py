"""Decode: read each file once and derive everything from that one reading, ahead of the network, in order."""

import errno
import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import xxhash
from numpy.typing import NDArray
from PIL import Image

from bloodcell_batch.files.storage import Fetch, open_fetch
from bloodcell_batch.images.damage import UndecodableImageError
from bloodcell_batch.images.decoding import decode_rgb
from bloodcell_batch.images.file_formats import check_suffix, suffix_of
from bloodcell_batch.images.guards import DecodeLimits
from bloodcell_batch.images.perceptual_hash import grey_thumbnail, perceptual_hashes
from bloodcell_batch.images.preprocessing import Preprocessing, resize_to_input
from bloodcell_batch.parallel.ahead import ahead
from bloodcell_batch.parallel.blocks import PATIENCE_S, blocks_of
from bloodcell_batch.records import (
    DecodedImage,
    Found,
    ImageFacts,
    ImageFile,
    KnownImage,
    LoadedImage,
    Quality,
    Reason,
    Rejection,
    Status,
)

Decoded = TypeVar("Decoded")
_NO_PIXELS = np.empty((0, 0, 3), dtype=np.uint8)
_NOT_THERE = {errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.ENAMETOOLONG}
_DESCRIBED = 16  # images at a time: their thumbnails as float64 fit into a processor's own cache

RgbDecoder = Callable[[bytes, DecodeLimits, str], NDArray[np.uint8]]
"""Bytes, limits and the file name's suffix to pixels; see `decode_rgb`."""
Decoder = Callable[[ImageFile], DecodedImage | Rejection]
Loader = Callable[[ImageFile], LoadedImage | Rejection]
Finding = Callable[[ImageFile, NDArray[np.uint8]], Found]
"""A file and its pixels to what the finder says of it."""
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
        suffix = suffix_of(file.path)
        check_suffix(suffix)
        data = read_file(fetch, file, limits)
        return hashlib.sha256(data).hexdigest(), to_rgb(data, limits, suffix)

    return read


def make_loader(
    root: str,
    preprocessing: Preprocessing,
    limits: DecodeLimits,
    to_rgb: RgbDecoder = decode_rgb,
    find: Finding | None = None,
) -> Loader:
    """The part of `make_decoder` that is worth a thread of its own; `described` does the rest for many at a time.

    With `find`, fields of view become their cells here, as nobody keeps the whole image.
    """
    return loader_of(make_reader(root, limits, to_rgb), preprocessing, find)


def decoder_of(reader: Reader, preprocessing: Preprocessing) -> Decoder:
    """A function that derives everything the run needs from one reading of an image."""
    return as_decoder(loader_of(reader, preprocessing))


def as_decoder(load: Loader) -> Decoder:
    """A loader that also describes."""

    def decode(file: ImageFile) -> DecodedImage | Rejection:
        loaded = load(file)
        return describe([loaded])[0] if isinstance(loaded, LoadedImage) else loaded

    return decode


def loader_of(reader: Reader, preprocessing: Preprocessing, find: Finding | None = None) -> Loader:
    """As `make_loader`, for images that `reader` reads."""

    def load(file: ImageFile) -> LoadedImage | Rejection:
        try:
            sha256, rgb = reader(file)
        except UndecodableImageError as error:
            return Rejection(file, Status.FAILED, error.reason, error.detail)
        found = find(file, rgb) if find else Found()
        return LoadedImage(
            file=file,
            sha256=sha256,
            width=rgb.shape[1],
            height=rgb.shape[0],
            pixel_digest=pixel_digest(rgb),
            thumbnail=grey_thumbnail(Image.fromarray(rgb)),
            pixels=resize_to_input(rgb, preprocessing) if found.crops is None else _NO_PIXELS,
            found=found,
        )

    return load


def described(
    outcomes: Iterable[LoadedImage | KnownImage | Rejection],
) -> Iterator[DecodedImage | KnownImage | Rejection]:
    """Describe the loaded images of a stream, in blocks; everything else passes unchanged."""
    for block in blocks_of(outcomes, _DESCRIBED, PATIENCE_S):
        images = iter(describe([outcome for outcome in block if isinstance(outcome, LoadedImage)]))
        for outcome in block:
            yield next(images) if isinstance(outcome, LoadedImage) else outcome


def describe(images: Sequence[LoadedImage]) -> list[DecodedImage]:
    """Perceptual hash and quality measures of some images."""
    if not images:
        return []
    thumbnails = np.stack([image.thumbnail for image in images])
    return [
        DecodedImage(
            image.file,
            _facts(image, phash, quality),
            image.pixels,
            image.found.crops,
            doubt=image.found.doubt,
        )
        for image, phash, quality in zip(
            images, perceptual_hashes(thumbnails), measure_quality(thumbnails), strict=True
        )
    ]


def _facts(image: LoadedImage, phash: bytes, quality: Quality) -> ImageFacts:
    found = image.found
    return ImageFacts(
        image.sha256,
        phash,
        image.width,
        image.height,
        quality,
        image.pixel_digest,
        found.red_cell_pixels,
        found.red_cells,
        found.platelets,
        found.faults,
    )


def decode_ahead(
    files: Iterable[ImageFile],
    decoder: Callable[[ImageFile], Decoded],
    workers: int,
    window: int,
    timeout: float = math.inf,
) -> Iterator[Decoded | Rejection]:
    """Decode on `workers` threads, at most `window` files ahead of the consumer, in the order of `files`.

    The decoders release the interpreter lock, so threads run in parallel and share the pixels without copies.
    With 0 workers everything runs in the calling thread. A file that takes more than `timeout` seconds fails; without
    threads there is no limit.
    """

    def hung(file: ImageFile) -> Rejection:
        return Rejection(file, Status.FAILED, Reason.TIMED_OUT, f"not read and decoded within {timeout:g} s")

    work: Callable[[ImageFile], Decoded | Rejection] = decoder
    yield from ahead(files, work, workers, window, timeout, hung)


def measure_quality(thumbnails: NDArray[np.uint8]) -> list[Quality]:
    """Quality measures of grey thumbnails (N, 64, 64), uint8, to the two decimals that the tables show: what is decided
    on them can be decided again from a table."""
    grey = thumbnails.astype(np.float64)
    laplacian = 4 * grey[:, 1:-1, 1:-1]
    laplacian -= grey[:, :-2, 1:-1]
    laplacian -= grey[:, 2:, 1:-1]
    laplacian -= grey[:, 1:-1, :-2]
    laplacian -= grey[:, 1:-1, 2:]
    brightness, variance = _mean_and_variance(grey)
    sharpness = _mean_and_variance(laplacian)[1]
    rows = zip(brightness.tolist(), np.sqrt(variance).tolist(), sharpness.tolist(), strict=True)
    return [Quality(*(round(value, 2) for value in row)) for row in rows]


def _mean_and_variance(levels: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of each picture's whole numbers, whose sums are exact; a third of the time of `mean` and `var`."""
    levels = levels.reshape(len(levels), -1)
    mean = levels.sum(axis=1) / levels.shape[1]
    squares = np.einsum("ij,ij->i", levels, levels) / levels.shape[1]
    return mean, np.maximum(squares - mean**2, 0.0)


def pixel_digest(rgb: NDArray[np.uint8]) -> bytes:
    """128-bit digest of the decoded pixels and their shape.

    xxh3 instead of SHA-256: at 360x363 pixels it costs 6 microseconds, not 220, and it only has to tell pictures
    apart, not to withstand forgery.
    """
    return xxhash.xxh3_128_digest(rgb.data, seed=rgb.shape[1])


def read_file(fetch: Fetch, file: ImageFile, limits: DecodeLimits) -> bytes:
    """The bytes of a file as the scan saw it.

    Raises:
        UndecodableImageError: it is not a regular file, too large, gone, changed or can't be read.
    """
    if not file.is_regular:
        # Opening a FIFO would wait for a writer that may never come.
        raise UndecodableImageError(Reason.NOT_A_REGULAR_FILE, "neither a file nor a link to one")
    if file.size_bytes > limits.max_bytes:
        detail = f"{file.size_bytes:,} bytes, more than the limit of {limits.max_bytes:,}"
        raise UndecodableImageError(Reason.TOO_LARGE, detail)
    try:
        data = fetch(file.path, file.size_bytes + 1)
    except OSError as error:
        if file.was_not_there and error.errno in _NOT_THERE:
            detail = "a link that leads nowhere, or in a circle"
            raise UndecodableImageError(Reason.BROKEN_LINK, detail) from error
        if isinstance(error, FileNotFoundError):
            raise UndecodableImageError(Reason.CHANGED_DURING_RUN, "the file is gone") from error
        raise UndecodableImageError(Reason.UNREADABLE, error.strerror or str(error)) from error
    if len(data) != file.size_bytes:
        now = str(len(data)) if len(data) < file.size_bytes else "more"
        detail = f"{file.size_bytes} bytes when scanned, {now} when read"
        raise UndecodableImageError(Reason.CHANGED_DURING_RUN, detail)
    return data
