"""The forms of a review file: a page, a workbook with pictures, or a CSV file."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bloodcell_batch.config.results import ReviewFileConfig
from bloodcell_batch.errors import UsageError
from bloodcell_batch.files.publishing import publish_files, text_writer
from bloodcell_batch.files.spreadsheets import EXCEL_MARK, neutralised
from bloodcell_batch.progress import Observer
from bloodcell_batch.reports.review.columns import SHEET, Record, columns_of
from bloodcell_batch.reports.review.page import review_page
from bloodcell_batch.reports.review.workbook import write_review_workbook
from bloodcell_batch.reports.thumbnails import (
    NoThumbnail,
    Thumbnail,
    images_folder,
    make_thumbnails,
    uris,
    warn_of_gaps,
)
from bloodcell_batch.results.finished import ResultRow, Results
from bloodcell_batch.results.irreplaceable import check_outputs

_PICTURES = {".xlsx": ("png", 160), ".html": ("webp", 256)}

Pictures = Mapping[str, Thumbnail | NoThumbnail]


@dataclass(frozen=True, slots=True)
class ReviewList:
    """What goes into a review file: `records` are to be looked at; `settled`, which come after them, need no look."""

    records: Sequence[Record]
    settled: Sequence[Record] = ()


def check_review_file(out: Path, table: Path, *, overwrite: bool) -> None:
    """Refuse a name that is of no review format, that exists already, or whose file must stay; `table` is reviewed.

    Raises:
        UsageError, OutputError: it can't be written to; the text says what to do.
    """
    if out.suffix.lower() not in REVIEW_FORMATS:
        hint = f"Use {' or '.join(f'NAME{suffix}' for suffix in REVIEW_FORMATS)}."
        raise UsageError(f"--out {out} is not a review format.", hint=hint)
    check_outputs(out, overwrite=overwrite, about=table)


def write_review(
    out: Path,
    cells: ReviewList,
    rows: Sequence[ResultRow],
    results: Results,
    config: ReviewFileConfig,
    observer: Observer,
) -> None:
    """Write a review file.

    Args:
        out: a name that `check_review_file` accepts.
        cells: what it holds.
        rows: the rows of `cells.records`, for their pictures.
        results: what they are of.
        config: where the pictures are, and their size.
        observer: warned of pictures that are missing.

    Raises:
        OutputError: it can't be written.
    """
    suffix, found = out.suffix.lower(), dict[str, Thumbnail | NoThumbnail]()
    if suffix in _PICTURES:
        folder = images_folder(results, config.images, observer)
        kind, side = _PICTURES[suffix]
        made = make_thumbnails(rows, folder, config.thumbnail or side, kind)
        if folder is not None:
            warn_of_gaps(made, observer)
        found = {row.key: made[row.picture] for row in rows}
    REVIEW_FORMATS[suffix](out, cells, found, results)


def _write_csv(out: Path, cells: ReviewList, _pictures: Pictures, _results: Results) -> None:
    stream = io.StringIO(newline="")
    stream.write(EXCEL_MARK)
    writer = csv.writer(stream)  # ends lines with CR and LF, so that it quotes a name with either of them
    columns = columns_of(cells.records)
    writer.writerow(columns)
    writer.writerows([neutralised(record[name]) for name in columns] for record in (*cells.records, *cells.settled))
    publish_files({out: text_writer(stream.getvalue())})


def _write_workbook(out: Path, cells: ReviewList, pictures: Pictures, results: Results) -> None:
    images = {path: found for path, found in pictures.items() if isinstance(found, Thumbnail)}
    columns, records = columns_of(cells.records), [*cells.records, *cells.settled]
    labels = results.classes.verified_labels
    publish_files({out: lambda fresh: write_review_workbook(fresh, SHEET, columns, records, images, labels)})


def _write_page(out: Path, cells: ReviewList, pictures: Pictures, results: Results) -> None:
    page = review_page(cells.records, cells.settled, uris(dict(pictures)), results)
    publish_files({out: text_writer(page)})


REVIEW_FORMATS: dict[str, Callable[[Path, ReviewList, Pictures, Results], None]] = {
    ".html": _write_page,
    ".xlsx": _write_workbook,
    ".csv": _write_csv,
}
