"""`diff`: what changed between two results of the same images, as page and table."""

from collections.abc import Callable, Sequence
from pathlib import Path

from bloodcell_batch.comparing.difference import Difference, compare
from bloodcell_batch.comparing.page import cells_to_show, diff_page
from bloodcell_batch.comparing.pseudonyms import pseudonymised
from bloodcell_batch.config.results import DiffConfig
from bloodcell_batch.errors import UsageError
from bloodcell_batch.files.publishing import publish_files, text_writer
from bloodcell_batch.progress import Observer
from bloodcell_batch.results.formats import OUTPUT_FORMATS, format_names, table_writer
from bloodcell_batch.results.irreplaceable import check_outputs
from bloodcell_batch.results.pseudonyms import load_pseudonyms

_PAGES = {".html", ".htm"}
Writer = Callable[[Path], object]


def write_diff(one: Path, other: Path, outs: Sequence[Path], config: DiffConfig, observer: Observer) -> Difference:
    """Compare two results, and write the page and the tables of changed cells in `outs`; what is returned has their
    pseudonyms, where these are wanted.

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
    names = load_pseudonyms(config.pseudonymize, *outs)
    found = compare(one, other, config.confidence_change)
    shown = pseudonymised(found, names)
    pages = [out for out in outs if out.suffix.lower() in _PAGES]
    writers: dict[Path, Writer] = {
        out: text_writer(diff_page(shown, cells_to_show(found, names), config, observer, hides_names=names is not None))
        for out in pages
    }
    publish_files({out: writers.get(out) or _table_writer(out, shown, config) for out in outs})
    return shown


def _table_writer(out: Path, shown: Difference, config: DiffConfig) -> Writer:
    write = table_writer(out.suffix.lower(), config.csv_dialect)
    table = shown.changes.table
    return lambda fresh: write(fresh, table.schema, table.to_batches())
