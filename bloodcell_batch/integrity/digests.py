"""SHA-256 digests of files, of the images of a run, and of JSON values: what a change is noticed by later."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path


def file_sha256(path: Path | str) -> str:
    """SHA-256 (hex) of a file's bytes, read in pieces."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def listing_digest(files: Iterable[tuple[str, int]]) -> str:
    """SHA-256 (hex) that identifies the images of a run: of one line `["path",bytes]` (JSON, ASCII, ended by LF) per
    image file, sorted by path; paths as in the image table."""
    digest = hashlib.sha256()
    for path, size in sorted(files):
        digest.update(canonical_json([path, size]) + b"\n")
    return digest.hexdigest()


def canonical_json(value: object) -> bytes:
    """The one form of a JSON value that digests are made of: sorted keys, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")
