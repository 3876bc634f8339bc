"""`report`: one HTML file about a run, for reading on a screen and on paper."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bloodcell_batch.cell_classes import ClassList
from bloodcell_batch.config.results import ReportConfig
from bloodcell_batch.differential.not_excluded import blasts_note
from bloodcell_batch.differential.reference_ranges import load_reference_ranges
from bloodcell_batch.errors import UsageError
from bloodcell_batch.files.publishing import publish_files, text_writer
from bloodcell_batch.progress import Observer, SlideDifferential
from bloodcell_batch.records import Status
from bloodcell_batch.reports.absolute import CORRECTION, load_absolute_counts
from bloodcell_batch.reports.chart import Chart, chart_of
from bloodcell_batch.reports.field_sheet import FIELD_SIDE, FieldPicture, field_pictures
from bloodcell_batch.reports.slide_table import Additions, range_position, reaches
from bloodcell_batch.reports.templates import provenance, render
from bloodcell_batch.reports.thumbnails import images_folder, make_thumbnails, uris, warn_of_gaps
from bloodcell_batch.results.finished import ResultRow, load_results
from bloodcell_batch.results.irreplaceable import check_outputs
from bloodcell_batch.results.pseudonyms import load_pseudonyms

_PAGES = {".html", ".htm"}


@dataclass(frozen=True, slots=True)
class Gallery:
    """Cells of one class, least certain first, as far as they are shown."""

    label: str
    shown: tuple[ResultRow, ...]
    total: int


@dataclass(frozen=True, slots=True)
class SlidePage:
    """Everything that the report shows of one slide."""

    number: int
    slide: SlideDifferential
    chart: Chart | None
    positions: dict[str, str]
    queue: tuple[ResultRow, ...]
    queued: int
    galleries: tuple[Gallery, ...]
    fields: tuple[FieldPicture, ...]
    duplicates: tuple[tuple[ResultRow, ResultRow | None], ...]
    failed: tuple[ResultRow, ...]
    verified: int
    reached: bool | None

    def rows(self) -> list[ResultRow]:
        """All rows that need a thumbnail."""
        pairs = [row for pair in self.duplicates for row in pair if row]
        return [*self.queue, *(row for gallery in self.galleries for row in gallery.shown), *pairs]


def write_html_report(table: Path, out: Path, config: ReportConfig, observer: Observer) -> int:
    """Write the report of the results in `table` to `out`.

    Returns:
        The size of the file in bytes.

    Raises:
        BloodcellBatchError: nothing was written; the text says what to do.
    """
    if out.suffix.lower() not in _PAGES:
        raise UsageError(f"--out {out} is not a page.", hint="Use NAME.html; a browser prints it as PDF.")
    check_outputs(out, overwrite=config.overwrite, about=table)
    names = load_pseudonyms(config.pseudonymize, out)
    results = load_results(table).pseudonymised(names)
    absolute = load_absolute_counts(config.wbc, results, names)
    for remark in absolute.remarks:
        observer.warn(remark)
    ranges = load_reference_ranges(config.reference_ranges, results.classes)
    additions = Additions(config.min_wbc, ranges, absolute.by_slide)
    pages = [
        slide_page(number, slide, results.by_slide[slide.slide_id], results.classes, additions, config)
        for number, slide in enumerate(results.slides, start=1)
    ]
    folder = images_folder(results, config.images, observer)
    thumbnails = make_thumbnails((row for page in pages for row in page.rows()), folder, config.thumbnail)
    fields = make_thumbnails((field for page in pages for field in page.fields), folder, FIELD_SIDE)
    if folder is not None:
        warn_of_gaps(thumbnails, observer)
    page = render(
        "report.html.j2",
        alerts=_alerts(pages),
        blasts=blasts_note(results.classes.names),
        classes=results.classes,
        pages=pages,
        facts=provenance(results),
        counts=results.record.counts,
        model=results.record.model,
        additions=additions,
        correction=CORRECTION,
        thumbnails=uris(thumbnails),
        side=config.thumbnail,
        fields=uris(fields),
        field_side=FIELD_SIDE,
        pseudonymised=names is not None,
    )
    publish_files({out: text_writer(page)})
    return out.stat().st_size


def slide_page(
    number: int,
    slide: SlideDifferential,
    rows: list[ResultRow],
    classes: ClassList,
    additions: Additions,
    config: ReportConfig,
) -> SlidePage:
    """Choose and sort what is shown of a slide of a run that reports `classes`."""
    by_path = {row.path: row for row in rows}
    queue = sorted((row for row in rows if row.review and not row.verified_label), key=_certainty)
    galleries = []
    for name in classes.reading_order:
        cells = sorted((row for row in rows if row.final_label == name), key=_certainty)
        if cells:
            galleries.append(Gallery(name, tuple(cells[: config.gallery]), len(cells)))
    duplicates = [row for row in rows if row.duplicate_of and not row.is_cell]
    ranges = additions.ranges
    positions = {name: range_position(slide, name, ranges) for name in ranges.ranges} if ranges else {}
    return SlidePage(
        number=number,
        slide=slide,
        chart=chart_of(slide, classes, additions),
        positions={name: found.value for name, found in positions.items() if found},
        queue=tuple(queue[: config.queue]),
        queued=len(queue),
        galleries=tuple(galleries),
        fields=field_pictures(rows),
        duplicates=tuple((row, by_path.get(row.duplicate_of)) for row in duplicates),
        failed=tuple(row for row in rows if row.status is Status.FAILED),
        verified=sum(bool(row.verified_label) for row in rows),
        reached=None if additions.min_wbc is None else reaches(slide, additions.min_wbc),
    )


def _alerts(pages: Sequence[SlidePage]) -> list[tuple[str, list[SlidePage], str]]:
    """Alerts of all slides by their kind, the one of most slides first: kind, slides, and the text where it is one."""
    found: dict[str, list[tuple[SlidePage, str]]] = {}
    for page in pages:
        for alert in page.slide.alerts:
            found.setdefault(alert.partition(":")[0].replace("_", " "), []).append((page, alert))
    often = sorted(found.items(), key=lambda kind: -len(kind[1]))
    return [
        (kind, [page for page, _ in places], places[0][1].partition(":")[2].strip() if len(places) == 1 else "")
        for kind, places in often
    ]


def _certainty(row: ResultRow) -> tuple[float, str]:
    return (row.confidence if row.confidence is not None else -1.0, row.path)
