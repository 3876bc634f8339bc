"""Scan: one walk over the folder finds every file and gives each image its slide."""

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

from bloodcell_batch.errors import InputError
from bloodcell_batch.files.remote import RemoteFolder
from bloodcell_batch.files.storage import is_url, persistently
from bloodcell_batch.images.file_formats import IMAGE_SUFFIXES, suffix_of, why_left_out
from bloodcell_batch.progress import counted
from bloodcell_batch.records import ImageFile
from bloodcell_batch.slides.file_list import FileList
from bloodcell_batch.slides.found import IgnoredFile, ScanResult
from bloodcell_batch.slides.order import table_order
from bloodcell_batch.slides.rules import ROOT_SLIDE, SlideRule, by_parent


def scan(root: Path | str, rule: SlideRule = by_parent, *, include_hidden: bool = False) -> ScanResult:
    """Walk `root`, a folder or a URL, once, following links to folders but never in a circle.

    Args:
        root: see there.
        rule: gives each image its slide.
        include_hidden: take also the images that lie in hidden and system folders, or are named so.

    Returns:
        Image files sorted by slide, then path, with `~` names last; ignored files and unreadable folders by path. A
        folder that holds its images directly is one slide and gives it its name.

    Raises:
        InputError: `root` is missing, no folder, or unreadable.
    """
    if is_url(str(root)):
        return _scan_url(str(root), rule, include_hidden=include_hidden)
    root = Path(root)
    if not root.exists():
        raise InputError(f"There is no folder {root}.", hint="Give the folder that holds the slide folders.")
    if not root.is_dir():
        hint = "Give the folder that holds it."
        raise InputError(f"{root} is a file, not a folder of slides.", hint=hint)
    unreadable: list[str] = []
    files: list[ImageFile] = []
    ignored: list[IgnoredFile] = []
    for path, entry in _walk(root, unreadable):
        why = _why_ignored(path, include_hidden=include_hidden)
        if why:
            ignored.append(IgnoredFile(path, why))
        else:
            files.append(_image_file(path, entry, rule))
    if "" in unreadable:
        raise InputError(f"The folder {root} can't be read.", hint="Check its permissions.")
    return _result(str(root), files, ignored, unreadable)


def left_out(ignored: Iterable[IgnoredFile]) -> Iterator[str]:
    """A line about ignored images that could be of the slides after all, in a folder of an unlucky name."""
    images = [file.path for file in ignored if file.why.endswith("folder") and suffix_of(file.path) in IMAGE_SUFFIXES]
    if images:
        where = f"in system and thumbnail folders, such as {images[0]}"
        yield f"left out: {counted(len(images), 'image file')} {where}; --include-hidden takes such images in"


def _scan_url(url: str, rule: SlideRule, *, include_hidden: bool) -> ScanResult:
    files: list[ImageFile] = []
    ignored: list[IgnoredFile] = []
    for path, size_bytes, mtime_ns in RemoteFolder(url).files():
        why = _why_ignored(path, include_hidden=include_hidden)
        if why:
            ignored.append(IgnoredFile(path, why))
        else:
            files.append(ImageFile(path, rule(path), size_bytes, mtime_ns))
    return _result(url, files, ignored, [])


def _result(root: str, files: list[ImageFile], ignored: list[IgnoredFile], unreadable: list[str]) -> ScanResult:
    name = PurePosixPath(root).name if is_url(root) else Path(os.path.normpath(Path(root).absolute())).name
    if name and all(file.slide_id == ROOT_SLIDE for file in files):
        # A folder of images without folders in it is one slide, and has its name.
        files = [replace(file, slide_id=name) for file in files]
    files.sort(key=table_order)
    ignored.sort(key=lambda file: file.path)
    return ScanResult(root, FileList(files), tuple(ignored), tuple(sorted(unreadable)))


def _walk(root: Path, unreadable: list[str]) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield (relative path, entry) of every non-folder; folders that can't be listed go to `unreadable`."""
    pending, linked = [""], list[str]()
    # Seen folders by (device, inode): a link back up, or two links to one folder, would list files twice.
    seen: set[tuple[int, int]] = set()
    while pending or linked:
        # Links last: a folder that is also reached without one keeps its own name.
        folder = pending.pop() if pending else linked.pop()
        absolute = os.path.join(root, folder)
        try:
            identity = persistently(lambda folder=absolute: os.stat(folder))  # type: ignore[misc]
            if (identity.st_dev, identity.st_ino) in seen:
                continue
            seen.add((identity.st_dev, identity.st_ino))
            entries = persistently(lambda folder=absolute: _entries(folder))  # type: ignore[misc]
        except OSError:
            unreadable.append(folder)
            continue
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if _is_folder(entry):
                (linked if entry.is_symlink() else pending).append(path)
            else:
                yield path, entry


def _entries(folder: str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as handle:
        return sorted(handle, key=lambda entry: entry.name)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # a link that leads in a circle, a device error: decode reports it, so that it has a row


def _why_ignored(path: str, *, include_hidden: bool) -> str:
    """Why the file is not an image by its name; empty for images."""
    why = "" if include_hidden else why_left_out(path)
    suffix = suffix_of(path)
    if why or suffix in IMAGE_SUFFIXES:
        return why
    return f"suffix {suffix!r}" if suffix else "no suffix"


def _image_file(path: str, entry: os.DirEntry[str], rule: SlideRule) -> ImageFile:
    slide = rule(path)
    try:
        status = persistently(entry.stat)
    except OSError:
        # A dangling link or a file that vanished: decode reports it, so that it has a row.
        return ImageFile(path, slide, size_bytes=0, mtime_ns=0)
    regular = stat.S_ISREG(status.st_mode)
    return ImageFile(path, slide, status.st_size, status.st_mtime_ns, regular)
