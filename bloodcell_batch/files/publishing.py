"""Files and folders appear whole or not at all: written beside their final names, then renamed."""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bloodcell_batch.errors import OutputError
from bloodcell_batch.files.writing import locked, writing

_TABLES = (".csv", ".parquet", ".xlsx")
_PARTIAL, _LOCK = ".partial", ".lock"


def check_new(*paths: Path, overwrite: bool, suffix: str = "") -> None:
    """Fail before the work begins.

    Raises:
        OutputError: a name does not end in `suffix`, a folder is missing or can't be written, or a file exists and
            `overwrite` is off.
    """
    for path in paths:
        if suffix and path.suffix != suffix:
            raise OutputError(f"{path} must end in {suffix}.", hint="Choose such a name.")
        if path.is_dir():
            raise OutputError(f"{path} is a folder.", hint="Give the name of a file.")
        if path.exists() and not overwrite:
            raise OutputError(f"{path} exists already.", hint="Choose another name, or add --overwrite to replace it.")
        if not path.parent.is_dir():
            raise OutputError(f"There is no folder {path.parent}.", hint="Create it first, or correct --out.")
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise OutputError(f"The folder {path.parent} can't be written.", hint="Choose another --out.")


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` for the body to write; it takes the place of `path` when the body is done.

    Raises:
        OSError: it can't be written; what stood at `path` is untouched.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        sync(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def check_new_folder(out: Path) -> None:
    """Fail before the work begins.

    Raises:
        OutputError: `out` is a file, a folder with something in it, or named like a table; or its folder is missing.
    """
    with writing(f"to {out}"):
        if out.exists() and (not out.is_dir() or any(entry.name != _PARTIAL for entry in out.iterdir())):
            raise OutputError(f"{out} is no empty folder.", hint="Give a new folder: nothing is replaced.")
        if not out.exists() and out.suffix.lower() in _TABLES:
            hint = f"Give the name of a new folder, such as {out.with_suffix('')}; tables are written into it."
            raise OutputError(f"{out} is the name of a table, where a folder is written.", hint=hint)
        if not out.absolute().parent.is_dir():
            raise OutputError(f"There is no folder {out.parent}.", hint="Create it first.")


@contextmanager
def folder_whole(out: Path) -> Iterator[Path]:
    """An empty folder for the body to fill; it becomes `out` when the body is done. Where `out` is there already, which
    may be a link or a mounted disk that nothing can take the place of, what is in it moves there, files last.

    What a killed run left is taken away first.

    Raises:
        LockedError: another run fills it.
        OutputError: it can't be made or renamed, or is not ours; or the body raised an OSError.
    """
    there = out.is_dir()
    fresh = out / _PARTIAL if there else out.absolute().with_name(f".{out.absolute().name}{_PARTIAL}")
    with writing(f"to {out}"):
        fresh.mkdir(exist_ok=True)
        if fresh.is_symlink() or (any(fresh.iterdir()) and not (fresh / _LOCK).is_file()):
            raise OutputError(
                f"{fresh} is not what a run of this program left.", hint="Take it away, then run it again."
            )
        with locked(fresh / _LOCK, f"Another run is writing {out}"):
            try:
                _clear(fresh)
                yield fresh
                (fresh / _LOCK).unlink()
                if there:
                    for entry in sorted(fresh.iterdir(), key=Path.is_file):
                        entry.replace(out / entry.name)
                else:
                    fresh.replace(out)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)


def _clear(folder: Path) -> None:
    for left in folder.iterdir():
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left)
        elif left.name != _LOCK:
            left.unlink()


def publish_files(writers: Mapping[Path, Callable[[Path], object]]) -> None:
    """Write all files under temporary names, then rename them in order.

    Args:
        writers: final path -> a function that writes the file it is given.

    Raises:
        OutputError: one of them can't be written; none was published.
    """
    fresh = {path: path.with_name(f".{path.name}.partial") for path in writers}
    with writing(", ".join(map(str, writers))):
        try:
            for path, write in writers.items():
                write(fresh[path])
                sync(fresh[path])
            for path, partial in fresh.items():
                partial.replace(path)
        finally:
            for partial in fresh.values():
                partial.unlink(missing_ok=True)


def text_writer(text: str) -> Callable[[Path], object]:
    """A writer of UTF-8 text for `publish_files`."""
    return lambda path: path.write_text(text, encoding="utf-8", newline="")


def bytes_writer(data: bytes) -> Callable[[Path], object]:
    """A writer of bytes for `publish_files`."""
    return lambda path: path.write_bytes(data)


def sync(path: Path) -> None:
    """Force a file, or the names in a folder, to the disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows opens no folders; it writes their names by itself
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
