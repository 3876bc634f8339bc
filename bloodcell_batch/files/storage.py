"""Where images are read from: a local folder, or one at a URL. Local runs never import fsspec."""

import errno
import os
import re
import time
from collections.abc import Callable
from typing import TypeVar

from bloodcell_batch.files.remote import RemoteFolder

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(::|://)")
_PAUSES = (0.1, 0.5)  # seconds before the second and the third try
_TRANSIENT = {errno.EIO, errno.ESTALE, errno.ETIMEDOUT}

Fetch = Callable[[str, int], bytes]
"""Gives the first bytes, at most so many, of the file with that path under a root; raises OSError."""

_T = TypeVar("_T")


def is_url(text: str) -> bool:
    """True for what fsspec opens, such as s3://bucket/slides; false for paths."""
    return _URL.match(text) is not None


def open_fetch(root: str) -> Fetch:
    """The function that reads the files under `root`, a local folder or a URL."""
    if is_url(root):
        return RemoteFolder(root).read

    def read(path: str, at_most: int) -> bytes:
        return persistently(lambda: _read(os.path.join(root, path), at_most))

    return read


def persistently(act: Callable[[], _T]) -> _T:
    """What `act` returns, where need be at the third try: network drives fail for a moment when a server restarts.

    Raises:
        OSError: of any other kind at once; an input/output error, a stale handle or a time-out after the third try.
    """
    for pause in _PAUSES:
        try:
            return act()
        except OSError as error:
            if error.errno not in _TRANSIENT:
                raise
            time.sleep(pause)
    return act()


def _read(path: str, at_most: int) -> bytes:
    with open(path, "rb") as handle:
        return handle.read(at_most)  # Python sets aside as much as it is asked for
