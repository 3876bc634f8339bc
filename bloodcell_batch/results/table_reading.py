"""Reading our own tables back from every format that they are written in, with the types of their schema."""

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bloodcell_batch.errors import InputError
from bloodcell_batch.files.archives import check_workbook
from bloodcell_batch.files.library_errors import library_reads, read_one_by_one
from bloodcell_batch.files.spreadsheets import EXCEL_MARK, restored
from bloodcell_batch.progress import counted

_LEAST_ROWS, _ROWS_A_BYTE = 100_000, 4  # a repeated value costs next to nothing: a few bytes can claim any number
_MAX_ROWS, _MAX_COLUMNS = 1_048_576, 16_384  # of a sheet; a row may claim to stand anywhere
_BOOLEANS = {"true": True, "false": False}


def read_records(path: Path, sheet: str = "") -> list[dict[str, str]]:
    """Rows of a CSV file or of a workbook's sheet (the first one if not named) as texts; empty cells are "".

    Raises:
        InputError: missing, unreadable or another format.
    """
    try:
        if path.suffix.lower() == ".xlsx":
            return [{name: _as_text(value) for name, value in row.items()} for row in _workbook_rows(path, sheet)]
        return list(_csv_rows(path))
    except FileNotFoundError as error:
        raise InputError(f"There is no file {path}.", hint="Check the name.") from error
    except UNREADABLE as error:
        raise InputError(f"Can't read {path}: {error}.", hint="Save it as CSV (UTF-8) or XLSX again.") from error


UNREADABLE = (OSError, ValueError, csv.Error, pa.ArrowException)


def filled_rows(path: Path, columns: tuple[str, ...]) -> int:
    """How many rows have a value in one of these columns, as far as they are there; of a workbook, on all sheets.

    Raises:
        ValueError, OSError, csv.Error, pa.ArrowException: it is in none of our formats, or can't be read.
    """
    if path.suffix.lower() == ".parquet":
        found = (column.to_pylist() for column in read_parquet(path, [*columns]).columns)
        return sum(map(any, zip(*found, strict=True)))
    rows = _workbook_rows(path, None) if path.suffix.lower() == ".xlsx" else _csv_rows(path)
    return sum(any(row.get(column) for column in columns) for row in rows)


def parquet_table(path: Path, schema: pa.Schema, optional: tuple[pa.Field, ...], _sheet: str) -> pa.Table:
    """One of our tables from Parquet; see `formats.read_table` for what the readers take and give."""
    table = read_parquet(path, [*schema.names, *(field.name for field in optional)])
    target = _target(table.schema.names, schema, optional)
    return table.select(target.names).cast(target)


def read_parquet(path: Path, columns: list[str] | None = None) -> pa.Table:
    """A Parquet file as a table, unless it says that it has more rows than it has room for or its texts are not UTF-8.

    Only those of `columns` that it has, or all if None.

    Raises:
        ValueError, OSError: it can't be read.
    """
    with path.open("rb") as handle:
        with library_reads():
            file = pq.ParquetFile(handle)
        rows = file.metadata.num_rows
        if rows > _LEAST_ROWS + _ROWS_A_BYTE * path.stat().st_size:
            raise ValueError(f"it claims {counted(rows, 'row')}, too many for {path.stat().st_size:,} bytes")
        with library_reads():
            table = file.read(columns)
            table.validate(full=True)  # texts that are not UTF-8 would fail only where they are looked at
    return table


def csv_table(path: Path, schema: pa.Schema, optional: tuple[pa.Field, ...], _sheet: str) -> pa.Table:
    """One of our tables from CSV of any dialect, also as a spreadsheet of any country saved it again."""
    rows = list(_csv_rows(path))
    names = list(rows[0]) if rows else schema.names
    # Whoever separates values by semicolons does so because commas stand in the numbers.
    decimal = "," if _csv_head(path)[1] == ";" else "."
    return _typed(rows, _target(names, schema, optional), decimal)


