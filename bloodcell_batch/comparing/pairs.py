"""The rows of two results side by side, as Arrow tables: a million of them are paired in seconds."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bloodcell_batch.comparing.boxes import same_places
from bloodcell_batch.errors import InputError
from bloodcell_batch.records import Status
from bloodcell_batch.results.finished import check_schema
from bloodcell_batch.results.formats import check_is_table, read_table
from bloodcell_batch.results.run_record import RunRecord, read_record

_TEXT, _INT = pa.string(), pa.int64()
KEY = ("slide_id", "path", "cell", "x", "y")
"""What names a cell: two results mean the same one by it. The last three are empty in images of single cells; in fields
of view, cells without a partner by it are paired by place."""

_COLUMNS = pa.schema(
    [
        *((name, _TEXT) for name in ("slide_id", "path", "status", "reason", "label", "sha256")),
        *((name, _INT) for name in ("cell", "x", "y", "width", "height")),
        ("confidence", pa.float64()),
    ]
)
_OF_BOTH = ["status", "label", "confidence"]
_PLACE = ["slide_id", "path", "cell", "x", "y", "width", "height"]
_OF_ONE = ["slide_id", "path", "cell", *_OF_BOTH]
_VERIFIED = pa.field("verified_label", _TEXT)
_CELLS = pa.array([Status.CLASSIFIED.value, Status.UNCLASSIFIED.value])


@dataclass(frozen=True)
class Side:
    """One of the two results: `rows` has `status` and `label` as they are counted, a person's label before the
    program's, and "" for no label."""

    path: Path
    record: RunRecord
    rows: pa.Table


@dataclass(frozen=True)
class Pairs:
    """What is said of the same cells, line by line in `one`, which names them, and `other`, and how many have no
    partner.

    `other_image` are cells whose image files have other bytes, so that there is nothing to compare.
    """

    one: pa.Table
    other: pa.Table
    only_one: int
    only_other: int
    other_image: int


def read_side(path: Path) -> Side:
    """Read the image table of a result and the run record beside it.

    Raises:
        InputError: one of them is missing, unreadable, or of another version.
    """
    check_is_table(path)
    record = read_record(path)
    check_schema(path, record)
    rows = _counted(read_table(path, _COLUMNS, (_VERIFIED,)))
    pa.default_memory_pool().release_unused()  # what reading took, some 100 MB of a million rows
    return Side(path, record, rows)


def pair(one: Side, other: Side) -> Pairs:
    """Find the partner of every row; of cells in fields of view, whose boxes may differ a little, the one at its place.

    Raises:
        InputError: no cell is in both.
    """
    left, right = one.rows, other.rows
    here = there = None  # which rows have partners, and where these are; None for all, in the same order
    if not _same_keys(left, right):
        here, there = _partners(left, right)
    # A column at a time, and only those that are compared: whole tables would be there twice.
    found_left = left.select(_OF_ONE) if here is None else left.select(_OF_ONE).take(here)
    found_right = right.select(_OF_BOTH) if there is None else right.select(_OF_BOTH).take(there)
    if not len(found_left):
        hint = "Give two results of the same folder: cells are told by slide_id, path and, in fields, number and place."
        raise InputError(f"No cell of {one.path} is in {other.path}.", hint=hint)
    only_left, only_right = len(left) - len(found_left), len(right) - len(found_right)
    digests = left["sha256"] if here is None else left["sha256"].take(here)
    partners = right["sha256"] if there is None else right["sha256"].take(there)
    same = pc.fill_null(pc.equal(digests, partners), True)
    if not pc.all(same).as_py():
        found_left, found_right = found_left.filter(same), found_right.filter(same)
    if not len(found_left):
        hint = "The images were changed between the two runs: classify them again with both."
        raise InputError(f"All images of {one.path} have other bytes in {other.path}.", hint=hint)
    return Pairs(found_left, found_right, only_left, only_right, len(same) - len(found_left))


def _partners(left: pa.Table, right: pa.Table) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows that have a partner, in their order, and where it is; int64 (pairs,) each."""
    found = pc.index_in(_keys(left, KEY), value_set=_keys(right, KEY))
    here, there = np.flatnonzero(found.is_valid()), np.asarray(found.drop_null()).astype(np.int64)
    rest_left = np.setdiff1d(np.arange(len(left)), here, assume_unique=True)
    rest_right = np.setdiff1d(np.arange(len(right)), there, assume_unique=True)
    if len(rest_left) and len(rest_right):
        rests = left.select(_PLACE).take(rest_left), right.select(_PLACE).take(rest_right)
        more = same_places(*rests, *(_keys(rest, KEY[:2]) for rest in rests))
        here, there = np.append(here, rest_left[more[0]]), np.append(there, rest_right[more[1]])
        order = np.argsort(here, kind="stable")
        here, there = here[order], there[order]
    return here, there


def _same_keys(one: pa.Table, other: pa.Table) -> bool:
    return len(one) == len(other) and all(one[name].equals(other[name]) for name in KEY)


def _keys(rows: pa.Table, names: Sequence[str]) -> pa.Array:
    columns = (rows[name] for name in names)
    empty = pa.scalar("")
    texts = [empty if c.null_count == len(c) else pc.fill_null(c.cast(_TEXT), "") for c in columns]
    return pc.binary_join_element_wise(*texts, "\0").combine_chunks()


def _counted(rows: pa.Table) -> pa.Table:
    """The rows with status and label as they are counted."""
    label = rows["label"]
    if _VERIFIED.name in rows.column_names:
        label = pc.coalesce(rows[_VERIFIED.name], label)
    is_cell = pc.and_(pc.is_in(rows["status"], value_set=_CELLS), pc.not_equal(pc.fill_null(rows["cell"], 1), 0))
    label = pc.if_else(is_cell, pc.fill_null(label, ""), "")
    named = pc.if_else(pc.not_equal(label, ""), *_CELLS)
    names = [name for name in rows.column_names if name not in {"label", "status", _VERIFIED.name}]
    status = pc.if_else(is_cell, named, rows["status"])
    return rows.select(names).append_column("label", label).append_column("status", status)


def codes(column: pa.ChunkedArray, names: list[str]) -> NDArray[np.int32]:
    """The place of each value in `names`, int32 of shape (rows,); -1 for others."""
    places = pc.index_in(column, value_set=pa.array(names, _TEXT))
    return np.asarray(pc.fill_null(places, -1).to_numpy(), dtype=np.int32)
