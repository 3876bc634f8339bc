"""Checks of the image files: the same names, sizes and bytes as when they were classified."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from bloodcell_batch.files.names import printable
from bloodcell_batch.images.file_formats import why_left_out
from bloodcell_batch.integrity.digests import file_sha256
from bloodcell_batch.parallel.cpus import available_cpus
from bloodcell_batch.progress import Observer
from bloodcell_batch.records import ImageFile
from bloodcell_batch.stages.scan import scan
from bloodcell_batch.verification.findings import Findings
from bloodcell_batch.verification.table_checks import Seen

_AT_A_TIME = 1024


def check_images(folder: Path, seen: Seen, findings: Findings, observer: Observer) -> None:
    """Scan the folder as `classify` does, and hash every file that has a row. Only what the scan finds is opened: a
    path in a table leads nowhere else.

    Raises:
        InputError: `folder` is missing or can't be read.
    """
    found = scan(folder, include_hidden=True)  # whether the run took them in shows in its rows
    files = {printable(file.path): file for file in found.files}
    for name in found.unreadable_folders:
        findings.add(printable(name), "the folder can't be read")
    for path in sorted(seen.files.keys() - files.keys()):
        findings.add(path, "the file is missing")
    for path in sorted(path for path in files.keys() - seen.files.keys() if not why_left_out(path)):
        findings.add(path, "the file is new: it has no row")
    both = sorted(files.keys() & seen.files.keys())
    observer.started("hashing images", len(both))
    try:
        for done, (path, fault) in enumerate(_faults(found.root, both, files, seen), start=1):
            if fault:
                findings.add(path, fault)
            observer.advanced(done)
    finally:
        observer.finished()


def _faults(root: str, paths: list[str], files: dict[str, ImageFile], seen: Seen) -> Iterator[tuple[str, str]]:
    def fault(path: str) -> str:
        size, sha256 = seen.files[path]
        return _fault(root, files[path], size, sha256)

    with ThreadPoolExecutor(available_cpus(), thread_name_prefix="hash") as pool:
        remaining = iter(paths)
        while some := list(islice(remaining, _AT_A_TIME)):
            yield from zip(some, pool.map(fault, some), strict=True)


def _fault(root: str, file: ImageFile, size: int, sha256: str) -> str:
    if file.size_bytes != size:
        return f"the file has {file.size_bytes:,} bytes, it had {size:,}"
    if not sha256:
        return ""  # it failed, and so has no hash
    if not file.is_regular:
        return "the file is not a regular file any more"
    try:
        changed = file_sha256(f"{root}/{file.path}") != sha256
    except OSError as error:
        return f"the file can't be read: {error.strerror or error}"
    return "the file was changed: it has another SHA-256" if changed else ""
