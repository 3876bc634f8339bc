"""Checks of the slide table: counted again from the rows, every cell must be what was published."""

import math
from pathlib import Path

from bloodcell_batch.cell_classes import ClassList
from bloodcell_batch.differential.slide import duplicate_alerts, slide_differential
from bloodcell_batch.errors import InputError
from bloodcell_batch.results.file_names import slide_table_of
from bloodcell_batch.results.formats import read_table
from bloodcell_batch.results.run_record import RunRecord
from bloodcell_batch.results.tables import slide_batch, slide_schema
from bloodcell_batch.slides.matches import CrossSlideMatch
from bloodcell_batch.verification.findings import Findings
from bloodcell_batch.verification.row_checks import Row
from bloodcell_batch.verification.table_checks import Seen

_SHEET = "Slides"
_LAST_DIGIT = 1.01e-4  # exact limits may differ in the fourth digit between versions of SciPy


def check_slides(table: Path, seen: Seen, record: RunRecord, findings: Findings) -> int:
    """Compare the published slide table with the one that the rows give; returns the number of slides."""
    path = slide_table_of(table) or table
    classes = record.model.class_list
    expected = _counted(seen, record, classes)
    try:
        published = read_table(path, slide_schema(classes), sheet=_SHEET).to_pylist()
    except InputError as error:
        findings.add(str(path), error.message)
        return len(expected)
    found: dict[str, Row] = {}
    for row in published:
        if row["slide_id"] in found:
            findings.add(f"slide {row['slide_id']}", "is in the slide table twice")
        found[row["slide_id"]] = row
    for slide in sorted(expected.keys() - found.keys()):
        findings.add(f"slide {slide}", "is not in the slide table")
    for slide in sorted(found.keys() - expected.keys(), key=str):
        findings.add(f"slide {slide}", "is in the slide table, but has no rows")
    for slide in sorted(expected.keys() & found.keys()):
        for column in slide_schema(classes).names:
            if not _same(column, found[slide][column], expected[slide][column]):
                there, here = found[slide][column], expected[slide][column]
                findings.add(f"slide {slide}", f"{column} is {there!r}, counted again it is {here!r}")
    return len(expected)


def _counted(seen: Seen, record: RunRecord, classes: ClassList) -> dict[str, Row]:
    matches = [
        CrossSlideMatch(one, seen.kept[one]["slide_id"], other, seen.kept[other]["slide_id"], match.distance)
        for match in record.cross_slide_duplicates
        for one, other in [match.paths]
        if one in seen.kept and other in seen.kept
    ]
    alerts = duplicate_alerts(matches)
    slides = [
        slide_differential(slide, counts, classes, alerts.get(slide, ()), record.max_unclassified)
        for slide, counts in sorted(seen.slides.items())
    ]
    return {row["slide_id"]: row for row in slide_batch(slides, classes).to_pylist()}


def _same(column: str, one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=0, abs_tol=_LAST_DIGIT)
    if column == "alerts" and isinstance(one, str) and isinstance(other, str) and "\\x" in one + other:
        # Names that are not UTF-8 sort otherwise as bytes than as the text that stands for them.
        return len(one.split("; ")) == len(other.split("; "))
    return one == other
