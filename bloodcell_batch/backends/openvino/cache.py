"""What takes long to make, kept in the user's cache. Everything is read back with its digest.

OpenVINO's own cache (CACHE_DIR) is not used: it runs a file whose weights were damaged on the disk, without a word.
"""

import hashlib
import logging
from pathlib import Path

import platformdirs

from bloodcell_batch.files.publishing import written_whole

_log = logging.getLogger(__name__)
_DIGEST_BYTES = 32


def cache_folder() -> Path:
    """Where the networks of this user are."""
    return platformdirs.user_cache_path("bloodcell-batch") / "openvino"


def recall(name: str) -> bytes | None:
    """What was stored under `name`; None if there is nothing, or if it is damaged."""
    path = cache_folder() / name
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        _log.info("the cache can't be read: %s", error)
        return None
    digest, content = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
    if hashlib.sha256(content).digest() == digest:
        return content
    _log.warning("the cached file %s is damaged and is made again", path)
    return None


def store(name: str, content: bytes) -> None:
    """Keep `content`, complete or not at all. Two processes may do so at once: whichever file survives has a digest."""
    path = cache_folder() / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as partial:
            partial.write_bytes(hashlib.sha256(content).digest() + content)
    except OSError as error:
        _log.info("the network could not be cached: %s", error)
