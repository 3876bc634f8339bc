"""Files appear whole or not at all: written beside their final names, then renamed."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from bloodcell_batch.errors import OutputError


def check_new(*paths: Path, overwrite: bool) -> None:
    """Fail before the work begins.

    Raises:
        OutputError: a folder is missing, or a file exists and `overwrite` is off.
    """
    for path in paths:
        if path.is_dir():
            raise OutputError(f"{path} is a folder.", hint="Give the name of a file.")
        if path.exists() and not overwrite:
            raise OutputError(f"{path} exists already.", hint="Choose another name, or add --overwrite to replace it.")
        if not path.parent.is_dir():
            raise OutputError(f"There is no folder {path.parent}.", hint="Create it first, or correct --out.")


def publish(writers: Mapping[Path, Callable[[Path], object]]) -> None:
    """Write all files under temporary names, then rename them in order.

    Args:
        writers: final path -> a function that writes the file it is given.

    Raises:
        OutputError: one of them can't be written; none was published.
    """
    fresh = {path: path.with_name(f".{path.name}.partial") for path in writers}
    try:
        for path, write in writers.items():
            write(fresh[path])
            with fresh[path].open("rb") as handle:
                os.fsync(handle.fileno())
        for path, partial in fresh.items():
            partial.replace(path)
    except OSError as error:
        named = ", ".join(map(str, writers))
        hint = "Free some space or choose another --out, then run it again."
        raise OutputError(f"Can't write {named}: {error.strerror or error}.", hint=hint) from error
    finally:
        for partial in fresh.values():
            partial.unlink(missing_ok=True)


def text_writer(text: str) -> Callable[[Path], object]:
    """A writer of UTF-8 text for `publish`."""
    return lambda path: path.write_text(text, encoding="utf-8", newline="")
