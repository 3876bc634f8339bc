"""`diff`: what changed between two results of the same images, as page and table."""

from collections.abc import Callable, Sequence
from pathlib import Path

from bloodcell_batch.comparing.difference import Difference, compare
from bloodcell_batch.comparing.page import diff_page
from bloodcell_batch.config.results import DiffConfig
from bloodcell_batch.errors import UsageError
from bloodcell_batch.files.publishing import publish_files, text_writer
from bloodcell_batch.progress import Observer
from bloodcell_batch.results.formats import OUTPUT_FORMATS, format_names, table_writer
from bloodcell_batch.results.irreplaceable import check_outputs

_PAGES = {".html", ".htm"}
Writer = Callable[[Path], object]


def write_diff(one: Path, other: Path, outs: Sequence[Path], config: DiffConfig, observer: Observer) -> Difference:
    """Compare two results, and write the page and the tables of changed cells in `outs`.

    Raises:
        BloodcellBatchError: nothing was written; the text says what to do.
    """
    for out in outs:
        suffix = out.suffix.lower()
        if suffix not in {*_PAGES, *OUTPUT_FORMATS}:
            hint = f"Use NAME.html for the page, or {format_names()} for the table of changed cells."
            raise UsageError(f"--out {out} is neither a page nor a table.", hint=hint)
        for table in (one, other):
            check_outputs(out, overwrite=config.overwrite, about=table)
    if len(set(outs)) < len(outs):
        raise UsageError(f"--out {outs[0]} is there twice.", hint="Give each output once.")
    found = compare(one, other, config.confidence_change)
    publish_files({out: _writer(out, found, config, observer) for out in outs})
    return found


def _writer(out: Path, found: Difference, config: DiffConfig, observer: Observer) -> Writer:
    if out.suffix.lower() in _PAGES:
        return text_writer(diff_page(found, config, observer))
    write = table_writer(out.suffix.lower(), config.csv_dialect)
    table = found.changes.table
    return lambda fresh: write(fresh, table.schema, table.to_batches())
