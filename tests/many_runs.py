"""Many runs made from one: rows drawn at random, and what the tests want to drift."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bloodcell_batch.records import Status
from bloodcell_batch.results.finished import Results, load_results
from bloodcell_batch.results.rewrite import write_results

Values = NDArray[np.float64]
Change = Callable[[Values], Values]
FIRST_DAY = datetime(2026, 1, 1, 2, 15, tzinfo=UTC)


def write_night(
    source: Results | Path,
    out: Path,
    night: int,
    *,
    rows: int = 200,
    changes: Mapping[str, Change] | None = None,
    control: str = "",
    record: Mapping[str, pa.Scalar] | None = None,
) -> Path:
    """Results of some night, numbered from 1: rows of `source` in four slides, with the columns in `changes` changed,
    and the entries of `record` in the run record. `control` names one of the slides."""
    results = source if isinstance(source, Results) else load_results(source)
    rng = np.random.default_rng(night)
    table = results.images.take(pa.array(rng.integers(0, results.images.num_rows, rows)))
    slides = [("abc"[i % 4] if i % 4 < 3 else control or "d") for i in range(rows)]
    new: dict[str, list[object]] = {"slide_id": [*slides], "path": [f"{s}/{i:05}.jpg" for i, s in enumerate(slides)]}
    for name in ("brightness", "contrast", "sharpness", "confidence", "outlier_score"):
        values = table.column(name).to_numpy().astype(np.float64)
        noise = values * rng.normal(1, 0.02, rows) * rng.normal(1, 0.005)
        if name == "confidence":
            noise = np.minimum(noise, 1.0)
        changed = changes[name](noise) if changes and name in changes else noise
        new[name] = [None if np.isnan(value) else round(float(value), 4) for value in changed]
    for name, column in new.items():
        place = table.schema.get_field_index(name)
        table = table.set_column(place, table.schema.field(name), pa.array(column, table.schema.field(name).type))
    statuses = table.column("status").to_pylist()
    started = FIRST_DAY + timedelta(days=night - 1)
    entries = {
        "started": started.isoformat(),
        "finished": (started + timedelta(minutes=5)).isoformat(),
        "counts": {"found": rows, **{one.value: statuses.count(one.value) for one in Status}, "ignored": 0},
        "throughput": {"images_per_second": round(float(rng.normal(900, 20)), 1)},
        **(record or {}),
    }
    write_results(out, table, [], results.record.updated(**entries))
    return out
