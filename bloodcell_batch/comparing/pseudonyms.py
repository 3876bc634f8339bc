"""A difference with pseudonyms in place of names, for what leaves the laboratory."""

from dataclasses import replace

import pyarrow as pa

from bloodcell_batch.comparing.difference import Difference
from bloodcell_batch.results.pseudonyms import Pseudonyms

_PLACE = ("slide_id", "path", "cell")


def pseudonymised(found: Difference, names: Pseudonyms | None) -> Difference:
    """The same difference with pseudonyms for the slides and paths that it tells, sorted by them; unchanged without a
    key. The rows of the two results, which nobody is shown, keep their names."""
    if names is None:
        return found
    slides = sorted(
        (replace(slide, slide_id=names.slide(slide.slide_id)) for slide in found.slides.slides),
        key=lambda slide: slide.slide_id,
    )
    table = _renamed(found.changes.table, names).sort_by([(name, "ascending") for name in _PLACE])
    return replace(
        found, changes=replace(found.changes, table=table), slides=replace(found.slides, slides=tuple(slides))
    )


def _renamed(table: pa.Table, names: Pseudonyms) -> pa.Table:
    rows = zip(table["slide_id"].to_pylist(), table["path"].to_pylist(), strict=True)
    shown = [(names.slide(slide), names.path(slide, path)) for slide, path in rows]
    for place, name in enumerate(("slide_id", "path")):
        column = pa.array([row[place] for row in shown], pa.string())
        position = table.schema.get_field_index(name)
        table = table.set_column(position, table.schema.field(name), column)
    return table
