"""Write: publish the rows of the journal, the differentials and the run record, all at once."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from bloodcell_batch.config.fields import CsvDialect
from bloodcell_batch.files.names import printable
from bloodcell_batch.files.publishing import sync, written_whole
from bloodcell_batch.files.writing import writing
from bloodcell_batch.integrity.results_id import ResultsId
from bloodcell_batch.progress import SlideDifferential
from bloodcell_batch.results.file_names import OutputPaths
from bloodcell_batch.results.formats import table_writer, write_csv_text
from bloodcell_batch.results.irreplaceable import check_kept
from bloodcell_batch.results.journal import WRITING_HINT, Journal
from bloodcell_batch.results.run_record import RunRecord
from bloodcell_batch.results.stdout import stdout_for_tables
from bloodcell_batch.results.tables import mark_for_review, slide_batch
from bloodcell_batch.slides.matches import CrossSlideMatch
from bloodcell_batch.stages.embeddings import write_embeddings


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

    def batches() -> Iterator[pa.RecordBatch]:
        return (mark_for_review(batch, partners) for batch in journal.batches())

    identity = ResultsId(model_sha256)
    if paths.images is None or paths.run is None:
        with _embeddings_beside_stdout(journal, paths.embeddings, identity, batches):
            _publish_to_stdout(batches(), journal.schema, paths)
        return
    slide_rows = slide_batch(slides, journal.classes)
    with writing(paths.images, WRITING_HINT):
        fresh = {path: journal.folder / f"final-{path.name}" for path in paths.all()}
        record = run_record()
        made: dict[str, dict[str, Path]] = {}
        for files in paths.tables:
            rows = batches() if made else identity.passing(batches())
            made[files.suffix] = {name: fresh[path] for name, path in files.by_name().items()}
            _write_tables(made[files.suffix], slide_rows, journal.schema, rows, record, paths.csv_dialect)
        first, *further = made.items()
        seen = None
        if paths.embeddings is not None:
            seen = write_embeddings(fresh[paths.embeddings], paths.embeddings, journal, identity)
        kept = check_kept(paths, str(identity), record)
        digested = record.with_digests(str(identity), first[1], dict(further), kept, seen)
        fresh[paths.run].write_text(digested.as_json(), encoding="utf-8")
        for path in fresh.values():
            sync(path)
        with journal.publishing():
            for final, path in fresh.items():
                path.replace(final)
            sync(paths.images.parent)


@contextmanager
def _embeddings_beside_stdout(
    journal: Journal, final: Path | None, identity: ResultsId, batches: Callable[[], Iterable[pa.RecordBatch]]
) -> Iterator[None]:
    """The file of embeddings, if one is wanted, written before the body writes to stdout, and in its place after it."""
    if final is None:
        yield
        return
    for batch in batches():
        identity.add(batch)
    with writing(final, WRITING_HINT), written_whole(final) as partial:
        write_embeddings(partial, final, journal, identity)
        yield


def _write_tables(
    places: Mapping[str, Path],
    slide_rows: pa.RecordBatch,
    schema: pa.Schema,
    rows: Iterable[pa.RecordBatch],
    record: RunRecord,
    csv_dialect: CsvDialect,
) -> None:
    """The tables of a run in one format; `places` are the files to write, by the names of the tables."""
    images = places["images"]
    if "slides" not in places:
        from bloodcell_batch.results.workbook import write_results_workbook  # noqa: PLC0415 - a tenth of a second

        write_results_workbook(images, slide_rows, schema, rows, record.document())
        return
    write = table_writer(images.suffix.lower(), csv_dialect)
    write(places["slides"], slide_rows.schema, iter([slide_rows]))
    write(images, schema, rows)


def _publish_to_stdout(batches: Iterable[pa.RecordBatch], schema: pa.Schema, paths: OutputPaths) -> None:
    with stdout_for_tables() as stream:
        write_csv_text(stream, schema, iter(batches), paths.csv_dialect)
