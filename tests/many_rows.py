"""Two tables of many rows for `diff`, and what it should count in them, by pandas."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from default_tables import IMAGE_SCHEMA

from bloodcell_batch.cell_classes import DEFAULT_CLASSES

CELLS_A_SLIDE, LIMIT = 200, 0.1


def tables(rows: int, seed: int = 0) -> tuple[pa.Table, pa.Table]:
    """Two image tables with the columns of the packaged model; what `diff` does not read is the same in every row."""
    rng = np.random.default_rng(seed)
    names = np.array(DEFAULT_CLASSES.names)
    numbers = np.arange(rows)
    first = pd.DataFrame(
        {
            "slide_id": [f"slide {number // CELLS_A_SLIDE:06}" for number in numbers],
            "path": [f"slide {number // CELLS_A_SLIDE:06}/cell {number:08}.jpg" for number in numbers],
            "status": "classified",
            "label": names[rng.integers(0, len(names), rows)],
            "confidence": rng.uniform(0.5, 1, rows).round(6),
            "sha256": [f"{number:064x}" for number in numbers],
        }
    )
    second = first.copy()
    other = rng.random(rows) < 0.02
    second.loc[other, "label"] = names[rng.integers(0, len(names), other.sum())]
    left = rng.random(rows) < 0.01
    second.loc[left, ["status", "label"]] = ["unclassified", None]
    second["confidence"] = (second["confidence"] + rng.normal(0, 0.04, rows)).clip(0, 1).round(6)
    return _as_arrow(first), _as_arrow(second.sample(frac=1, random_state=seed))


def _as_arrow(frame: pd.DataFrame) -> pa.Table:
    rows = len(frame)
    columns = []
    for field in IMAGE_SCHEMA:
        if field.name in frame:
            columns.append(pa.array(frame[field.name], type=field.type, from_pandas=True))
        elif field.name in {"width", "height"}:
            columns.append(pa.array(np.full(rows, 96), type=field.type))
        elif pa.types.is_floating(field.type) and field.name.startswith("p_"):
            columns.append(pa.array(np.random.default_rng(1).random(rows).round(6), type=field.type))
        else:
            columns.append(pa.nulls(rows, field.type))
    return pa.Table.from_arrays(columns, schema=IMAGE_SCHEMA)


def counts_by_pandas(first: Path, second: Path) -> dict[str, int]:
    """Cells with another status, label, confidence: counted another way."""
    columns = ["slide_id", "path", "status", "label", "confidence"]
    both = pd.read_parquet(first, columns=columns).merge(
        pd.read_parquet(second, columns=columns), on=["slide_id", "path"], suffixes=("_a", "_b"), validate="1:1"
    )
    status = both.status_a != both.status_b
    label = ~status & (both.label_a.fillna("") != both.label_b.fillna(""))
    moved = ~status & ~label & ((both.confidence_a - both.confidence_b).abs().round(6) > LIMIT)
    return {"cells": len(both), "status": int(status.sum()), "label": int(label.sum()), "confidence": int(moved.sum())}
