"""Embeddings: what the network saw of each cell, as one row of a Parquet file."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from bloodcell_batch.files.names import printable
from bloodcell_batch.integrity.digests import file_sha256
from bloodcell_batch.integrity.results_id import ResultsId
from bloodcell_batch.model.file import OUTLIER_PREFIX, ModelFile
from bloodcell_batch.results.formats import write_parquet
from bloodcell_batch.results.journal import Journal
from bloodcell_batch.results.record_entries import EmbeddingsEntry


def embedding_width(model: ModelFile) -> int:
    """How many features the network of a model file has, which are what its outlier score is computed from."""
    return int(model.load_tensors(OUTLIER_PREFIX)["mean"].shape[0])


def embedding_schema(width: int, model_sha256: str, results_id: str) -> pa.Schema:
    """One row of each cell that the network saw, in the order of the image table, whose values identify it."""
    fields = [
        pa.field("path", pa.string(), metadata={"meaning": "file, relative to the scanned folder"}),
        pa.field("cell", pa.int64(), metadata={"meaning": "number of the cell in its field; empty for a single cell"}),
        pa.field("slide_id", pa.string(), metadata={"meaning": "slide"}),
        pa.field(
            "embedding", pa.list_(pa.float16(), width), metadata={"meaning": "features of the network, as it gave them"}
        ),
    ]
    said = {"model_sha256": model_sha256, "results_id": results_id}
    return pa.schema(fields, metadata={f"bloodcell_batch.{name}": value for name, value in said.items()})


def write_embeddings(path: Path, final: Path, journal: Journal, identity: ResultsId) -> EmbeddingsEntry:
    """Write the embeddings that a journal has, a row group at a time.

    Args:
        path: where they are written.
        final: the name that the file will have.
        journal: of the run.
        identity: of all rows of the run.

    Returns:
        What the run record says of them.

    Raises:
        OSError: they can't be written.
    """
    schema = embedding_schema(journal.embedding_width, identity.model_sha256, str(identity))
    cells = 0

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal cells
        for batch in journal.embeddings():
            cells += len(batch)
            yield pa.RecordBatch.from_arrays([*batch.columns[:-1], _as_lists(batch.column(3), schema)], schema=schema)

    write_parquet(path, schema, batches())
    name, digest = printable(final.name), file_sha256(path)
    return EmbeddingsEntry(file=name, sha256=digest, cells=cells, width=journal.embedding_width)


def _as_lists(stored: pa.FixedSizeBinaryArray, schema: pa.Schema) -> pa.FixedSizeListArray:
    """The same bytes, taken for float16."""
    width = schema.field("embedding").type.list_size
    numbers = pa.Array.from_buffers(
        pa.float16(), width * len(stored), [None, stored.buffers()[1]], offset=width * stored.offset
    )
    return pa.FixedSizeListArray.from_arrays(numbers, type=schema.field("embedding").type)
