"""Excel workbooks: tables as typed sheets, in which names stay the texts that they are.

Every text is written as a text cell with the text format, so that a spreadsheet neither evaluates `=A1` nor turns
`007`, `2E5` or `1-2` into a number or a date, not even after the cell was edited.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import xlsxwriter
from xlsxwriter.format import Format
from xlsxwriter.utility import xl_col_to_name
from xlsxwriter.worksheet import Worksheet

from bloodcell_batch.errors import OutputError

MAX_ROWS = 1_048_576
"""Rows of an Excel sheet, the header included."""

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)  # XlsxWriter would store the time of writing: equal tables, other bytes
_NO_INTERPRETATION = {"strings_to_numbers": False, "strings_to_formulas": False, "strings_to_urls": False}
_WIDTHS = {
    "path": 44,
    "slide_id": 22,
    "duplicate_of": 36,
    "sha256": 20,
    "phash": 20,
    "cell_phash": 20,
    "review_reason": 26,
}
_WIDTHS |= {"not_excluded": 60, "alerts": 60}
_NUMBER_FORMATS = {"percent": "0.0", "per_100": "0.0", "confidence": "0.000", "p_": "0.000", "score": "0.00"}
_LARGEST_PARAGRAPH = 2000


@dataclass(frozen=True, slots=True)
class Sheet:
    """One table for a workbook. Rows in which `highlight`, an Excel formula over `{column}` names in the first data
    row, is true get a coloured background."""

    name: str
    schema: pa.Schema
    batches: Iterable[pa.RecordBatch]
    highlight: str = ""


def write_workbook(path: Path, sheets: Sequence[Sheet], facts: Mapping[str, object] | None = None) -> None:
    """Write the tables, each with a frozen header, filters and widths, and `facts` as a last sheet named Run.

    A table of more rows than a sheet holds goes on in sheets with the same name and a number.
    """
    # XlsxWriter collects sheets in files: beside the output, where there is room for them, not in /tmp.
    options = {"constant_memory": True, "tmpdir": str(path.parent), **_NO_INTERPRETATION}
    book = xlsxwriter.Workbook(str(path), options)
    book.set_properties({"created": _EPOCH})
    try:
        for sheet in sheets:
            _write_sheet(book, sheet)
        if facts is not None:
            _write_facts(book, facts, sheets)
    finally:
        try:
            book.close()
        except xlsxwriter.exceptions.FileCreateError as error:
            raise OSError(getattr(error.args[0], "errno", None), str(error.args[0])) from error


def write_results_workbook(
    path: Path,
    slides: pa.RecordBatch,
    images: pa.Schema,
    batches: Iterable[pa.RecordBatch],
    record: Mapping[str, object],
) -> None:
    """The results of a run as one workbook: sheets Slides, Cells (continued in Cells 2, ...) and Run.

    Args:
        path: file to write.
        slides: the slide table.
        images: schema of the image table.
        batches: the image table.
        record: the run record as a JSON object.
    """
    write_workbook(
        path,
        [
            Sheet("Slides", slides.schema, [slides], 'OR(LEN({alerts})>0,{adequacy}="<100",LEN({withheld})>0)'),
            Sheet("Cells", images, batches, 'OR({status}="failed",{review}=TRUE)'),
        ],
        record,
    )


def _write_sheet(book: xlsxwriter.Workbook, sheet: Sheet) -> None:
    rows = (row for batch in sheet.batches for row in zip(*(c.to_pylist() for c in batch.columns), strict=True))
    formats = _column_formats(book, sheet.schema)
    number = 0
    row = next(rows, None)
    while row is not None or number == 0:
        number += 1
        page = book.add_worksheet(sheet.name if number == 1 else f"{sheet.name} {number}")
        _prepare(book, page, sheet, formats)
        last = 0
        while row is not None and last < MAX_ROWS - 1:
            last += 1
            _write_row(page, last, row, formats)
            row = next(rows, None)
        _finish(book, page, sheet, last)


def _column_formats(book: xlsxwriter.Workbook, schema: pa.Schema) -> list[Format]:
    formats = {key: book.add_format({"num_format": code}) for key, code in _NUMBER_FORMATS.items()}
    text, whole = book.add_format({"num_format": "@"}), book.add_format({"num_format": "0"})
    general = book.add_format()

    def choose(field: pa.Field) -> Format:
        if pa.types.is_string(field.type):
            return text
        if pa.types.is_integer(field.type):
            return whole
        return next((found for key, found in formats.items() if key in field.name), general)

    return [choose(field) for field in schema]


def _prepare(book: xlsxwriter.Workbook, page: Worksheet, sheet: Sheet, formats: Sequence[Format]) -> None:
    look = {"bold": True, "bg_color": "#DCE6F1", "bottom": 1, "text_wrap": True, "valign": "top"}
    head, number_head = book.add_format(look), book.add_format(look | {"align": "right"})
    page.freeze_panes(1, 1)
    for position, (field, style) in enumerate(zip(sheet.schema, formats, strict=True)):
        page.set_column(position, position, _WIDTHS.get(field.name, max(9, min(26, len(field.name) + 3))), style)
    for position, field in enumerate(sheet.schema):
        is_number = pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
        page.write_string(0, position, field.name, number_head if is_number else head)


def _write_row(page: Worksheet, number: int, row: tuple[object, ...], formats: Sequence[Format]) -> None:
    for position, (value, style) in enumerate(zip(row, formats, strict=True)):
        if value is None:
            continue
        if isinstance(value, str):
            if page.write_string(number, position, value, style) != 0:  # XlsxWriter would leave the cell empty
                message = f"A text of {len(value):,} characters doesn't fit into a cell: {value[:60]!r}..."
                raise OutputError(message, hint="Write Parquet or CSV instead.")
        elif isinstance(value, bool):
            page.write_boolean(number, position, value, style)
        elif isinstance(value, int | float) and math.isfinite(value):
            page.write_number(number, position, value, style)
        else:
            page.write_string(number, position, str(value), style)


def _finish(book: xlsxwriter.Workbook, page: Worksheet, sheet: Sheet, last: int) -> None:
    width = len(sheet.schema) - 1
    page.autofilter(0, 0, max(last, 1), width)
    page.set_landscape()
    page.repeat_rows(0)
    page.repeat_columns(0)
    if sheet.highlight and last:
        names = {field.name: f"${xl_col_to_name(position)}2" for position, field in enumerate(sheet.schema)}
        rule = {
            "type": "formula",
            "criteria": "=" + sheet.highlight.format(**names),
            "format": book.add_format({"bg_color": "#FFF2CC"}),
        }
        page.conditional_format(1, 0, last, width, rule)


def _write_facts(book: xlsxwriter.Workbook, facts: Mapping[str, object], sheets: Sequence[Sheet]) -> None:
    page = book.add_worksheet("Run")
    bold = book.add_format({"bold": True, "num_format": "@", "valign": "top"})
    text = book.add_format({"num_format": "@", "text_wrap": True, "valign": "top"})
    banner = book.add_format({"bold": True, "font_color": "#9C0006", "bg_color": "#FFC7CE"})
    page.set_column(0, 0, 44, bold)
    page.set_column(1, 1, 110, text)
    page.write_string(0, 0, str(facts.get("notice", "")), banner)
    page.write_blank(0, 1, None, banner)
    lines = [(key, value) for key, value in _flattened(facts) if key != "notice"]
    lines += [("", ""), ("Columns", "")]
    for sheet in sheets:
        lines += [(f"{sheet.name}: {f.name}", (f.metadata or {}).get(b"meaning", b"").decode()) for f in sheet.schema]
    for number, (key, value) in enumerate(lines, start=1):
        page.write_string(number, 0, key, bold)
        page.write_string(number, 1, value, text)
    page.freeze_panes(1, 0)


def _flattened(facts: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested facts as dotted names and texts; a list is one line, shortened where a cell would get too long."""
    for key, value in facts.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _flattened(value, f"{name}.")
        elif isinstance(value, list):
            whole = ", ".join(v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for v in value)
            short = whole[:_LARGEST_PARAGRAPH] + f"... ({len(value)} entries, all in the run record)"
            yield name, whole if len(whole) <= _LARGEST_PARAGRAPH else short
        else:
            yield name, "" if value is None else str(value)
