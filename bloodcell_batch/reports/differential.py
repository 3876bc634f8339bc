"""`differential`: the slide table of a run, counted again, with additions."""

from pathlib import Path

from bloodcell_batch.config.results import DifferentialConfig
from bloodcell_batch.differential.reference_ranges import load_reference_ranges
from bloodcell_batch.files.publishing import publish_files
from bloodcell_batch.reports.slide_table import Additions, slide_table
from bloodcell_batch.results.finished import load_results
from bloodcell_batch.results.formats import (
    OUTPUT_FORMATS,
    STDOUT,
    output_suffix,
    write_csv_text,
    write_excel_csv,
    write_excel_csv_text,
)
from bloodcell_batch.results.irreplaceable import check_outputs
from bloodcell_batch.results.pseudonyms import load_pseudonyms
from bloodcell_batch.results.stdout import stdout_for_tables


def write_differential(table: Path, out: str, config: DifferentialConfig) -> None:
    """Write the slide table of the results in `table` to `out` ("-" for CSV on stdout).

    Raises:
        BloodcellBatchError: nothing was written; the text says what to do.
    """
    suffix = output_suffix(out, config.csv_dialect)
    path = Path(out)
    outputs = [] if suffix == STDOUT else [path]
    check_outputs(*outputs, overwrite=config.overwrite, about=table)
    names = load_pseudonyms(config.pseudonymize, *outputs)
    results = load_results(table).pseudonymised(names)
    additions = Additions(config.min_wbc, load_reference_ranges(config.reference_ranges, results.classes))
    batch = slide_table(results.slides, results.classes, additions)
    if suffix == STDOUT:
        write_text = write_excel_csv_text if config.csv_dialect == "excel" else write_csv_text
        with stdout_for_tables() as stream:
            write_text(stream, batch.schema, [batch])
        return
    write = write_excel_csv if config.csv_dialect == "excel" else OUTPUT_FORMATS[suffix].write
    publish_files({path: lambda fresh: write(fresh, batch.schema, [batch])})
