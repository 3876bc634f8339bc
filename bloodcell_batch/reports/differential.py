"""`differential`: the slide table of a run, counted again, with additions."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bloodcell_batch.config.results import DifferentialConfig
from bloodcell_batch.differential.absolute import AbsoluteCounts
from bloodcell_batch.differential.reference_ranges import load_reference_ranges
from bloodcell_batch.files.publishing import publish_files
from bloodcell_batch.progress import SlideDifferential
from bloodcell_batch.reports.absolute import load_absolute_counts
from bloodcell_batch.reports.slide_table import Additions, remarks, slide_table
from bloodcell_batch.results.finished import load_results
from bloodcell_batch.results.formats import STDOUT, output_suffix, table_writer, write_csv_text
from bloodcell_batch.results.irreplaceable import check_outputs
from bloodcell_batch.results.pseudonyms import load_pseudonyms
from bloodcell_batch.results.stdout import stdout_for_tables


@dataclass(frozen=True, slots=True)
class Differential:
    """The differentials of a run, what a laboratory's own target and ranges say of them, and absolute counts by slide
    where the leukocytes are known."""

    slides: tuple[SlideDifferential, ...]
    remarks: list[str]
    absolute: Mapping[str, AbsoluteCounts]


def write_differential(table: Path, out: str | None, config: DifferentialConfig) -> Differential:
    """Write the slide table of the results in `table` to `out` ("-" for CSV on stdout, None for nowhere).

    Raises:
        BloodcellBatchError: nothing was written; the text says what to do.
    """
    suffix = output_suffix(STDOUT if out is None else out, config.csv_dialect)
    outputs = [] if out is None or suffix == STDOUT else [Path(out)]
    check_outputs(*outputs, overwrite=config.overwrite, about=table)
    names = load_pseudonyms(config.pseudonymize, *outputs)
    results = load_results(table).pseudonymised(names)
    absolute = load_absolute_counts(config.wbc, results, names)
    ranges = load_reference_ranges(config.reference_ranges, results.classes)
    additions = Additions(config.min_wbc, ranges, absolute.by_slide)
    batch = slide_table(results.slides, results.classes, additions)
    found = Differential(results.slides, remarks(results.slides, additions) + absolute.remarks, absolute.by_slide)
    if outputs:
        write = table_writer(suffix, config.csv_dialect)
        publish_files({path: lambda fresh: write(fresh, batch.schema, [batch]) for path in outputs})
    elif out is not None:
        with stdout_for_tables() as stream:
            write_csv_text(stream, batch.schema, [batch], config.csv_dialect)
    return found
