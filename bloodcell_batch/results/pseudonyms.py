"""Pseudonyms for what leaves the laboratory: keyed hashes, the same for the same key, useless without it.

This helps to de-identify results. It doesn't make them anonymous: whoever holds the key or the images can match them.
"""

import base64
import hashlib
import hmac
from pathlib import Path

from bloodcell_batch.errors import InputError, UsageError

_LEAST_KEY_BYTES = 16


class Pseudonyms:
    """HMAC-SHA-256 of slide names, paths, hashes and reviewers under one key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def slide(self, slide_id: str) -> str:
        """`S-` and 12 letters or digits."""
        return f"S-{self._code('slide', slide_id, 12)}"

    def path(self, slide_id: str, path: str) -> str:
        """The slide's pseudonym, a slash, `C-` and 16 letters or digits; nothing of the file name is left."""
        return f"{self.slide(slide_id)}/C-{self._code('path', path, 16)}"

    def person(self, name: str) -> str:
        """`R-` and 8 letters or digits, for who verified a cell."""
        return f"R-{self._code('person', name, 8)}"

    def digest(self, sha256: str) -> str:
        """A keyed hash in place of the image's hash, by which anybody who has the image could find it."""
        return self._mac("sha256", sha256).hex()

    def _code(self, kind: str, text: str, length: int) -> str:
        return base64.b32encode(self._mac(kind, text)).decode()[:length]

    def _mac(self, kind: str, text: str) -> bytes:
        return hmac.new(self._key, f"{kind}\0{text}".encode("utf-8", "surrogateescape"), hashlib.sha256).digest()


def load_pseudonyms(key_file: Path | None, *outputs: Path) -> Pseudonyms | None:
    """Pseudonyms under the key in `key_file`; None without one.

    Raises:
        InputError: the key can't be read or is too short.
        UsageError: the key lies in the folder that an output is written to.
    """
    if key_file is None:
        return None
    make = "Make one with: head -c 32 /dev/urandom > KEYFILE. Keep it: without it nobody can match the pseudonyms."
    try:
        key = key_file.read_bytes().strip()
    except OSError as error:
        raise InputError(f"Can't read the key {key_file}: {error.strerror}.", hint=make) from error
    if len(key) < _LEAST_KEY_BYTES:
        raise InputError(f"The key {key_file} has {len(key)} bytes, fewer than {_LEAST_KEY_BYTES}.", hint=make)
    if any(key_file.resolve().parent == output.resolve().parent for output in outputs):
        hint = "Keep the key elsewhere, so that it is not shared together with the output."
        raise UsageError(f"The key {key_file} lies in the folder of the output.", hint=hint)
    return Pseudonyms(key)
