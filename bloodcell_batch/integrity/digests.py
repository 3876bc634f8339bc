"""Seals: SHA-256 digests by which a change of published files is noticed later.

A run record is sealed when its tables are written: it gets the digests of their bytes, and one of itself. That shows
changes made by accident or by somebody who doesn't know the seal; who does can seal a changed record anew. Against
that, the audit log holds the digests in another place.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

RESULTS = "results_id"
TABLES = "tables_sha256"
RECORD = "record_sha256"


def file_sha256(path: Path | str) -> str:
    """SHA-256 (hex) of a file's bytes, read in pieces."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def sealed(record: str, results_id: str, tables: Mapping[str, Path]) -> str:
    """A run record with the digests of `tables` (`images`, `slides`) and of itself, in place of earlier ones.

    Args:
        record: the run record, JSON.
        results_id: of the image table.
        tables: what each table is called in the record, and the file that holds it.
    """
    digests = {name: file_sha256(path) for name, path in tables.items()}
    document = json.loads(record) | {RESULTS: results_id, TABLES: digests}
    document.pop(RECORD, None)
    document[RECORD] = record_digest(document)
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def broken_seal(record: Mapping[str, Any], images: Path) -> str:
    """What was changed after a run record and its image table were sealed, in words.

    Empty if nothing was, or where there is no digest to compare with: `verify` tells of that.
    """
    own, of_table = record.get(RECORD), (record.get(TABLES) or {}).get("images")
    if own is not None and own != record_digest(record):
        return f"The run record of {images} was changed after it was written"
    if of_table is not None and of_table != file_sha256(images):
        return f"{images} was changed after it was written: it has another SHA-256 than its run record says"
    return ""


def record_digest(document: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of a run record's content, its own digest left out: of JSON with sorted keys, without spaces."""
    rest = {name: value for name, value in document.items() if name != RECORD}
    return hashlib.sha256(canonical_json(rest)).hexdigest()


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
