"""Labelled images wherever they are: a folder per class, a manifest, reviewed results, or a MedMNIST file.

Every source is a list of images with labels and a function that reads one of them. To add a kind of source, add a row
to `SOURCES`.
"""

import posixpath
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bloodcell_batch.errors import InputError, UsageError
from bloodcell_batch.images.guards import DecodeLimits
from bloodcell_batch.labels.synonyms import known_cell
from bloodcell_batch.progress import Observer, counted
from bloodcell_batch.stages.decode import make_reader
from bloodcell_batch.stages.scan import scan
from bloodcell_batch.training.data.class_names import IGNORE, ClassNames
from bloodcell_batch.training.data.labelled_files import NamedFile, Source, numbered
from bloodcell_batch.training.data.manifest import open_manifest
from bloodcell_batch.training.data.medmnist import open_medmnist
from bloodcell_batch.training.data.reviewed_results import is_results, open_reviewed

_LISTED = 10
_TABLES = {".csv", ".xlsx", ".parquet"}


def open_source(data: Path, names: ClassNames, observer: Observer, images: Path | None = None) -> Source:
    """List the labelled images of `data`.

    Args:
        data: folder, `.csv`, `.xlsx` or `.parquet` table (a manifest, or results with verified labels), or `.npz` file.
        names: what labels mean, and which classes there are if not those that the data have.
        observer: told what is left out, and which labels were taken for which classes.
        images: folder with the images of reviewed results; the one in their run record if not given.

    Raises:
        InputError: nothing there, or not what such a source must be; results without verified labels are none.
        UsageError: the class map names a class that there isn't, or the data need no folder of images.
    """
    names.check_map()
    if not data.exists():
        raise InputError(f"There is no {data}.", hint=_KINDS)
    for kind in SOURCES.values():
        if kind.fits(data):
            if images is not None and kind.open is not open_reviewed:
                hint = "Leave it out: it is for the result table of a run, which a person has reviewed."
                raise UsageError(f"--images {images} has no meaning for {data}.", hint=hint)
            source = kind.open(data, names, observer, images)
            if names.found:
                listed = ", ".join(f"{label} as {name}" for label, name in sorted(names.found.items()))
                observer.note(f"labels taken for classes: {listed}", labels=dict(names.found))
            return source
    raise InputError(f"{data} is not a source of labelled images.", hint=_KINDS)


def _open_folder(root: Path, names: ClassNames, observer: Observer, _images: Path | None) -> Source:
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
        near = names.suggested(name for name in map(posixpath.basename, foreign) if known_cell(name) is None)
        observer.warn(f"left out, not named after a class: {listed}" + (f".{near}" if near else ""))
    empty = sorted(name for name in classes if not folders[name])
    if empty:
        observer.warn(f"folders without images: {', '.join(empty)}")
    entries = [
        NamedFile(file, classes[folder], laboratory=posixpath.dirname(folder))
        for file in found.files
        if (folder := folder_of[file.path]) in classes
    ]
    return numbered(entries, make_reader(found.root, DecodeLimits()), names)


def _class_folders(root: Path, names: ClassNames) -> dict[str, str]:
    """The folders in `root` that are named after a class, or mapped to one, and that class."""
    named = {path.name: names.name_of(path.name) for path in sorted(root.iterdir()) if path.is_dir()}
    return {folder: name for folder, name in named.items() if name is not None and name != IGNORE}


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of source: whether a path is one, and how it is opened."""

    fits: Callable[[Path], bool]
    open: Callable[[Path, ClassNames, Observer, Path | None], Source]


SOURCES: dict[str, _Kind] = {
    "a folder with one folder of images per class, or with one such folder per laboratory": _Kind(
        Path.is_dir, _open_folder
    ),
    "results with verified labels": _Kind(
        lambda path: path.suffix.lower() in _TABLES and is_results(path), open_reviewed
    ),
    "a .csv, .xlsx or .parquet manifest with the columns path, label and maybe slide_id, laboratory and split": _Kind(
        lambda path: path.suffix.lower() in _TABLES, open_manifest
    ),
    "a MedMNIST .npz file": _Kind(lambda path: path.suffix == ".npz", open_medmnist),
}
_KINDS = "Give " + ", or ".join(SOURCES) + "."
