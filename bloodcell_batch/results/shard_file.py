"""What merging shards needs to know and no published table says, in a file beside the shard's image table."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from bloodcell_batch.errors import InputError
from bloodcell_batch.files.names import name_bytes, name_text, printable
from bloodcell_batch.files.publishing import written_whole
from bloodcell_batch.files.writing import writing
from bloodcell_batch.records import ImageFile, Outcome, Rejection
from bloodcell_batch.slides.shards import Shard

_RUN = b"bloodcell_batch.started"
_SCHEMA = pa.schema(
    [
        pa.field("path", pa.binary(), nullable=False, metadata={"meaning": "bytes of the file's name"}),
        pa.field("slide_id", pa.binary(), nullable=False, metadata={"meaning": "bytes of the slide's name"}),
        pa.field("detail", pa.string(), metadata={"meaning": "why the file failed, in words"}),
    ]
)
_ROWS_AT_A_TIME = 8192


class ShardRows:
    """Remembers of every outcome what the image table doesn't say: about 100 bytes a row."""

    def __init__(self) -> None:
        self._files: list[ImageFile] = []
        self._details: list[str | None] = []

    def __call__(self, outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
        """Remember a stream and pass it on."""
        for outcome in outcomes:
            self._files.append(outcome.file)
            self._details.append(printable(outcome.detail) or None if isinstance(outcome, Rejection) else None)
            yield outcome

    def write(self, path: Path, started: str) -> None:
        """Write the file; `started` is the run record's, and ties the two together.

        Raises:
            OutputError: it can't be written.
        """
        columns = [
            [name_bytes(file.path) for file in self._files],
            [name_bytes(file.slide_id) for file in self._files],
            self._details,
        ]
        arrays = [pa.array(column, field.type) for column, field in zip(columns, _SCHEMA, strict=True)]
        table = pa.Table.from_arrays(arrays, schema=_SCHEMA.with_metadata({_RUN: started}))
        with writing(path), written_whole(path) as partial, partial.open("wb") as handle:
            pq.write_table(table, handle, compression="zstd")


def read_shard_file(path: Path, started: str) -> pa.Table:
    """The file that `ShardRows` wrote.

    Raises:
        InputError: missing, unreadable, or of another run than the one that started then.
    """
    hint = "Keep the files of a shard together, as `classify --shard` wrote them."
    try:
        with path.open("rb") as handle:
            table = pq.read_table(handle)
    except FileNotFoundError as error:
        raise InputError(f"There is no file {path}.", hint=hint) from error
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"Can't read {path}: {error}.", hint=hint) from error
    metadata = table.schema.metadata or {}
    if not table.schema.equals(_SCHEMA) or metadata.get(_RUN, b"").decode() != started:
        raise InputError(f"{path} is of another run than the tables beside it.", hint=hint)
    return table


def completed(outcomes: Iterable[Outcome], rows: pa.Table, shard: Shard) -> Iterator[Outcome]:
    """Outcomes that were read from a shard's table, with what the file beside it says of them.

    Raises:
        ValueError: the two are not about the same files, or one of these is not of that shard.
    """
    for outcome, (path, slide, detail) in zip(outcomes, _values(rows), strict=True):
        if (printable(path), printable(slide)) != (outcome.file.path, outcome.file.slide_id):
            raise ValueError(f"where the one has {outcome.file.path!r}, the other has {printable(path)!r}")
        if not shard.owns(slide):
            raise ValueError(f"the slide {outcome.file.slide_id!r} is not of shard {shard}")
        file = replace(outcome.file, path=path, slide_id=slide)
        if isinstance(outcome, Rejection):
            yield replace(outcome, file=file, detail=detail or "")
        else:
            yield replace(outcome, file=file)


def _values(rows: pa.Table) -> Iterator[tuple[str, str, str | None]]:
    for batch in rows.to_batches(max_chunksize=_ROWS_AT_A_TIME):
        for path, slide, detail in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            yield name_text(path), name_text(slide), detail
