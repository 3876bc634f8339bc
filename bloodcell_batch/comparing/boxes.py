"""Cells of fields of view that two results found at places that differ a little, paired by what their boxes share."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_SAME = 0.5  # intersection over union from which two boxes are of one cell, as detectors are judged
_BOX = ("x", "y", "width", "height")

Rows = NDArray[np.int64]


def same_places(left: pa.Table, right: pa.Table, left_fields: pa.Array, right_fields: pa.Array) -> tuple[Rows, Rows]:
    """Which rows of two tables are of one cell, int64 (pairs,) each; every row at most once, of several the pair that
    shares most.

    Args:
        left: boxes, with `cell` empty or 0 in rows that are no cell of a field.
        right: the others.
        left_fields: what field each row is of, of any type.
        right_fields: the same of the others.
    """
    both = pc.unique(pc.filter(left_fields, pc.is_in(left_fields, value_set=right_fields)))
    found = [
        (here[one], there[other])
        for here, there in zip(_by_field(left, left_fields, both), _by_field(right, right_fields, both), strict=True)
        for one, other in _pairs(_boxes(left, here), _boxes(right, there))
    ]
    pairs = np.array(found, dtype=np.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _by_field(rows: pa.Table, fields: pa.Array, wanted: pa.Array) -> list[Rows]:
    """The rows with a box of each wanted field."""
    code = np.asarray(pc.fill_null(pc.index_in(fields, value_set=wanted), -1))
    code = np.where(np.asarray(pc.fill_null(rows["cell"], 0)) > 0, code, -1)
    order = np.argsort(code, kind="stable")
    return np.split(order, np.searchsorted(code[order], np.arange(len(wanted) + 1)))[1:-1]


def _boxes(rows: pa.Table, index: Rows) -> NDArray[np.float64]:
    """Left, upper, right and lower ends (n, 4), in pixels."""
    taken = rows.select(_BOX).take(index)
    x, y, width, height = (np.asarray(taken[name], dtype=np.float64) for name in _BOX)
    return np.stack([x, y, x + width, y + height], axis=1)


def _pairs(one: NDArray[np.float64], other: NDArray[np.float64]) -> Iterator[tuple[int, int]]:
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (one, other)]
    share = common / np.maximum(areas[0][:, None] + areas[1][None, :] - common, 1)
    while share.size and share.max() >= _SAME:
        here, there = np.unravel_index(int(share.argmax()), share.shape)
        yield int(here), int(there)
        share[here, :], share[:, there] = 0, 0