def workbook_table(path: Path, schema: pa.Schema, optional: tuple[pa.Field, ...], sheet: str) -> pa.Table:
    """One of our tables from the sheets of a workbook whose names begin with `sheet`."""
    rows = list(_workbook_rows(path, sheet))
    names = list(rows[0]) if rows else schema.names
    return _typed(rows, _target(names, schema, optional))


def _target(names: Iterable[str], schema: pa.Schema, optional: tuple[pa.Field, ...]) -> pa.Schema:
    found = set(names)
    missing = [name for name in schema.names if name not in found]
    if missing:
        others = f" and {counted(len(missing) - 1, 'other')}" if len(missing) > 1 else ""
        raise ValueError(f"it has no column {missing[0]!r}{others}")
    more = [field for field in optional if field.name in found]
    return pa.schema([*schema, *more], metadata=schema.metadata)


def _csv_head(path: Path) -> tuple[bool, str]:
    """Whether a CSV begins with the mark of those for spreadsheets, and what separates its values."""
    with path.open(newline="", encoding="utf-8") as handle:
        head = handle.readline()
    # Spreadsheets of many countries save CSV with semicolons.
    return head.startswith(EXCEL_MARK), ";" if head.count(";") > head.count(",") else ","


def _csv_rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as handle:
        marked, delimiter = _csv_head(path)
        handle.seek(len(EXCEL_MARK.encode()) if marked else 0)
        for row in csv.DictReader(handle, delimiter=delimiter, restval="", strict=True):
            if None in row:
                raise ValueError("a row has more values than the header has names")
            yield {name: restored(value) for name, value in row.items()} if marked else row


def _workbook_rows(path: Path, sheet: str | None) -> Iterator[dict[str, Any]]:
    """Rows of the sheets whose names begin with `sheet`, of the first one if that is empty, of all if it is None."""
    check_workbook(path)
    # Opened here: openpyxl leaves a file open that it can't read.
    with path.open("rb") as handle:
        import openpyxl  # noqa: PLC0415 - a tenth of a second; `classify` looks here for a workbook, and mostly there is none
        from openpyxl.utils.escape import unescape  # noqa: PLC0415

        with library_reads():
            book = openpyxl.load_workbook(handle, read_only=True, data_only=True)
        names = [page.title for page in book.worksheets] if sheet is None else book.sheetnames[:1]
        if sheet:
            names = [name for name in book.sheetnames if name == sheet or name.startswith(f"{sheet} ")]
        if not names:
            raise ValueError(f"the workbook has no sheet {sheet!r}")
        for name in names:
            with library_reads():
                cells = book[name].iter_rows(max_row=_MAX_ROWS, max_col=_MAX_COLUMNS, values_only=True)
            rows = read_one_by_one(cells)
            head = [str(cell) for cell in next(rows, ()) if cell is not None]
            for row in rows:
                values = [unescape(value) if isinstance(value, str) else value for value in row[: len(head)]]
                if any(value is not None for value in values):
                    yield dict(zip(head, [*values, *[None] * (len(head) - len(values))], strict=True))


def _typed(rows: list[dict[str, Any]], schema: pa.Schema, decimal: str = ".") -> pa.Table:
    columns = []
    for field in schema:
        values = [_value(row[field.name], field, decimal) for row in rows]
        with library_reads():
            columns.append(pa.array(values, type=field.type))
    return pa.Table.from_arrays(columns, schema=schema)


def _value(value: Any, field: pa.Field, decimal: str) -> object:  # noqa: ANN401 - whatever a spreadsheet cell holds
    if value is None or value == "":
        return None
    try:
        if pa.types.is_string(field.type):
            return str(value)
        if pa.types.is_boolean(field.type):
            return value if isinstance(value, bool) else _BOOLEANS[str(value).lower()]
        if pa.types.is_integer(field.type):
            return int(str(value).removesuffix(".0"))  # int(3.7) would be 3
        return float(value.replace(decimal, ".") if isinstance(value, str) else value)
    except (ValueError, KeyError, OverflowError, TypeError) as error:
        raise ValueError(f"{value!r} in column {field.name!r} is not of the type {field.type}") from error


def _as_text(value: object) -> str:
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) and value.is_integer() else str(value)
