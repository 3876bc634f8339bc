"""`review export`: the cells that a person should look at, as a page, a workbook or a CSV file to fill in."""

from pathlib import Path

from bloodcell_batch.config.results import ReviewExportConfig
from bloodcell_batch.errors import InputError
from bloodcell_batch.progress import Observer
from bloodcell_batch.reports.review.records import record_of
from bloodcell_batch.reports.review.selection import Selection, shuffled
from bloodcell_batch.reports.review.writing import ReviewList, check_review_file, write_review
from bloodcell_batch.reports.thumbnails import images_folder
from bloodcell_batch.results.finished import ResultRow, Results, load_results
from bloodcell_batch.results.pseudonyms import load_pseudonyms


def export_review(table: Path, out: Path, config: ReviewExportConfig, observer: Observer) -> int:
    """Write the review file of the results in `table` to `out` and return the number of cells in it.

    Raises:
        BloodcellBatchError: nothing was written; the text says what to do.
    """
    check_review_file(out, table, overwrite=config.overwrite)
    results = load_results(table).pseudonymised(load_pseudonyms(config.pseudonymize, out))
    selection = Selection.of(config)
    rows = _picked(results, selection, config, observer) if selection.adaptation else selection.cells(results)
    if not rows:
        raise InputError(f"{table} has no cells for review.", hint="--cells all exports every cell.")
    if config.blind:
        rows = shuffled(rows, config.seed)
    elif selection.sample:
        observer.note("a reader who sees what the program said agrees more often: add --blind to measure the accuracy")
    else:
        rows.sort(key=lambda row: (row.slide_id, row.confidence or 0, row.path, row.cell or 0))
    records = [record_of(row, results, selection, blind=config.blind) for row in rows]
    write_review(out, ReviewList(records), rows, results, config, observer)
    return len(rows)


def _picked(results: Results, selection: Selection, config: ReviewExportConfig, observer: Observer) -> list[ResultRow]:
    from bloodcell_batch.reports.review.adaptation import cells_for_adaptation  # noqa: PLC0415 - loads a runtime

    folder = images_folder(results, config.images, observer)
    if folder is None:
        hint = "Name the folder that was classified with --images."
        raise InputError("The cells for adaptation are chosen by their images, which are not there.", hint=hint)
    found = cells_for_adaptation(results, selection.adaptation, folder, config, observer)
    observer.note(
        f"{len(found.rows)} of {found.candidates} cells were chosen to be unlike each other; "
        f"{found.copies} are copies of others",
        candidates=found.candidates,
        copies=found.copies,
    )
    return found.rows
