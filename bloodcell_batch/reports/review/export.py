"""`review export`: the cells that a person should look at, as a page, a workbook or a CSV file to fill in."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bloodcell_batch.config.results import ReviewExportConfig
from bloodcell_batch.errors import InputError, UsageError
from bloodcell_batch.files.publishing import publish_files, text_writer
from bloodcell_batch.files.spreadsheets import EXCEL_MARK, neutralised
from bloodcell_batch.progress import Observer
from bloodcell_batch.reports.review.columns import ANSWERS, COLUMNS, PREDICTED, SHEET, UNCLASSIFIED, Record
from bloodcell_batch.reports.review.labels import review_labels
from bloodcell_batch.reports.review.page import review_page
from bloodcell_batch.reports.review.selection import Selection, shuffled
from bloodcell_batch.reports.review.workbook import write_review_workbook
from bloodcell_batch.reports.thumbnails import (
    NoThumbnail,
    Thumbnail,
    images_folder,
    make_thumbnails,
    uris,
    warn_of_gaps,
)
from bloodcell_batch.results.finished import ResultRow, Results, load_results
from bloodcell_batch.results.irreplaceable import check_outputs
from bloodcell_batch.results.pseudonyms import load_pseudonyms

_PICTURES = {".xlsx": ("png", 160), ".html": ("webp", 256)}

_BLANK = dict.fromkeys((*PREDICTED, *ANSWERS), "")

Records = Sequence[Record]
Pictures = Mapping[str, Thumbnail | NoThumbnail]


def export_review(table: Path, out: Path, config: ReviewExportConfig, observer: Observer) -> int:
    """Write the review file of the results in `table` to `out` and return the number of cells in it.

    Raises:
        BloodcellBatchError: nothing was written; the text says what to do.
    """
    write = REVIEW_FORMATS.get(out.suffix.lower())
    if write is None:
        hint = f"Use {' or '.join(f'NAME{suffix}' for suffix in REVIEW_FORMATS)}."
        raise UsageError(f"--out {out} is not a review format.", hint=hint)
    check_outputs(out, overwrite=config.overwrite, about=table)
    results = load_results(table).pseudonymised(load_pseudonyms(config.pseudonymize, out))
    selection = Selection.of(config)
    rows = selection.cells(results)
    if not rows:
        raise InputError(f"{table} has no cells for review.", hint="--cells all exports every cell.")
    if config.blind:
        rows = shuffled(rows, config.seed)
    elif selection.sample:
        observer.note("a reader who sees what the program said agrees more often: add --blind to measure the accuracy")
    else:
        rows.sort(key=lambda row: (row.slide_id, row.confidence or 0, row.path))
    pictures: Pictures = {}
    if out.suffix.lower() != ".csv":
        folder = images_folder(results, config.images, observer)
        kind, side = _PICTURES[out.suffix.lower()]
        pictures = make_thumbnails(rows, folder, config.thumbnail or side, kind)
        if folder is not None:
            warn_of_gaps(dict(pictures), observer)
    common = {"results_id": results.results_id, "cells": str(selection)}
    records = [common | (_BLANK if config.blind else _said(row)) | _identity(row) for row in rows]
    found = {
        record["path"]: pictures.get(row.file, NoThumbnail.MISSING) for record, row in zip(records, rows, strict=True)
    }
    write(out, records, found, results)
    return len(rows)


def _identity(row: ResultRow) -> dict[str, str]:
    return {"path": row.path, "slide_id": row.slide_id, "sha256": row.digest}


def _said(row: ResultRow) -> dict[str, str]:
    """What the program and earlier readers said."""
    return {
        "preclassification": row.label or UNCLASSIFIED,
        "suggestion": row.top_class,
        "confidence": "" if row.confidence is None else f"{row.confidence:.3f}",
        "review_reason": row.review_reason,
        "verified_label": row.verified_label,
        "verified_by": row.verified_by,
        "remark": row.remark,
    }


def _write_csv(out: Path, records: Records, _pictures: Pictures, _results: Results) -> None:
    stream = io.StringIO(newline="")
    stream.write(EXCEL_MARK)
    writer = csv.writer(stream)  # ends lines with CR and LF, so that it quotes a name with either of them
    writer.writerow(COLUMNS)
    writer.writerows([neutralised(record[name]) for name in COLUMNS] for record in records)
    publish_files({out: text_writer(stream.getvalue())})


def _write_workbook(out: Path, records: Records, pictures: Pictures, results: Results) -> None:
    images = {path: found for path, found in pictures.items() if isinstance(found, Thumbnail)}
    labels = [label.name for label in review_labels(results.classes)]
    publish_files({out: lambda fresh: write_review_workbook(fresh, SHEET, COLUMNS, records, images, labels)})


def _write_page(out: Path, records: Records, pictures: Pictures, results: Results) -> None:
    publish_files({out: text_writer(review_page(records, uris(dict(pictures)), results))})


REVIEW_FORMATS: dict[str, Callable[[Path, Records, Pictures, Results], None]] = {
    ".html": _write_page,
    ".xlsx": _write_workbook,
    ".csv": _write_csv,
}
