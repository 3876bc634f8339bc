"""Writing results again: after a review, with the verified labels beside the preclassification, or to share."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from bloodcell_batch.files.publishing import publish_files
from bloodcell_batch.integrity.results_id import results_id
from bloodcell_batch.progress import SlideDifferential
from bloodcell_batch.results.file_names import result_files
from bloodcell_batch.results.finished import ResultRow, Results
from bloodcell_batch.results.formats import OUTPUT_FORMATS, output_suffix
from bloodcell_batch.results.record_entries import ReviewEntry
from bloodcell_batch.results.run_record import RunRecord
from bloodcell_batch.results.tables import image_schema, reviewed_schema, slide_batch


def write_reviewed(original: Results, rows: tuple[ResultRow, ...], review: ReviewEntry, out: Path) -> None:
    """Write the tables and the run record with `review` added to its list of reviews.

    Args:
        original: the results that were reviewed, with their real names.
        rows: the same rows with their verified labels.
        review: what the run record says about this review.
        out: the new image table.

    Raises:
        OutputError: they can't be written.
    """
    images = _images(original, rows, review.imported)
    reviews = [earlier.model_dump(exclude_unset=True) for earlier in (*original.reviews, review)]
    record = original.record.updated(reviews=[*reviews])
    write_results(out, images, replace(original, rows=rows).slides, record)


def write_results(out: Path, images: pa.Table, slides: Sequence[SlideDifferential], record: RunRecord) -> None:
    """Write an image table, its slide table and its run record as `classify` would; OutputError if that fails."""
    slide_rows = slide_batch(slides, record.model.class_list)
    identity = results_id(images, record.model.sha256)
    *slide_path, record_path, image_path = result_files(out)
    written: dict[str, Path] = {}
    writers: dict[Path, Callable[[Path], object]] = {}

    def table(name: str, path: Path, write: Callable[[Path], object]) -> None:
        def noted(fresh: Path) -> None:
            write(fresh)
            written[name] = fresh

        writers[path] = noted

    suffix = output_suffix(str(out))
    if slide_path:
        write = OUTPUT_FORMATS[suffix].write
        table("slides", slide_path[0], lambda path: write(path, slide_rows.schema, [slide_rows]))
        table("images", image_path, lambda path: write(path, images.schema, images.to_batches()))
    else:
        from bloodcell_batch.results.workbook import write_results_workbook  # noqa: PLC0415 - a tenth of a second

        batches = images.to_batches()
        table(
            "images",
            image_path,
            lambda p: write_results_workbook(p, slide_rows, images.schema, batches, record.document()),
        )
    writers[record_path] = lambda path: path.write_text(
        record.with_digests(identity, written).as_json(), encoding="utf-8"
    )
    publish_files(writers)


def _images(original: Results, rows: tuple[ResultRow, ...], now: str) -> pa.Table:
    table = original.images
    times = table.column("verified_at").to_pylist() if "verified_at" in table.schema.names else [None] * len(rows)
    said = [(row.verified_label, row.verified_by) for row in rows]
    before = [(row.verified_label, row.verified_by) for row in original.rows]
    columns = [
        [label or None for label, _ in said],
        [by or None for _, by in said],
        [time if new == old else now for time, new, old in zip(times, said, before, strict=True)],
        [row.remark or None for row in rows],
    ]
    arrays = [
        *table.select(image_schema(original.classes).names).columns,
        *(pa.array(column, pa.string()) for column in columns),
    ]
    return pa.Table.from_arrays(arrays, schema=reviewed_schema(original.classes))
