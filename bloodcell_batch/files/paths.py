"""Relative paths in files that come from elsewhere."""

import os
from pathlib import PurePath


def leaves_folder(path: str) -> bool:
    """Whether a path, taken relative to a folder, names something outside of it. Links inside are not followed."""
    normal = PurePath(os.path.normpath(path))
    return normal.is_absolute() or normal.parts[:1] == (os.pardir,)
