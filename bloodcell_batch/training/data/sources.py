"""Labelled images wherever they are: a folder per class, a manifest, or a MedMNIST file.

Every source is a list of images with labels and a function that reads one of them. To add a kind of source, add a row
to `SOURCES`.
"""

import hashlib
import os
import posixpath
import stat
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bloodcell_batch.cell_classes import DEFAULT_CLASSES, ClassList
from bloodcell_batch.errors import InputError, UsageError
from bloodcell_batch.files.archives import check_arrays
from bloodcell_batch.files.library_errors import library_reads
from bloodcell_batch.files.paths import leaves_folder
from bloodcell_batch.files.sheets import SheetRow, read_sheet
from bloodcell_batch.images.guards import DecodeLimits
from bloodcell_batch.progress import Observer
from bloodcell_batch.records import ImageFile
from bloodcell_batch.results.table_reading import read_parquet
from bloodcell_batch.stages.decode import Reader, make_reader
from bloodcell_batch.stages.scan import scan
from bloodcell_batch.training.data.class_names import IGNORE, ClassNames
from bloodcell_batch.wording import counted

FREE, TRAIN, VALIDATION, TEST = -1, 0, 1, 2
"""Part that the data assign an image to; FREE images are split by us."""

_PARTS = {"": FREE, "train": TRAIN, "training": TRAIN, "val": VALIDATION, "validation": VALIDATION, "test": TEST}
_MEDMNIST_PARTS = {"train": TRAIN, "val": VALIDATION, "test": TEST}
_LISTED = 10
_MANIFEST = "A manifest has the columns path and label, and maybe laboratory and split."


@dataclass(frozen=True, slots=True)
class LabelledFile:
    """An image, its class as an index into the source's classes, the part that the data assign it to, and its
    laboratory; data that name none are of one laboratory, ""."""

    file: ImageFile
    label: int
    part: int = FREE
    laboratory: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """Labelled images that are not read yet, and the classes that their labels count."""

    entries: tuple[LabelledFile, ...]
    read: Reader
    classes: ClassList


def open_source(data: Path, names: ClassNames, observer: Observer) -> Source:
    """List the labelled images of `data`.

    Args:
        data: folder, `.csv` or `.parquet` manifest, or `.npz` file.
        names: what labels mean, and which classes there are if not those that the data have.
        observer: told what is left out, and which labels were taken for which classes.

    Raises:
        InputError: nothing there, or not what such a source must be.
        UsageError: the class map names a class that there isn't.
    """
    names.check_map()
    if not data.exists():
        raise InputError(f"There is no {data}.", hint=_KINDS)
    for fits, opener in SOURCES.values():
        if fits(data):
            source = opener(data, names, observer)
            if names.found:
                listed = ", ".join(f"{label} as {name}" for label, name in sorted(names.found.items()))
                observer.note(f"labels taken for classes: {listed}", labels=dict(names.found))
            return source
    raise InputError(f"{data} is not a source of labelled images.", hint=_KINDS)


def _open_folder(root: Path, names: ClassNames, observer: Observer) -> Source:
    found = scan(root)
    classes = _class_folders(root, names)
    pooled = not classes
    if pooled:
        for laboratory in sorted(path for path in root.iterdir() if path.is_dir()):
            inside = _class_folders(laboratory, names)
            classes |= {f"{laboratory.name}/{folder}": name for folder, name in inside.items()}
    if not classes:
        hint = f"Name the folders after classes: {names.told}; --map OTHER=OURS takes others."
        raise InputError(f"{root} has no folder that is named after a class.", hint=hint)
    folder_of = {file.path: "/".join(file.path.split("/")[: 1 + pooled]) for file in found.files}
    folder_of = {
        path: folder if folder != path else posixpath.dirname(path) or "." for path, folder in folder_of.items()
    }
    folders = Counter(folder_of.values())
    ignored = {label for label, name in names.class_map.items() if name == IGNORE}
    foreign = sorted(name for name in set(folders) - set(classes) if posixpath.basename(name) not in ignored)
    if foreign:
        listed = ", ".join(f"{name} ({counted(folders[name], 'image')})" for name in foreign[:_LISTED])
        observer.warn(f"left out, not named after a class: {listed}")
    empty = sorted(name for name in classes if not folders[name])
    if empty:
        observer.warn(f"folders without images: {', '.join(empty)}")
    entries = [
        _Named(file, classes[folder], laboratory=posixpath.dirname(folder))
        for file in found.files
        if (folder := folder_of[file.path]) in classes
    ]
    return _source(entries, make_reader(found.root, DecodeLimits()), names)


def _class_folders(root: Path, names: ClassNames) -> dict[str, str]:
    """The folders in `root` that are named after a class, or mapped to one, and that class."""
    named = {path.name: names.name_of(path.name) for path in sorted(root.iterdir()) if path.is_dir()}
    return {folder: name for folder, name in named.items() if name is not None and name != IGNORE}


@dataclass(frozen=True, slots=True)
class _Named:
    """A `LabelledFile` before its class has a number."""

    file: ImageFile
    name: str
    part: int = FREE
    laboratory: str = ""


