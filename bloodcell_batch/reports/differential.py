"""`differential`: the slide table of a run, counted again, with additions."""

from collections import Counter
from pathlib import Path

from bloodcell_batch.config.results import DifferentialConfig
from bloodcell_batch.differential.error_adjustment import AdjustedShare, adjusted_shares, confusion_of
from bloodcell_batch.differential.reference_ranges import load_reference_ranges
from bloodcell_batch.errors import InputError
from bloodcell_batch.files.publishing import check_new, publish_files
from bloodcell_batch.model.file import open_model
from bloodcell_batch.reports.slide_table import Additions, slide_table
from bloodcell_batch.results.finished import Results, load_results
from bloodcell_batch.results.formats import (
    OUTPUT_FORMATS,
    STDOUT,
    output_suffix,
    write_csv_text,
    write_excel_csv,
    write_excel_csv_text,
)
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
    check_new(*outputs, overwrite=config.overwrite)
    names = load_pseudonyms(config.pseudonymize, *outputs)
    results = load_results(table).pseudonymised(names)
    additions = load_additions(results, config.min_wbc, config.reference_ranges, config.model, adjust=config.adjust)
    batch = slide_table(results.slides, additions)
    if suffix == STDOUT:
        write_text = write_excel_csv_text if config.csv_dialect == "excel" else write_csv_text
        with stdout_for_tables() as stream:
            write_text(stream, batch.schema, [batch])
        return
    write = write_excel_csv if config.csv_dialect == "excel" else OUTPUT_FORMATS[suffix]
    publish_files({path: lambda fresh: write(fresh, batch.schema, [batch])})


def load_additions(
    results: Results, min_wbc: int | None, ranges: Path | None, model: Path | None, *, adjust: bool
) -> Additions:
    """The additions that the options ask for.

    Raises:
        InputError: the ranges can't be read, or the model is not the one that made the results.
        ModelFileError: the model can't be read or has no confusion matrix.
    """
    return Additions(
        min_wbc=min_wbc,
        ranges=load_reference_ranges(ranges),
        adjusted=_adjusted(results, model) if adjust else None,
    )


def _adjusted(results: Results, model: Path | None) -> dict[str, dict[str, AdjustedShare]]:
    opened = open_model(model)
    made_by = results.record.model.sha256
    if opened.sha256 != made_by:
        message = f"The results were made by another model ({made_by[:12]}) than {opened.path}"
        hint = "Name the model file that made them with --model; its confusion matrix is what corrects the counts."
        raise InputError(f"{message} ({opened.sha256[:12]}).", hint=hint)
    confusion = confusion_of(opened)
    return {
        slide: adjusted_shares(Counter(row.final_label for row in rows if row.final_label), confusion)
        for slide, rows in results.by_slide.items()
    }
