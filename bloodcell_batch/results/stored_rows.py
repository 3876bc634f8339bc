"""Rows of the image table back to outcomes: the inverse of `tables.to_batch`, for journals and earlier results."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from bloodcell_batch.cell_classes import ClassList
from bloodcell_batch.differential.slide import faults_in
from bloodcell_batch.images.perceptual_hash import HASH_BYTES
from bloodcell_batch.records import (
    PIXEL_DIGEST_BYTES,
    CellBox,
    ImageFacts,
    ImageFile,
    KnownImage,
    Outcome,
    Prediction,
    Quality,
    Reason,
    Rejection,
    Status,
)
from bloodcell_batch.results.tables import REVIEW_CROSS_SLIDE

DETAIL = "detail"
"""Optional column: the text that goes with the reason of a failed file."""


def outcomes_of(batch: pa.RecordBatch, classes: ClassList) -> Iterator[Outcome]:
    """The outcomes that `batch` was made of, as far as the table tells.

    Numbers are rounded and paths are printable as the table shows them, modification times are 0, and the mark of a
    cross-slide duplicate, which is set when all slides are known, is taken off again.

    Args:
        batch: rows with the columns of the image table, and `DETAIL` where there is one.
        classes: those that the run reported.

    Raises:
        ValueError: a status, reason or hash that no run writes.
    """
    columns = {name: batch.column(name).to_pylist() for name in batch.schema.names}
    names = list(columns)
    shares = list(zip(*(columns[f"p_{name}"] for name in classes.names), strict=True))
    for values, probabilities in zip(zip(*columns.values(), strict=True), shares, strict=True):
        yield _outcome(dict(zip(names, values, strict=True)), probabilities)


def as_known(outcomes: Sequence[Outcome], file: ImageFile) -> KnownImage | Rejection:
    """The earlier outcomes of a file for the stages before the network, with the file as it is found now.

    A failure stays one. What was a duplicate is compared again.
    """
    first = outcomes[0]
    if isinstance(first, Rejection) and (first.status is Status.FAILED or first.facts is None):
        return replace(first, file=file)
    facts = first.facts
    if facts is None:
        raise ValueError(f"{file.path!r} has no hash")
    if isinstance(first, Rejection) and first.cell is None:
        return KnownImage(file, facts, ())
    return KnownImage(file, facts, tuple(replace(outcome, file=file) for outcome in outcomes))


def _outcome(row: dict[str, Any], shares: tuple[float | None, ...]) -> Outcome:
    file = ImageFile(row["path"], row["slide_id"], row["size_bytes"], 0)
    status = Status(row["status"])
    reason = Reason(row["reason"]) if row["reason"] else None
    facts, cell = _facts(row), _cell(row)
    if status in {Status.CLASSIFIED, Status.UNCLASSIFIED} and (cell is None or cell.number):
        probabilities = tuple(share for share in shares if share is not None)
        if facts is None or len(probabilities) != len(shares):
            raise ValueError(f"{row['path']!r} is {status} but has no hash or no probabilities")
        why = tuple(text for text in (row["review_reason"] or "").split("; ") if text not in {"", REVIEW_CROSS_SLIDE})
        return Prediction(
            file=file,
            facts=facts,
            status=status,
            reason=reason,
            label=row["label"] or "",
            confidence=row["confidence"],
            probabilities=probabilities,
            outlier_score=row["outlier_score"],
            review_reasons=why if reason is None or reason.asks_for_review else (),
            group=row["group"] or "",
            group_confidence=row["group_confidence"],
            cell=cell,
            duplicate_of=row["duplicate_of"] or "",
            duplicate_of_cell=row["duplicate_of_cell"],
            duplicate_distance=row["duplicate_distance"],
        )
    return Rejection(
        file=file,
        status=status,
        reason=reason,
        detail=row.get(DETAIL) or "",
        facts=facts,
        duplicate_of=row["duplicate_of"] or "",
        duplicate_distance=row["duplicate_distance"],
        cell=cell,
    )


def _cell(row: dict[str, Any]) -> CellBox | None:
    if row["cell"] is None:
        return None
    doubt = Reason(row["reason"]) if row["reason"] else None
    return CellBox(
        number=row["cell"],
        x=row["x"],
        y=row["y"],
        width=row["width"],
        height=row["height"],
        score=row["finder_score"],
        phash=_digest(row, "cell_phash", HASH_BYTES) if row["cell_phash"] else b"",
        doubt=doubt if doubt is not None and doubt.is_of_the_finder else None,
    )


def _facts(row: dict[str, Any]) -> ImageFacts | None:
    if row["sha256"] is None:
        return None
    return ImageFacts(
        sha256=row["sha256"],
        phash=_digest(row, "phash", HASH_BYTES),
        width=row["width"] if row["field_width"] is None else row["field_width"],
        height=row["height"] if row["field_height"] is None else row["field_height"],
        quality=Quality(row["brightness"], row["contrast"], row["sharpness"]),
        pixel_digest=_digest(row, "pixel_hash", PIXEL_DIGEST_BYTES),
        red_cell_pixels=row["red_cell_pixels"],
        red_cells=row["red_cells"],
        platelets=row["platelets"],
        faults=faults_in(row["review_reason"]) if row["cell"] is not None else (),
    )


def _digest(row: dict[str, Any], column: str, length: int) -> bytes:
    digest = bytes.fromhex(row[column] or "")
    if len(digest) != length:
        raise ValueError(f"{row['path']!r} has the {column} {row[column]!r}, which is not of {length} bytes")
    return digest
