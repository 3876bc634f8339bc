"""Rows of the image table back to the outcomes that they were made from: the inverse of `tables.to_batch`."""

import math
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from bloodcell_batch.labels import CLASS_NAMES
from bloodcell_batch.records import (
    BLANK_CONTRAST,
    ImageFacts,
    ImageFile,
    Outcome,
    Prediction,
    Quality,
    Reason,
    Rejection,
    Status,
)

EXTRA_FIELDS: tuple[pa.Field, ...] = (
    pa.field("pixel_digest", pa.binary(), metadata={"meaning": "128-bit digest of the decoded pixels"}),
    pa.field("mtime_ns", pa.int64(), metadata={"meaning": "when the file was changed last, ns since 1970"}),
    pa.field("detail", pa.string(), metadata={"meaning": "why the file failed, in words"}),
)
"""Columns that a table may have besides; the published one has none of them, so what they say is lost there."""

_PREDICTED = frozenset({Status.CLASSIFIED, Status.UNCLASSIFIED})
_PROBABILITIES = tuple(f"p_{name}" for name in CLASS_NAMES)


def outcomes_of(rows: pa.RecordBatch | pa.Table) -> Iterator[Outcome]:
    """The outcomes of a table with the columns of `IMAGE_SCHEMA`, and of `EXTRA_FIELDS` where it has them, in order.

    Lossless for what the table shows: `to_batch` makes equal rows of them. Numbers are as rounded there, and paths as
    `printable` shows them: one whose bytes are not UTF-8 names no file any more.

    Raises:
        ValueError: a row that `to_batch` can't have made; the text names its path.
    """
    for values in rows.to_pylist():
        try:
            yield _outcome(values)
        except (ValueError, TypeError, AttributeError) as error:
            raise ValueError(f"the row of {values['path']!r} is not whole ({error})") from error


def _outcome(values: dict[str, Any]) -> Outcome:
    status = Status(values["status"])
    reason = Reason(values["reason"]) if values["reason"] else None
    file = ImageFile(
        path=values["path"],
        slide_id=values["slide_id"],
        size_bytes=values["size_bytes"],
        mtime_ns=values.get("mtime_ns") or 0,
        is_regular=reason is not Reason.NOT_A_REGULAR_FILE,
    )
    if status in _PREDICTED:
        return _prediction(values, file, status, reason)
    return Rejection(
        file=file,
        status=status,
        reason=reason,
        detail=values.get("detail") or "",
        facts=None if values["sha256"] is None else _facts(values, reason),
        duplicate_of=values["duplicate_of"] or "",
        duplicate_distance=values["duplicate_distance"],
    )


def _prediction(values: dict[str, Any], file: ImageFile, status: Status, reason: Reason | None) -> Prediction:
    return Prediction(
        file=file,
        facts=_facts(values, reason),
        status=status,
        reason=reason,
        label=values["label"] or "",
        confidence=float(values["confidence"]),
        probabilities=tuple(float(values[name]) for name in _PROBABILITIES),
        outlier_score=float(values["outlier_score"]),
        review_reasons=tuple(values["review_reason"].split("; ")) if values["review_reason"] else (),
    )


def _facts(values: dict[str, Any], reason: Reason | None) -> ImageFacts:
    contrast = float(values["contrast"])
    if reason is Reason.NO_CONTRAST and contrast == BLANK_CONTRAST:
        # 1.996 is 2.0 in the table, but the picture is blank all the same, and its hash must not be compared.
        contrast = math.nextafter(BLANK_CONTRAST, 0)
    return ImageFacts(
        sha256=values["sha256"],
        phash=bytes.fromhex(values["phash"]),
        width=int(values["width"]),
        height=int(values["height"]),
        quality=Quality(float(values["brightness"]), contrast, float(values["sharpness"])),
        pixel_digest=values.get("pixel_digest") or b"",
    )
