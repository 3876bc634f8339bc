"""Write: publish the rows of the journal, the differentials and the run record, all at once."""

from collections.abc import Callable, Iterable, Sequence

import pyarrow as pa

from bloodcell_batch.files.names import printable
from bloodcell_batch.files.publishing import sync
from bloodcell_batch.files.writing import writing
from bloodcell_batch.integrity.results_id import ResultsId
from bloodcell_batch.records import CrossSlideMatch, SlideDifferential
from bloodcell_batch.results.file_names import OutputPaths
from bloodcell_batch.results.formats import (
    OUTPUT_FORMATS,
    write_csv_text,
    write_excel_csv,
    write_excel_csv_text,
)
from bloodcell_batch.results.irreplaceable import check_unreviewed
from bloodcell_batch.results.journal import WRITING_HINT, Journal
from bloodcell_batch.results.run_record import RunRecord
from bloodcell_batch.results.stdout import stdout_for_tables
from bloodcell_batch.results.tables import mark_for_review, slide_batch
from bloodcell_batch.results.workbook import write_results_workbook


def publish_run(
    journal: Journal,
    paths: OutputPaths,
    slides: Sequence[SlideDifferential],
    matches: Sequence[CrossSlideMatch],
    model_sha256: str,
    run_record: Callable[[], RunRecord],
) -> None:
    """Write the tables and the run record in the journal's folder, then rename them all.

    Pictures that appear in two slides are marked for review here, when every slide is known. The record gets its
    digests here, too.

    Raises:
        OutputError: they can't be written, or what they would replace was reviewed meanwhile; the journal has every
            row.
    """
    journal.flush()
    partners = {printable(m.path): m.other_path for m in matches}
    partners |= {printable(m.other_path): m.path for m in matches}
    batches = (mark_for_review(batch, partners) for batch in journal.batches())
    if paths.images is None:
        _publish_to_stdout(batches, journal.schema, paths)
        return
    identity = ResultsId(model_sha256)
    rows = identity.passing(batches)
    write = write_excel_csv if paths.csv_dialect == "excel" else OUTPUT_FORMATS[paths.suffix].write
    slide_rows = slide_batch(slides, journal.classes)
    with writing(paths.images, WRITING_HINT):
        fresh = [journal.folder / f"final-{path.name}" for path in paths.all()]
        *slide_table, record, image_table = fresh
        written = run_record()
        if slide_table:
            write(slide_table[0], slide_rows.schema, iter([slide_rows]))
            write(image_table, journal.schema, rows)
        else:
            write_results_workbook(image_table, slide_rows, journal.schema, rows, written.document())
        tables = dict(zip(("images", "slides"), [image_table, *slide_table], strict=False))
        record.write_text(written.with_digests(str(identity), tables).as_json(), encoding="utf-8")
        for path in fresh:
            sync(path)
        check_unreviewed(*paths.all())
        with journal.publishing():
            for path, final in zip(fresh, paths.all(), strict=True):
                path.replace(final)
            sync(paths.images.parent)


def _publish_to_stdout(batches: Iterable[pa.RecordBatch], schema: pa.Schema, paths: OutputPaths) -> None:
    write = write_excel_csv_text if paths.csv_dialect == "excel" else write_csv_text
    with stdout_for_tables() as stream:
        write(stream, schema, iter(batches))
