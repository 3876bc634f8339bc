"""How far apart are copies of one picture, and pictures of different cells?

    python tests/measurements/same_picture.py FOLDER [--copies N]

FOLDER holds pictures of cells. The first table says how far the copies of N of them are from their originals, in bits
of 256: re-saved, resized, turned, and as MedMNIST's thumbnails. The second says how far each picture is from the
nearest other one; equal pictures are left out. `SAME_PICTURE_DISTANCE` has to lie between the two.
"""

import argparse
import io
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bloodcell_batch.images.guards import DecodeLimits
from bloodcell_batch.images.hamming import distances
from bloodcell_batch.images.perceptual_hash import turned
from bloodcell_batch.images.preprocessing import Preprocessing
from bloodcell_batch.records import ImageFile, LoadedImage
from bloodcell_batch.stages.decode import Reader, loader_of, make_reader
from bloodcell_batch.stages.scan import scan
from bloodcell_batch.training.data.seen import SAME_PICTURE_DISTANCE, as_hashes, hashes_of

Hashes = NDArray[np.uint64]
_SIZE = Preprocessing(input_size=16)  # the network's input is not looked at
_COUNTED = (16, 32, SAME_PICTURE_DISTANCE, 48)


def _jpeg(image: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


def _middle(image: Image.Image, side: int, resample: Image.Resampling = Image.Resampling.BICUBIC) -> Image.Image:
    """As MedMNIST made BloodMNIST of PBC: the middle 200 of 360 pixels, resized."""
    kept = image.width * 200 // 360
    left, top = (image.width - kept) // 2, (image.height - kept) // 2
    return image.crop((left, top, left + kept, top + kept)).resize((side, side), resample)


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG, quality 95": lambda image: _jpeg(image, 95),
    "JPEG, quality 50": lambda image: _jpeg(image, 50),
    "JPEG, quality 30": lambda image: _jpeg(image, 30),
    "half as large": lambda image: image.resize((image.width // 2, image.height // 2)),
    "128 pixels": lambda image: image.resize((128, 128)),
    "64 pixels": lambda image: image.resize((64, 64)),
    "28 pixels": lambda image: image.resize((28, 28)),
    "twice as large": lambda image: image.resize((2 * image.width, 2 * image.height)),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "turned by 90 degrees": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "turned by 180 degrees": lambda image: image.transpose(Image.Transpose.ROTATE_180),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "mirrored and turned": lambda image: image.transpose(Image.Transpose.TRANSVERSE),
    "middle, 224 pixels": lambda image: _middle(image, 224),
    "middle, 128 pixels": lambda image: _middle(image, 128),
    "middle, 64 pixels": lambda image: _middle(image, 64),
    "middle, 28 pixels": lambda image: _middle(image, 28),
    "middle, 28 pixels, box": lambda image: _middle(image, 28, Image.Resampling.BOX),
    "middle, 28 pixels, nearest": lambda image: _middle(image, 28, Image.Resampling.NEAREST),
}


def main() -> None:
    """Read, copy, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--copies", type=int, default=1000, metavar="N")
    arguments = parser.parse_args()
    found = scan(arguments.folder)
    read = make_reader(found.root, DecodeLimits())
    hashes = as_hashes([_hashed(read, file) for file in found.files])

    chosen = np.linspace(0, len(hashes) - 1, min(arguments.copies, len(hashes))).astype(int)
    heading = "".join(f"{f'> {limit}':>8}" for limit in _COUNTED)
    sys.stdout.write(f"{f'{len(chosen):,} copies':<28}{'median':>8}{'most':>8}{heading}\n")
    for name, copy in COPIES.items():
        copies = as_hashes([_hashed(_copying(read, copy), found.files[i]) for i in chosen])
        apart = _apart(copies, hashes[chosen])
        counts = "".join(f"{int((apart > limit).sum()):>8,}" for limit in _COUNTED)
        sys.stdout.write(f"{name:<28}{np.median(apart):>8.0f}{apart.max():>8}{counts}\n")

    nearest = np.array([_nearest(hashes, i) for i in range(len(hashes))])
    sys.stdout.write(f"{f'{len(hashes):,} pictures':<28}{'median':>8}{'least':>8}\n")
    sys.stdout.write(f"{'nearest other picture':<28}{np.median(nearest):>8.0f}{nearest.min():>8}\n")


def _hashed(read: Reader, file: ImageFile) -> bytes:
    loaded = loader_of(read, _SIZE)(file)
    if not isinstance(loaded, LoadedImage):
        sys.exit(f"{file.path}: {loaded.reason}")
    return hashes_of(loaded)


def _copying(read: Reader, copy: Callable[[Image.Image], Image.Image]) -> Reader:
    def read_copy(file: ImageFile) -> tuple[str, NDArray[np.uint8]]:
        sha256, rgb = read(file)
        return sha256, np.ascontiguousarray(copy(Image.fromarray(rgb)))

    return read_copy


def _apart(some: Hashes, others: Hashes) -> NDArray[np.uint16]:
    """Distance between pictures (N, 2, 4) and (N, 2, 4) or (1, 2, 4), as `SeenPart.has_pictures` compares them."""
    ways = [
        distances(np.moveaxis(turned(some[:, mine]), -1, 0), np.moveaxis(others[:, theirs], -1, 0)[:, None])
        for mine, theirs in ((0, 0), (0, 1), (1, 0))
    ]
    least: NDArray[np.uint16] = np.concatenate(ways).min(axis=0)
    return least


def _nearest(hashes: Hashes, place: int) -> int:
    one = hashes[place][None]
    apart = _apart(np.broadcast_to(one, (1, *one.shape[1:])), hashes)
    different = (hashes[:, 0] != one[:, 0]).any(axis=1)
    return int(apart[different].min(initial=256))


if __name__ == "__main__":
    main()
