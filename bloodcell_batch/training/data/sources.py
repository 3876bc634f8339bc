"""Labelled images wherever they are: a folder per class, a manifest, or a MedMNIST file.

Every source is a list of images with labels and a function that reads one of them. To add a kind of source, add a row
to `SOURCES`.
"""

import hashlib
import os
import posixpath
import shlex
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bloodcell_batch.cell_classes import CLASS_NAMES
from bloodcell_batch.errors import InputError, UsageError
from bloodcell_batch.files.archives import check_arrays
from bloodcell_batch.files.library_errors import library_reads
from bloodcell_batch.files.paths import leaves_folder
from bloodcell_batch.files.sheets import SheetRow, read_sheet
from bloodcell_batch.images.guards import DecodeLimits
from bloodcell_batch.labels.synonyms import known_cell, nearest_names, rolled_up
from bloodcell_batch.progress import Observer
from bloodcell_batch.records import ImageFile
from bloodcell_batch.results.table_reading import read_parquet
from bloodcell_batch.stages.decode import Reader, make_reader
from bloodcell_batch.stages.scan import scan

IGNORE = "ignore"
"""In a class map: leave the images of this label out."""
FREE, TRAIN, VALIDATION, TEST = -1, 0, 1, 2
"""Part that the data assign an image to; FREE images are split by us."""

_PARTS = {"": FREE, "train": TRAIN, "training": TRAIN, "val": VALIDATION, "validation": VALIDATION, "test": TEST}
_MEDMNIST_PARTS = {"train": TRAIN, "val": VALIDATION, "test": TEST}
_LISTED = 10
_MANIFEST = "A manifest has the columns path and label, and maybe laboratory and split."


@dataclass(frozen=True, slots=True)
class LabelledFile:
    """An image, its class as an index into `CLASS_NAMES`, the part that the data assign it to, and its laboratory; data
    that name none are of one laboratory, ""."""

    file: ImageFile
    label: int
    part: int = FREE
    laboratory: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """Labelled images that are not read yet."""

    entries: tuple[LabelledFile, ...]
    read: Reader


def open_source(data: Path, class_map: Mapping[str, str], observer: Observer) -> Source:
    """List the labelled images of `data`.

    Args:
        data: folder, `.csv` or `.parquet` manifest, or `.npz` file.
        class_map: label of the data -> one of our class names, or "ignore"; labels that it lacks must be ours.
        observer: told what is left out.

    Raises:
        InputError: nothing there, or not what such a source must be.
        UsageError: the class map names a class that we don't have.
    """
    wrong = sorted({name for name in class_map.values() if name not in {*CLASS_NAMES, IGNORE}})
    if wrong:
        hint = f"Classes are {', '.join(CLASS_NAMES)}, or {IGNORE}."
        raise UsageError(f"The class map names unknown classes: {', '.join(wrong)}.", hint=hint)
    if not data.exists():
        raise InputError(f"There is no {data}.", hint=_KINDS)
    for fits, opener in SOURCES.values():
        if fits(data):
            return opener(data, class_map, observer)
    raise InputError(f"{data} is not a source of labelled images.", hint=_KINDS)


def _open_folder(root: Path, class_map: Mapping[str, str], observer: Observer) -> Source:
    found = scan(root)
    classes = _class_folders(root, class_map)
    pooled = not classes
    if pooled:
        for laboratory in sorted(path for path in root.iterdir() if path.is_dir()):
            inside = _class_folders(laboratory, class_map)
            classes |= {f"{laboratory.name}/{name}": label for name, label in inside.items()}
    if not classes:
        hint = f"Name the folders after classes: {', '.join(CLASS_NAMES)}; evaluate takes others with --map OTHER=OURS."
        raise InputError(f"{root} has no folder that is named after a class.", hint=hint)
    folder_of = {file.path: "/".join(file.path.split("/")[: 1 + pooled]) for file in found.files}
    folder_of = {
        path: folder if folder != path else posixpath.dirname(path) or "." for path, folder in folder_of.items()
    }
    folders = Counter(folder_of.values())
    ignored = {name for name, target in class_map.items() if target == IGNORE}
    foreign = sorted(name for name in set(folders) - set(classes) if posixpath.basename(name) not in ignored)
    if foreign:
        listed = ", ".join(f"{name} ({folders[name]} images)" for name in foreign[:_LISTED])
        observer.warn(f"left out, not named after a class: {listed}")
    empty = sorted(name for name in classes if not folders[name])
    if empty:
        observer.warn(f"folders without images: {', '.join(empty)}")
    entries = (
        LabelledFile(file, classes[folder], laboratory=posixpath.dirname(folder))
        for file in found.files
        if (folder := folder_of[file.path]) in classes
    )
    return Source(tuple(entries), make_reader(found.root, DecodeLimits()))


