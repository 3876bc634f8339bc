"""Cells that two results say something else of."""

from dataclasses import dataclass
from enum import StrEnum

import pyarrow as pa
import pyarrow.compute as pc

from bloodcell_batch.comparing.pairs import Pairs


class Change(StrEnum):
    """What changed, the first that applies: the confidence is compared where status and label are the same."""

    STATUS = "status"
    LABEL = "label"
    CONFIDENCE = "confidence"


_SAID = ("status", "label", "confidence")
_PLACE = ("slide_id", "path", "cell")
_DIGITS = 6  # as the tables have them; without rounding, 0.9 - 0.8 would not be 0.1


@dataclass(frozen=True)
class Changes:
    """Of the pairs: `kind` is a `Change` or null for each; `table` has the changed cells with what both results say of
    them (`status_a`, `status_b`, ...), `counts` how many of each kind."""

    kind: pa.ChunkedArray
    table: pa.Table
    counts: dict[Change, int]


def changes_of(pairs: Pairs, limit: float) -> Changes:
    """The cells that changed; confidence by more than `limit` (0-1)."""
    one, other = pairs.one, pairs.other
    moved = pc.abs(pc.subtract(one["confidence"], other["confidence"]))
    is_moved = pc.fill_null(pc.greater(pc.round(moved, _DIGITS), limit), False)
    kind = pc.if_else(is_moved, Change.CONFIDENCE.value, pa.scalar(None, pa.string()))
    for what in (Change.LABEL, Change.STATUS):
        kind = pc.if_else(pc.not_equal(one[what.value], other[what.value]), what.value, kind)
    is_changed = pc.is_valid(kind)
    left, right = one.filter(is_changed), other.filter(is_changed)
    columns = {name: left[name] for name in _PLACE} | {"change": kind.filter(is_changed)}
    for name in _SAID:
        columns |= {f"{name}_a": left[name], f"{name}_b": right[name]}
    counts = {entry["values"]: entry["counts"] for entry in pc.value_counts(columns["change"]).to_pylist()}
    return Changes(kind, _documented(columns), {change: counts.get(change.value, 0) for change in Change})


def transitions(changes: Changes) -> list[tuple[str, str, int]]:
    """How many cells went from one label to another, most first; "" stands for no label."""
    moved = changes.table.filter(pc.not_equal(changes.table["label_a"], changes.table["label_b"]))
    grouped = moved.group_by(["label_a", "label_b"]).aggregate([([], "count_all")]).to_pylist()
    found = [(row["label_a"], row["label_b"], row["count_all"]) for row in grouped]
    return sorted(found, key=lambda entry: (-entry[2], entry[0], entry[1]))


def shown_first(changes: Changes, most: int) -> pa.Table:
    """Up to `most` changed cells: status, then label, then confidence; within each the most confident ones."""
    table = changes.table
    if not len(table):
        return table
    place = pc.index_in(table["change"], value_set=pa.array([change.value for change in Change]))
    sure = pc.max_element_wise(table["confidence_a"], table["confidence_b"])
    ordered = pa.table({"place": place, "sure": pc.fill_null(sure, -1.0), "path": table["path"]})
    keys = [("place", "ascending"), ("sure", "descending"), ("path", "ascending")]
    return table.take(pc.sort_indices(ordered, keys)[:most])


_MEANINGS = {
    "slide_id": "slide",
    "path": "file, relative to the scanned folder",
    "cell": "number of the cell in its field; empty for an image of a single cell",
    "change": "what changed: status, label or confidence, the first that applies",
    "status_a": "status in A, after a review",
    "status_b": "status in B, after a review",
    "label_a": "class that is counted in A; empty for none",
    "label_b": "class that is counted in B; empty for none",
    "confidence_a": "calibrated top probability in A",
    "confidence_b": "calibrated top probability in B",
}


def _documented(columns: dict[str, pa.ChunkedArray]) -> pa.Table:
    fields = [pa.field(name, columns[name].type, metadata={"meaning": told}) for name, told in _MEANINGS.items()]
    return pa.table([columns[name] for name in _MEANINGS], schema=pa.schema(fields))
