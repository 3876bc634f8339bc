"""Publishing exported files: complete under their final names, or not at all."""

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from bloodcell_batch.errors import OutputError


def check_target(out: Path, suffix: str, *, overwrite: bool) -> None:
    """Fail before the work, not after it.

    Raises:
        OutputError: wrong suffix, no such folder, no write access, or the file exists and `overwrite` is off.
    """
    if out.suffix != suffix:
        raise OutputError(f"--out {out} must end in {suffix}.", hint="Choose such a name.")
    if not out.parent.is_dir() or not os.access(out.parent, os.W_OK | os.X_OK):
        raise OutputError(f"The folder {out.parent} does not exist or can't be written.", hint="Correct --out.")
    if out.exists() and not overwrite:
        raise OutputError(f"{out} exists already.", hint="Choose another name, or add --overwrite to replace it.")


def publish(files: Mapping[Path, bytes]) -> None:
    """Write all files beside their places, then rename them into place in the order given.

    Raises:
        OutputError: a file can't be written; none of an earlier export was changed.
    """
    partial = {path: path.with_name(f".{path.name}.partial") for path in files}
    try:
        for path, data in files.items():
            partial[path].write_bytes(data)
        for path in files:
            partial[path].replace(path)
    except OSError as error:
        hint = "Free some space or choose another place, then run it again."
        raise OutputError(f"Can't write the export: {error.strerror or error}.", hint=hint) from error
    finally:
        for path in partial.values():
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def as_json(document: Mapping[str, object]) -> bytes:
    """Indented, with a final newline."""
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()
