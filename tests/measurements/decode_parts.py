"""What each part of decoding one image costs, on one core.

    OMP_NUM_THREADS=1 python tests/measurements/decode_parts.py DIR --images 2000

DIR holds JPEG files, at any depth. Times are of the processor, the best of several rounds, so that other programs on
the machine disturb them little. Lines with a star are alternatives that the program does not use.
"""

import argparse
import hashlib
import io
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
import simplejpeg
import torch
import torchvision.io
from PIL import Image

from bloodcell_batch.images.decoding import decode_rgb
from bloodcell_batch.images.guards import DecodeLimits
from bloodcell_batch.images.perceptual_hash import grey_thumbnail, perceptual_hashes
from bloodcell_batch.images.preprocessing import Preprocessing, resize_to_input
from bloodcell_batch.records import ImageFile
from bloodcell_batch.stages.decode import make_decoder, measure_quality, pixel_digest

_HELD = 400  # decoded images kept at a time

Part = tuple[str, Callable[[Any], object], Sequence[Any]]


def parts(paths: Sequence[Path]) -> Iterator[Part]:
    """Name, function and inputs of every part."""
    limits, preprocessing = DecodeLimits(), Preprocessing()
    yield "read", Path.read_bytes, paths
    files = [path.read_bytes() for path in paths]
    yield "SHA-256", hashlib.sha256, files
    yield "decode (simplejpeg, strict)", lambda data: decode_rgb(data, limits), files
    yield "* decode (Pillow)", lambda data: np.asarray(Image.open(io.BytesIO(data)).convert("RGB")), files
    tensors = [torch.frombuffer(bytearray(data), dtype=torch.uint8) for data in files]
    yield "* decode (torchvision)", torchvision.io.decode_jpeg, tensors
    yield "* decode at half size", _decode_half, files
    pictures = [decode_rgb(data, limits) for data in files[:_HELD]]
    yield "digest of the pixels", pixel_digest, pictures
    yield "Pillow image", Image.fromarray, pictures
    images = [Image.fromarray(picture) for picture in pictures]
    yield "grey thumbnail", grey_thumbnail, images
    yield "* grey thumbnail (Pillow)", _pillow_thumbnail, images
    thumbnails = [grey_thumbnail(image) for image in images]
    yield "hash of the thumbnail", lambda thumbnail: perceptual_hashes(thumbnail[None]), thumbnails
    yield "* hash (imagehash)", lambda image: imagehash.phash(image, hash_size=16), images
    yield "quality of the thumbnail", lambda thumbnail: measure_quality(thumbnail[None]), thumbnails
    yield "network input", lambda picture: resize_to_input(picture, preprocessing), pictures
    yield "* network input (Pillow)", _pillow_input, images
    decoder = make_decoder("/", preprocessing, limits)
    whole = [ImageFile(str(path.resolve()), "s", path.stat().st_size, 0) for path in paths]
    yield "everything", decoder, whole


def measure(part: Callable[[Any], object], inputs: Sequence[Any], rounds: int) -> float:
    """Microseconds of processor time for one input, in the best round."""
    best = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        for one in inputs:
            part(one)
        best = min(best, time.process_time() - start)
    return best / len(inputs) * 1e6


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--images", type=int, default=2000, help="how many to use (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="the best counts (default: %(default)s)")
    options = parser.parse_args(arguments)
    paths = sorted(path for path in options.folder.rglob("*.jpg") if not path.name.startswith("."))
    if not paths:
        parser.error(f"no .jpg files under {options.folder}")
    paths = paths[:: max(1, len(paths) // options.images)][: options.images]
    torch.set_num_threads(1)
    for name, part, inputs in parts(paths):
        cost = measure(part, inputs, options.rounds)
        sys.stdout.write(f"{name:28} {cost:8.1f} us {1e6 / cost:9,.0f}/s\n")
        sys.stdout.flush()


def _decode_half(data: bytes) -> object:
    height, width, _, _ = simplejpeg.decode_jpeg_header(data)
    return simplejpeg.decode_jpeg(data, "RGB", min_height=height // 2, min_width=width // 2, strict=True)


def _pillow_thumbnail(image: Image.Image) -> object:
    return np.asarray(image.convert("L").resize((64, 64), Image.Resampling.LANCZOS))


def _pillow_input(image: Image.Image) -> object:
    return np.asarray(image.resize((128, 128), Image.Resampling.BILINEAR))


if __name__ == "__main__":
    main()
