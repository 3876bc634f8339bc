"""The identity of results: what they say, whatever the format or the name of their file."""

import hashlib
import json
from collections.abc import Iterable, Iterator

import pyarrow as pa

_LENGTH = 16
_COLUMNS = ("path", "slide_id", "status", "label", "confidence", "sha256")


class ResultsId:
    """Digest of the rows of an image table, in their order, and of the model that made them.

    It stays the same when a spreadsheet saves the table again, and when a person's review is added to it.
    """

    def __init__(self, model_sha256: str) -> None:
        self.model_sha256 = model_sha256
        self._digest = hashlib.sha256(model_sha256.encode())

    def add(self, rows: pa.RecordBatch | pa.Table) -> None:
        """Take in the next rows."""
        for values in zip(*(rows.column(name).to_pylist() for name in _COLUMNS), strict=True):
            self._digest.update(json.dumps(values, ensure_ascii=True).encode())

    def passing(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Take in the rows of batches that are passed on."""
        for batch in batches:
            self.add(batch)
            yield batch

    def __str__(self) -> str:
        return self._digest.hexdigest()[:_LENGTH]


def results_id(images: pa.Table, model_sha256: str) -> str:
    """The identity of a whole image table: 16 hexadecimal digits."""
    identity = ResultsId(model_sha256)
    identity.add(images)
    return str(identity)
