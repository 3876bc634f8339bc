"""Decoded images on disk, mapped into memory: another training does not decode again, and RAM need not hold them all.

A cache folder holds, for each set of files and input size, `KEY.npy` (pixels) and `KEY.json` (what decoding found).
The key is a digest of the paths, sizes and times of the files and of the preprocessing, so a changed file is never
read from an old cache.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from bloodcell_batch.files.publishing import written_whole
from bloodcell_batch.files.writing import writing
from bloodcell_batch.images.preprocessing import Preprocessing
from bloodcell_batch.progress import Observer, counted
from bloodcell_batch.records import ImageFile, Reason, Rejection, Status
from bloodcell_batch.training.data.seen import as_hashes

_VERSION = 2


@dataclass(frozen=True, slots=True)
class Decoded:
    """What decoding a list of files gave: paths, SHA-256 (hex), hashes uint64 (N, 2, 4), see `seen.hashes_of`,
    duplicate groups int64 (N,) and pixels uint8 (N, S, S, 3) of those that are images, and the others."""

    paths: tuple[str, ...]
    sha256: tuple[str, ...]
    hashes: NDArray[np.uint64]
    groups: NDArray[np.int64]
    rejected: tuple[Rejection, ...]
    pixels: NDArray[np.uint8]


def pixel_store(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Room for the pixels, in memory."""
    return np.empty(shape, dtype=np.uint8)


def cached_images(
    folder: Path,
    files: Sequence[ImageFile],
    preprocessing: Preprocessing,
    decode: Callable[[NDArray[np.uint8]], Decoded],
    observer: Observer,
) -> Decoded:
    """The decoded `files` out of `folder`, or by calling `decode` with room for their pixels.

    Raises:
        OutputError: the cache can't be written.
    """
    key = _key(files, preprocessing)
    pixels, facts = folder / f"{key}.npy", folder / f"{key}.json"
    shape = (len(files), preprocessing.input_size, preprocessing.input_size, 3)
    if facts.exists() or not _filled(pixels, facts, shape, decode, observer):
        observer.note(f"{counted(len(files), 'decoded image')} found in {folder}")
    return _read(pixels, facts, {file.path: file for file in files})


def _filled(
    pixels: Path,
    facts: Path,
    shape: tuple[int, ...],
    decode: Callable[[NDArray[np.uint8]], Decoded],
    observer: Observer,
) -> bool:
    """Fill this part of the cache, unless a training beside this one was doing so: False, once that has ended."""
    hint = "Free some space, choose another folder for the cache, or leave it out."
    with writing(f"the image cache in {pixels.parent}", hint):
        pixels.parent.mkdir(parents=True, exist_ok=True)
        # Two that write the same file cut off what the other has mapped, which ends a program by a signal.
        with _alone(pixels.with_suffix(".lock"), observer):
            if facts.exists():
                return False
            _fill(pixels, facts, shape, decode)
            return True


@contextmanager
def _alone(file: Path, observer: Observer) -> Iterator[None]:
    """Wait until no other process fills the same part of the cache."""
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        observer.note("another training is decoding the same images: waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _fill(pixels: Path, facts: Path, shape: tuple[int, ...], decode: Callable[[NDArray[np.uint8]], Decoded]) -> None:
    partial = pixels.with_name(f".{pixels.stem}.partial.npy")
    try:
        # Written as zeros first: a mapped file on a full disk would end the program by a signal, not by an error.
        with partial.open("wb") as stream:
            np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})
            row = bytes(int(np.prod(shape[1:])))
            for _ in range(shape[0]):
                stream.write(row)
        decoded = decode(open_memmap(partial, mode="r+"))
        partial.replace(pixels)
        _write(facts, decoded)
    finally:
        partial.unlink(missing_ok=True)


def _key(files: Sequence[ImageFile], preprocessing: Preprocessing) -> str:
    listed = [[file.path, file.size_bytes, file.mtime_ns] for file in files]
    content = [_VERSION, preprocessing.model_dump(mode="json"), listed]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:24]


def _write(path: Path, decoded: Decoded) -> None:
    content = {
        "paths": decoded.paths,
        "sha256": decoded.sha256,
        "hashes": [row.tobytes().hex() for row in decoded.hashes],
        "groups": decoded.groups.tolist(),
        "rejected": [[bad.file.path, str(bad.reason), bad.detail] for bad in decoded.rejected],
    }
    with written_whole(path) as partial:
        partial.write_text(json.dumps(content), encoding="utf-8")


def _read(pixels: Path, facts: Path, files: dict[str, ImageFile]) -> Decoded:
    content = json.loads(facts.read_text(encoding="utf-8"))
    return Decoded(
        paths=tuple(content["paths"]),
        sha256=tuple(content["sha256"]),
        hashes=as_hashes([bytes.fromhex(row) for row in content["hashes"]]),
        groups=np.array(content["groups"], dtype=np.int64),
        rejected=tuple(
            Rejection(files[path], Status.FAILED, Reason(reason), detail)
            for path, reason, detail in content["rejected"]
        ),
        pixels=np.load(pixels, mmap_mode="r")[: len(content["paths"])],
    )
