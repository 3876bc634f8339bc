"""Manifests: tables that people make, with a row for each labelled image."""

import os
import posixpath
import stat
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from bloodcell_batch.errors import InputError
from bloodcell_batch.files.paths import leaves_folder
from bloodcell_batch.files.sheets import SheetRow, read_columns, read_sheet
from bloodcell_batch.images.guards import DecodeLimits
from bloodcell_batch.progress import Observer
from bloodcell_batch.records import ImageFile
from bloodcell_batch.results.table_reading import read_parquet
from bloodcell_batch.stages.decode import make_reader
from bloodcell_batch.training.data.class_names import IGNORE, ClassNames
from bloodcell_batch.training.data.labelled_files import FREE, TEST, TRAIN, VALIDATION, NamedFile, Source, numbered

_PARTS = {"": FREE, "train": TRAIN, "training": TRAIN, "val": VALIDATION, "validation": VALIDATION, "test": TEST}
_MANIFEST = "A manifest has the columns path and label, and maybe slide_id, laboratory and split."


def open_manifest(path: Path, names: ClassNames, _observer: Observer, _images: Path | None) -> Source:
    """The images that a manifest names.

    Raises:
        InputError: unreadable, an image that is missing or there twice, or a label or split that is none.
    """
    entries: list[NamedFile] = []
    seen: dict[str, int] = {}
    unknown: Counter[str] = Counter()
    for row in table_rows(path, ("path", "label")):
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
        laboratory, slide = (row.values.get(column, "").strip() for column in ("laboratory", "slide_id"))
        file = _manifest_file(path, image, row.line)
        entries.append(NamedFile(file, name, _PARTS[part], laboratory, slide))
    names.refuse_unknown(path, unknown)
    if not entries:
        raise InputError(f"{path} lists no images.", hint=_MANIFEST)
    return numbered(entries, make_reader(str(path.parent), DecodeLimits()), names)


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


def table_columns(path: Path) -> tuple[str, ...]:
    """The names of the columns of a `.parquet`, `.xlsx` or CSV table; InputError where it can't be read."""
    if path.suffix.lower() != ".parquet":
        return read_columns(path)
    return tuple(_parquet(path).schema.names)


def table_rows(path: Path, needed: Sequence[str]) -> tuple[SheetRow, ...]:
    """The rows of such a table as texts; InputError where it can't be read or lacks one of the `needed` columns."""
    if path.suffix.lower() != ".parquet":
        return read_sheet(path, needed).rows
    table = _parquet(path)
    missing = [name for name in needed if name not in table.schema.names]
    if missing:
        raise InputError(f"{path} lacks the column {', '.join(missing)}.", hint=_MANIFEST)
    return tuple(
        SheetRow(number, {key: "" if value is None else str(value) for key, value in row.items()})
        for number, row in enumerate(table.to_pylist(), start=1)
    )


def _parquet(path: Path) -> pa.Table:
    try:
        return read_parquet(path)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(f"Can't read the manifest {path}: {error}.", hint="Save it as Parquet or CSV.") from error
