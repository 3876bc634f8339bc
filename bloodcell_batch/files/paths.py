"""Paths that other programs may take for something else."""

import os
from pathlib import Path, PurePath


def leaves_folder(path: str) -> bool:
    """Whether a path, taken relative to a folder, names something outside of it. Links inside are not followed."""
    normal = PurePath(os.path.normpath(path))
    return normal.is_absolute() or normal.parts[:1] == (os.pardir,)


def for_arrow(path: Path) -> Path:
    """The same file by its absolute path: Arrow takes a relative name with a colon (`run-10:30.parquet`) for a URI."""
    return path.absolute()
