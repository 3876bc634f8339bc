"""`pseudonymize`: the tables and the run record of a run in a form that may leave the laboratory."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import JsonValue

from bloodcell_batch.config.results import PseudonymizeConfig
from bloodcell_batch.results.file_names import output_paths
from bloodcell_batch.results.finished import Results, load_results
from bloodcell_batch.results.irreplaceable import check_results
from bloodcell_batch.results.pseudonyms import load_pseudonyms
from bloodcell_batch.results.rewrite import write_results
from bloodcell_batch.results.run_record import RunRecord

# What is not listed stays here: command, input folder, options with paths, names of failed and ignored files.
_KEPT = (
    *("bloodcell_batch", "schema_version", "notice", "started", "finished", "thresholds", "denominator", "model"),
    *("backend", "counts", "versions"),
)
_KEPT_OF_A_REVIEW = {
    "imported",
    "program",
    "version",
    "scope",
    "blind",
    "cells",
    "cells_left_open",
    "verified_by",
    "agreement",
}


def write_shared(table: Path, out: Path, config: PseudonymizeConfig) -> int:
    """Write the results in `table` with pseudonyms to `out` and return the number of rows.

    Hashes of pictures are left out, as they could be matched with the images. Rows are sorted by pseudonym.

    Raises:
        BloodcellBatchError: nothing was written; the text says what to do.
    """
    check_results(output_paths(str(out)), overwrite=config.overwrite, about=table)
    names = load_pseudonyms(config.key, out)
    results = load_results(table)
    hidden = results.pseudonymised(names)
    path_of = {row.file: shown.path for row, shown in zip(results.rows, hidden.rows, strict=True)}
    write_results(out, _images(hidden), hidden.slides, _record(hidden, path_of))
    return len(hidden.rows)


def _images(hidden: Results) -> pa.Table:
    table = hidden.images
    columns: dict[str, list[str | None]] = {
        "path": [row.path for row in hidden.rows],
        "slide_id": [row.slide_id for row in hidden.rows],
        "duplicate_of": [row.duplicate_of or None for row in hidden.rows],
        "sha256": [row.digest or None for row in hidden.rows],
        "phash": [None] * len(hidden.rows),
        "cell_phash": [None] * len(hidden.rows),
        "pixel_hash": [None] * len(hidden.rows),
    }
    if "verified_by" in table.schema.names:
        columns["verified_by"] = [row.verified_by or None for row in hidden.rows]
    if "remark" in table.schema.names:
        columns["remark"] = [row.remark or None for row in hidden.rows]
    for name, values in columns.items():
        position = table.schema.get_field_index(name)
        table = table.set_column(position, table.schema.field(name), pa.array(values, pa.string()))
    return table.take(pc.sort_indices(table, [(name, "ascending") for name in ("slide_id", "path", "cell")]))


def _record(hidden: Results, path_of: dict[str, str]) -> RunRecord:
    document = hidden.record.document()
    matches: list[JsonValue] = [
        {"paths": [path_of[path] for path in match.paths], "distance": match.distance}
        for match in hidden.record.cross_slide_duplicates
        if all(path in path_of for path in match.paths)
    ]
    reviews: list[JsonValue] = [review.model_dump(include=_KEPT_OF_A_REVIEW) for review in hidden.reviews]
    return RunRecord.from_document(
        {name: document[name] for name in _KEPT}
        | {"max_unclassified": hidden.record.max_unclassified}
        | {"pseudonymised": True, "cross_slide_duplicates": matches, "reviews": reviews}
    )
