"""MedMNIST files of blood cells as a source of labelled images."""

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bloodcell_batch.cell_classes import DEFAULT_CLASSES
from bloodcell_batch.errors import InputError, UsageError
from bloodcell_batch.files.archives import check_arrays
from bloodcell_batch.files.library_errors import library_reads
from bloodcell_batch.progress import Observer, counted
from bloodcell_batch.records import ImageFile
from bloodcell_batch.training.data.class_names import ClassNames
from bloodcell_batch.training.data.labelled_files import TEST, TRAIN, VALIDATION, NamedFile, Source, numbered

_PARTS = {"train": TRAIN, "val": VALIDATION, "test": TEST}


def open_medmnist(path: Path, names: ClassNames, _observer: Observer, _images: Path | None) -> Source:
    """The images of a BloodMNIST file, with its own split.

    Raises:
        InputError: unreadable, or not one of these files.
        UsageError: there is a class map.
    """
    if names.class_map:
        raise UsageError("A class map does not fit a MedMNIST file, whose labels are numbers.", hint="Leave it out.")
    hint = "BloodMNIST files (28, 64, 128 or 224 pixels) from medmnist.com are read as they are."
    entries: list[NamedFile] = []
    arrays: dict[str, NDArray[np.uint8]] = {}
    stamp = path.stat().st_mtime_ns
    try:
        check_arrays(path)
        with path.open("rb") as stream:
            with library_reads():
                content = np.load(stream, allow_pickle=False)
            for part, code in _PARTS.items():
                with library_reads():
                    images, labels = content[f"{part}_images"], content[f"{part}_labels"].reshape(-1)
                _check_medmnist(path, part, images, labels, hint)
                size = int(images[0].nbytes) if len(images) else 0
                for i, label in enumerate(labels.tolist()):
                    name = f"{part}/{DEFAULT_CLASSES.names[label]}_{i:05}"
                    arrays[name] = images[i]
                    meant = names.name_of(DEFAULT_CLASSES.names[label])
                    if meant is None:
                        told = f"{path} has cells of the class {DEFAULT_CLASSES.names[label]}"
                        raise InputError(f"{told}, which is none of {names.told}.", hint=hint)
                    entries.append(NamedFile(ImageFile(name, "", size, stamp), meant, code))
    except (OSError, ValueError) as error:
        raise InputError(f"Can't read {path} as a MedMNIST file: {error}.", hint=hint) from error

    def read(file: ImageFile) -> tuple[str, NDArray[np.uint8]]:
        rgb = arrays[file.path]
        return hashlib.sha256(rgb.tobytes()).hexdigest(), rgb

    return numbered(entries, read, names)


def _check_medmnist(path: Path, part: str, images: NDArray[np.generic], labels: NDArray[np.generic], hint: str) -> None:
    """InputError unless these are colour images with as many labels of the eight classes."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise InputError(f"{path}: {part}_images are not 8-bit colour images.", hint=hint)
    numbers = labels.dtype.kind in "iu" and len(labels) == len(images)
    found = set(labels.tolist()) if numbers else set()
    if not numbers or not found <= set(range(len(DEFAULT_CLASSES))):
        raise InputError(f"{path}: {part}_labels don't fit the images or the eight classes.", hint=hint)
    if part == "train" and len(found) < len(DEFAULT_CLASSES):
        told = f"{path} has {counted(len(found), 'class', 'classes')}, not the eight of BloodMNIST"
        raise InputError(f"{told}: it may show something else than blood cells.", hint=hint)