def _class_folders(root: Path, class_map: Mapping[str, str]) -> dict[str, int]:
    """The folders in `root` that are named after a class, or mapped to one: name -> index into `CLASS_NAMES`."""
    named = {path.name: class_map.get(path.name, path.name) for path in sorted(root.iterdir()) if path.is_dir()}
    return {folder: CLASS_NAMES.index(name) for folder, name in named.items() if name in CLASS_NAMES}


def _open_manifest(path: Path, class_map: Mapping[str, str], observer: Observer) -> Source:
    del observer
    entries: list[LabelledFile] = []
    seen: dict[str, int] = {}
    unknown: Counter[str] = Counter()
    for row in _manifest_rows(path):
        label = row["label"].strip()
        name = class_map.get(label, label)
        if name == IGNORE:
            continue
        if name not in CLASS_NAMES:
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
        entries.append(LabelledFile(file, CLASS_NAMES.index(name), _PARTS[part], laboratory))
    if unknown:
        listed = ", ".join(f"{name!r} ({count} rows)" for name, count in unknown.most_common(_LISTED))
        hint = f"Classes are {', '.join(CLASS_NAMES)}; evaluate takes other names with --map OTHER=OURS."
        hint += _suggested(unknown)
        raise InputError(f"{path} has labels that are not classes: {listed}.", hint=hint)
    if not entries:
        raise InputError(f"{path} lists no images.", hint=_MANIFEST)
    return Source(tuple(entries), make_reader(str(path.parent), DecodeLimits()))


def _suggested(labels: Iterable[str]) -> str:
    """How to map labels that name a known cell, or nearly do; empty where none does."""
    pairs = []
    for label in labels:
        known = known_cell(label)
        name = rolled_up(known) if known else next(iter(nearest_names(label)), "")
        if name in CLASS_NAMES:
            pairs.append(shlex.quote(f"{label}={name}"))
    return f" For these: {', '.join(pairs)}." if pairs else ""


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


def _open_medmnist(path: Path, class_map: Mapping[str, str], observer: Observer) -> Source:
    del observer
    if class_map:
        raise UsageError("A class map does not fit a MedMNIST file, whose labels are numbers.", hint="Leave it out.")
    hint = "BloodMNIST files (28, 64, 128 or 224 pixels) from medmnist.com are read as they are."
    entries: list[LabelledFile] = []
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
                    name = f"{part}/{CLASS_NAMES[label]}_{i:05}"
                    arrays[name] = images[i]
                    entries.append(LabelledFile(ImageFile(name, "", size, stamp), label, code))
    except (OSError, ValueError) as error:
        raise InputError(f"Can't read {path} as a MedMNIST file: {error}.", hint=hint) from error

    def read(file: ImageFile) -> tuple[str, NDArray[np.uint8]]:
        rgb = arrays[file.path]
        return hashlib.sha256(rgb.tobytes()).hexdigest(), rgb

    return Source(tuple(entries), read)


def _check_medmnist(path: Path, part: str, images: NDArray[np.generic], labels: NDArray[np.generic], hint: str) -> None:
    """InputError unless these are colour images with as many labels of the eight classes."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise InputError(f"{path}: {part}_images are not 8-bit colour images.", hint=hint)
    numbers = labels.dtype.kind in "iu" and len(labels) == len(images)
    found = set(labels.tolist()) if numbers else set()
    if not numbers or not found <= set(range(len(CLASS_NAMES))):
        raise InputError(f"{path}: {part}_labels don't fit the images or the eight classes.", hint=hint)
    if part == "train" and len(found) < len(CLASS_NAMES):
        told = f"{path} has {len(found)} classes, not the eight of BloodMNIST"
        raise InputError(f"{told}: it may show something else than blood cells.", hint=hint)


SOURCES: dict[str, tuple[Callable[[Path], bool], Callable[[Path, Mapping[str, str], Observer], Source]]] = {
    "a folder with one folder of images per class, or with one such folder per laboratory": (Path.is_dir, _open_folder),
    "a .csv, .xlsx or .parquet manifest with the columns path, label and maybe laboratory and split": (
        lambda path: path.suffix.lower() in {".csv", ".xlsx", ".parquet"},
        _open_manifest,
    ),
    "a MedMNIST .npz file": (lambda path: path.suffix == ".npz", _open_medmnist),
}
_KINDS = "Give " + ", or ".join(SOURCES) + "."