def _source(entries: Sequence[_Named], read: Reader, names: ClassNames) -> Source:
    classes = names.list_of(entry.name for entry in entries)
    numbers = {name: number for number, name in enumerate(classes.names)}
    numbered = (LabelledFile(one.file, numbers[one.name], one.part, one.laboratory) for one in entries)
    return Source(tuple(numbered), read, classes)


def _open_manifest(path: Path, names: ClassNames, observer: Observer) -> Source:
    del observer
    entries: list[_Named] = []
    seen: dict[str, int] = {}
    unknown: Counter[str] = Counter()
    for row in _manifest_rows(path):
        label = row["label"].strip()
        name = names.name_of(label)
        if name == IGNORE:
            continue
        if name is None:
            unknown[label] += 1
            continue
        image = posixpath.normpath(row["path"].replace("\\", "/"))
        if image in seen:
            raise InputError(f"{path}: lines {seen[image]} and {row.line} both name {image!r}.", hint="Remove one.")
        seen[image] = row.line
        part = row.values.get("split", "").strip().lower()
        if part not in _PARTS:
            hint = "Use train, validation or test, or leave it empty."
            raise InputError(f"{path}, line {row.line}: the split {row['split']!r} is unknown.", hint=hint)
        laboratory = row.values.get("laboratory", "").strip()
        file = _manifest_file(path, image, row.line)
        entries.append(_Named(file, name, _PARTS[part], laboratory))
    if unknown:
        listed = ", ".join(f"{name!r} ({counted(count, 'row')})" for name, count in unknown.most_common(_LISTED))
        hint = f"Classes are {names.told}; --map OTHER=OURS takes other names.{names.suggested(unknown)}"
        raise InputError(f"{path} has labels that are not classes: {listed}.", hint=hint)
    if not entries:
        raise InputError(f"{path} lists no images.", hint=_MANIFEST)
    return _source(entries, make_reader(str(path.parent), DecodeLimits()), names)


def _manifest_file(manifest: Path, name: str, number: int) -> ImageFile:
    hint = f"Paths are relative to {manifest.parent}; put the manifest into a folder above all its images."
    try:
        inside = os.path.relpath(manifest.parent / name, manifest.parent) if Path(name).is_absolute() else name
        if leaves_folder(inside):
            raise InputError(f"{manifest}, line {number}, names {name!r}, outside of its folder.", hint=hint)
        status = (manifest.parent / inside).stat()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        message = f"{manifest}, line {number}, names {name!r}: {why}."
        raise InputError(message, hint=hint) from error
    return ImageFile(name, "", status.st_size, status.st_mtime_ns, stat.S_ISREG(status.st_mode))


def _manifest_rows(path: Path) -> tuple[SheetRow, ...]:
    needed = ("path", "label")
    if path.suffix.lower() != ".parquet":
        return read_sheet(path, needed).rows
    try:
        rows = read_parquet(path).to_pylist()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(f"Can't read the manifest {path}: {error}.", hint="Save it as Parquet or CSV.") from error
    missing = sorted(set(needed) - set(rows[0])) if rows else []
    if missing:
        raise InputError(f"{path} lacks the column {', '.join(missing)}.", hint=_MANIFEST)
    return tuple(
        SheetRow(number, {key: "" if value is None else str(value) for key, value in row.items()})
        for number, row in enumerate(rows, start=1)
    )


def _open_medmnist(path: Path, names: ClassNames, observer: Observer) -> Source:
    del observer
    if names.class_map:
        raise UsageError("A class map does not fit a MedMNIST file, whose labels are numbers.", hint="Leave it out.")
    hint = "BloodMNIST files (28, 64, 128 or 224 pixels) from medmnist.com are read as they are."
    entries: list[_Named] = []
    arrays: dict[str, NDArray[np.uint8]] = {}
    stamp = path.stat().st_mtime_ns
    try:
        check_arrays(path)
        with path.open("rb") as stream:
            with library_reads():
                content = np.load(stream, allow_pickle=False)
            for part, code in _MEDMNIST_PARTS.items():
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
                    entries.append(_Named(ImageFile(name, "", size, stamp), meant, code))
    except (OSError, ValueError) as error:
        raise InputError(f"Can't read {path} as a MedMNIST file: {error}.", hint=hint) from error

    def read(file: ImageFile) -> tuple[str, NDArray[np.uint8]]:
        rgb = arrays[file.path]
        return hashlib.sha256(rgb.tobytes()).hexdigest(), rgb

    return _source(entries, read, names)


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


SOURCES: dict[str, tuple[Callable[[Path], bool], Callable[[Path, ClassNames, Observer], Source]]] = {
    "a folder with one folder of images per class, or with one such folder per laboratory": (Path.is_dir, _open_folder),
    "a .csv, .xlsx or .parquet manifest with the columns path, label and maybe laboratory and split": (
        lambda path: path.suffix.lower() in {".csv", ".xlsx", ".parquet"},
        _open_manifest,
    ),
    "a MedMNIST .npz file": (lambda path: path.suffix == ".npz", _open_medmnist),
}
_KINDS = "Give " + ", or ".join(SOURCES) + "."
