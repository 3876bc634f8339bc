"""Tables that people make, as CSV from any spreadsheet or as a workbook: rows of texts, each with its line number.

What spreadsheets of many countries do to a table is undone here, for all of them alike: byte-order marks,
semicolons and tabs between the values, CRLF, percentages that a cell shows as 60 % and holds as 0.6, empty lines at the
end. What can't be undone is an error that names the line; nothing is taken in silence.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from bloodcell_batch.errors import InputError
from bloodcell_batch.files.archives import check_workbook
from bloodcell_batch.files.library_errors import library_reads, read_one_by_one
from bloodcell_batch.files.spreadsheets import EXCEL_MARK, restored
from bloodcell_batch.progress import counted

_DELIMITERS = ",;\t"
_UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_MAX_ROWS, _MAX_COLUMNS = 1_048_576, 16_384  # of a sheet; a row may claim to stand anywhere
_LISTED = 5
_HINT = "Save it as CSV (UTF-8) or XLSX again."


@dataclass(frozen=True, slots=True)
class SheetRow:
    """One row: its line in the file, counted from 1 as a spreadsheet or an editor shows it, and text by column."""

    line: int
    values: dict[str, str]

    def __getitem__(self, column: str) -> str:
        return self.values[column]


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table: the names of its columns in order, and its rows without the empty ones."""

    columns: tuple[str, ...]
    rows: tuple[SheetRow, ...]


def read_sheet(path: Path, needed: Sequence[str] = (), sheet: str = "") -> Sheet:
    """Read a `.xlsx` workbook, or any other file as CSV.

    Args:
        path: the file.
        needed: columns that it must have.
        sheet: name of the workbook's sheet; the first if empty.

    Returns:
        Values without surrounding blanks in the names of the columns, and as they are in the rows; empty cells are "".

    Raises:
        InputError: missing or unreadable, a needed column is missing, two columns have one name, or a row has more
            values than there are columns; the text names the line.
    """
    try:
        lines = _workbook_lines(path, sheet) if path.suffix.lower() == ".xlsx" else _csv_lines(path)
        return _sheet(path, needed, lines)
    except FileNotFoundError as error:
        raise InputError(f"There is no file {path}.", hint="Check the name.") from error
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"Can't read {path}: {error}.", hint=_HINT) from error


def read_columns(path: Path) -> tuple[str, ...]:
    """The names of the columns of a table, as `read_sheet` reads it; none of an empty one.

    Raises:
        InputError: missing or unreadable.
    """
    try:
        lines = _workbook_lines(path, "") if path.suffix.lower() == ".xlsx" else _csv_lines(path)
        return tuple(filter(None, _head(lines)))
    except FileNotFoundError as error:
        raise InputError(f"There is no file {path}.", hint="Check the name.") from error
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"Can't read {path}: {error}.", hint=_HINT) from error


def _head(lines: Iterator[tuple[int, list[str]]]) -> list[str]:
    """The names in the first line that has any; the iterator stands behind it."""
    for _, head in lines:
        columns = _trimmed([name.strip() for name in head])
        if columns:
            return columns
    return []


def _sheet(path: Path, needed: Sequence[str], lines: Iterator[tuple[int, list[str]]]) -> Sheet:
    columns = _head(lines)
    twice = [name for name, count in Counter(columns).items() if count > 1 and name]
    if twice:
        hint = "Delete or rename one of them: which of the two counts can't be known."
        raise InputError(f"{path} has two columns named {twice[0]!r}.", hint=hint)
    missing = [name for name in needed if name not in columns]
    if missing:
        found = f"it has {', '.join(filter(None, columns))}" if any(columns) else "it has none"
        hint = f"The first line must name the columns {', '.join(needed)}."
        raise InputError(f"{path} lacks the column {', '.join(missing)}; {found}.", hint=hint)
    rows = []
    for line, values in lines:
        if len(_trimmed(values)) > len(columns):
            hint = "Put quotation marks around values that contain the separator."
            raise InputError(f"{path}, line {line}: the row has more values than there are columns.", hint=hint)
        if any(value.strip() for value in values):
            padded = [*values, *[""] * (len(columns) - len(values))]
            rows.append(SheetRow(line, {name: padded[place] for place, name in enumerate(columns) if name}))
    return Sheet(tuple(name for name in columns if name), tuple(rows))


def _trimmed(values: Sequence[str]) -> list[str]:
    """Without the empty values at the end, which spreadsheets add."""
    length = len(values)
    while length and not values[length - 1].strip():
        length -= 1
    return list(values[:length])


def _csv_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    data = path.read_bytes()
    if data.startswith(_UTF_16_MARKS):
        raise ValueError("it is UTF-16, as Excel saves 'Unicode Text'")
    marked = data.startswith(EXCEL_MARK.encode())
    text = data.decode("utf-8-sig")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    before = 0
    for values in reader:
        # Our own Excel CSV carries the mark, and apostrophes that are not part of its texts.
        yield before + 1, [restored(value) for value in values] if marked else values
        before = reader.line_num


def _delimiter(text: str) -> str:
    """The separator that the first line with text holds most often outside quotation marks."""
    head = next((line for line in text.splitlines() if line.strip()), "")
    bare = "".join(head.split('"')[::2])
    return max(_DELIMITERS, key=bare.count)


def _workbook_lines(path: Path, sheet: str) -> Iterator[tuple[int, list[str]]]:
    import openpyxl  # noqa: PLC0415 - most tables are CSV, and it takes a tenth of a second

    check_workbook(path)
    # Opened here: openpyxl leaves a file open that it can't read.
    with path.open("rb") as handle:
        with library_reads():
            book = openpyxl.load_workbook(handle, read_only=True, data_only=True)
        if sheet and sheet not in book.sheetnames:
            raise ValueError(f"the workbook has no sheet {sheet!r}")
        with library_reads():
            rows = book[sheet or book.sheetnames[0]].iter_rows(max_row=_MAX_ROWS, max_col=_MAX_COLUMNS)
        for line, cells in enumerate(read_one_by_one(rows), start=1):
            yield line, [_cell_text(cell) for cell in cells]


def _cell_text(cell: Any) -> str:  # noqa: ANN401 - openpyxl has three classes of cells
    """What the cell shows: 0.6 in the format 0% is 60%."""
    value = cell.value
    if value is None:
        return ""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if "%" in (cell.number_format or ""):
            return f"{100 * value:.10g}%"
        return f"{value:.15g}"
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    return str(value)


def listed_lines(lines: Iterable[int]) -> str:
    """Line numbers for a message: "line 4" or "lines 4, 7, 9 and 12 others"."""
    found = list(lines)
    named = ", ".join(str(line) for line in found[:_LISTED])
    more = f" and {counted(len(found) - _LISTED, 'other')}" if len(found) > _LISTED else ""
    return f"{'line' if len(found) == 1 else 'lines'} {named}{more}"
