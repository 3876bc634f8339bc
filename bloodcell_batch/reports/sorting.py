"""`sort`: the cells of a run in folders by class, each file with a name of its own."""

import csv
import errno
import hashlib
import os
import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from bloodcell_batch.cell_classes import OTHER_LABELS
from bloodcell_batch.config.results import SortConfig
from bloodcell_batch.errors import InputError
from bloodcell_batch.files.paths import leaves_folder
from bloodcell_batch.files.publishing import check_new_folder, folder_whole
from bloodcell_batch.progress import Observer, counted
from bloodcell_batch.results.finished import ResultRow, Results, load_results

LIST = "sorted.csv"
PREDICTED, UNCLASSIFIED, OF_NO_CLASS = "predicted_", "unclassified", "verified_"
"""Beginnings of names that are no class's: what is in such folders is not taken for truth by `train`."""

_COLUMNS = ("file", "slide_id", "path", "label", "by", "confidence")
_LONGEST = 200  # bytes of a name; file systems allow 255
_DIGITS = 12
_NO_LINKS = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES}


@dataclass(slots=True)
class Sorted:
    """How many cells went into each folder, and how many images are left out for which reason."""

    folders: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    copied: int = 0

    def told(self) -> list[str]:
        """All of it, a line each."""
        cells = self.folders.total()
        how = "hard links" if not self.copied else "copies" if self.copied == cells else "hard links and copies"
        lines = [f"{counted(cells, 'cell')} in {counted(len(self.folders), 'folder')}, as {how}"]
        lines += [f"{folder}: {number:,}" for folder, number in sorted(self.folders.items())]
        return lines + [f"left out, {why}: {number:,}" for why, number in sorted(self.left_out.items())]


def sort_cells(table: Path, out: Path, config: SortConfig, observer: Observer) -> Sorted:
    """Put the cells of the results in `table` into folders under `out`, which appears whole or not at all.

    Raises:
        BloodcellBatchError: nothing was written; the text says what to do.
    """
    check_new_folder(out)
    results = load_results(table)
    images = _images(results, config.images)
    done = Sorted()
    with folder_whole(out) as fresh:
        _sort(results, images, fresh, done, observer)
        if not done.folders:
            why = ", ".join(f"{number:,} {reason}" for reason, number in done.left_out.items()) or "it has no rows"
            hint = "Give the folder that was classified with --images."
            raise InputError(f"No cell of {table} can be sorted: {why}.", hint=hint)
    return done


def folder_of(row: ResultRow) -> str:
    """The folder of a cell: the class that a person gave it, `predicted_` and the program's, or `unclassified`."""
    if row.verified_label in OTHER_LABELS:
        return OF_NO_CLASS + row.verified_label
    return row.verified_label or (PREDICTED + row.label if row.label else UNCLASSIFIED)


def _sort(results: Results, images: Path, fresh: Path, done: Sorted, observer: Observer) -> None:
    names: dict[str, set[str]] = {}
    observer.started("sorting cells", len(results.rows))
    with (fresh / LIST).open("w", encoding="utf-8", newline="") as handle:
        listed = csv.writer(handle, lineterminator="\n")
        listed.writerow(_COLUMNS)
        for number, row in enumerate(results.rows, start=1):
            why = _why_not(row)
            source = images / row.file
            if not why and (why := _unlike(source, row)) == "":
                folder = folder_of(row)
                name = unique_name(row.file, names.setdefault(folder, set()))
                (fresh / folder).mkdir(exist_ok=True)
                done.copied += _link_or_copy(source, fresh / folder / name)
                done.folders[folder] += 1
                by = "verified" if row.verified_label else "predicted" if row.label else ""
                label = row.verified_label or row.label
                listed.writerow([f"{folder}/{name}", row.slide_id, row.path, label, by, row.confidence])
            else:
                done.left_out[why] += 1
            observer.advanced(number)
    observer.finished()


def _why_not(row: ResultRow) -> str:
    """Why a row has no picture of its own; empty if it has one."""
    if not row.is_cell:
        return row.status.value.replace("_", " ") if row.cell is None else "fields without a cell"
    return "cells of fields, which find cuts out" if row.box is not None else ""


def _unlike(source: Path, row: ResultRow) -> str:
    """Why the file is not the picture that was classified; empty if it is."""
    try:
        # The table may come from elsewhere: it must not name what lies beside the folder.
        if leaves_folder(row.file) or not source.is_file():
            return "missing"
        data = source.read_bytes()
    except (OSError, ValueError):
        return "missing"
    return "" if hashlib.sha256(data).hexdigest() == row.sha256 else "changed since they were classified"


def unique_name(path: str, taken: set[str]) -> str:
    """A file name for `path` that no other in `taken` has, also where capitals don't count; it is added to them."""
    flat = path.replace("\\", "/").replace("/", "__")
    stem, dot, suffix = flat.rpartition(".")
    stem, suffix = (stem, dot + suffix) if stem else (flat, "")
    if len(flat.encode()) > _LONGEST:
        room = _LONGEST - _DIGITS - len(suffix.encode()) - 1
        digest = hashlib.sha256(path.encode()).hexdigest()[:_DIGITS]
        stem = f"{stem.encode()[:room].decode('utf-8', 'ignore')}~{digest}"
    name, number = f"{stem}{suffix}", 1
    while name.casefold() in taken:
        number += 1
        name = f"{stem}~{number}{suffix}"
    taken.add(name.casefold())
    return name


def _link_or_copy(source: Path, target: Path) -> bool:
    """Make `target` another name of the file, or a copy where that can't be; whether it is a copy."""
    try:
        os.link(source.resolve(), target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        shutil.copyfile(source, target)
        return True
    return False


def _images(results: Results, images: Path | None) -> Path:
    if results.record.pseudonymised:
        hint = "Give the results that they were made of."
        raise InputError(f"{results.path} has codes in place of the images' paths.", hint=hint)
    folder = images or Path(results.record.input)
    if not folder.is_dir() or (images is None and not results.record.input):
        raise InputError(f"There is no folder {folder} of images.", hint="Name it with --images.")
    return folder
