"""Output formats: the table here is the only list of them; file names, help and errors read it.

pyarrow is imported where it is used, so that `--help` can read the table without it.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from bloodcell_batch.config.fields import CsvDialect
from bloodcell_batch.errors import InputError, UsageError
from bloodcell_batch.files.spreadsheets import EXCEL_MARK, neutralised

if TYPE_CHECKING:
    import pyarrow as pa

STDOUT = "-"
_GIVE_A_TABLE = "Give the table that `bloodcell-batch classify --out` wrote."


def write_parquet(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    """Parquet with zstd, one row group a batch."""
    import pyarrow.parquet as pq  # noqa: PLC0415 - see the module's docstring

    # An open file: Arrow takes a name with a colon for a URI, and no name that is not UTF-8.
    with path.open("wb") as handle, pq.ParquetWriter(handle, schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch)


@dataclass(frozen=True, slots=True)
class CsvForm:
    """What stands between the values and in the numbers of a CSV, and whether a spreadsheet may open it unharmed.

    For spreadsheets, it begins with a byte-order mark, and texts that they would change start with an apostrophe.
    """

    delimiter: str = ","
    decimal: str = "."
    for_spreadsheets: bool = False


CSV_FORMS: Mapping[CsvDialect, CsvForm] = {
    "plain": CsvForm(),
    "excel": CsvForm(for_spreadsheets=True),
    # Where people write 0,5, a spreadsheet takes 0.5 for text and 1.5 for the first of May, and splits at semicolons.
    "excel-comma": CsvForm(";", ",", for_spreadsheets=True),
}


def write_csv(
    path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch], csv_dialect: CsvDialect = "plain"
) -> None:
    """UTF-8 CSV with LF line ends: see `write_csv_text`."""
    with path.open("w", newline="", encoding="utf-8") as handle:
        write_csv_text(handle, schema, batches, csv_dialect)


def write_csv_text(
    handle: TextIO, schema: pa.Schema, batches: Iterable[pa.RecordBatch], csv_dialect: CsvDialect = "plain"
) -> None:
    """CSV to an open text stream: nulls are empty, booleans `true`/`false`, numbers in their shortest form."""
    form = CSV_FORMS[csv_dialect]
    guard = neutralised if form.for_spreadsheets else str
    handle.write(EXCEL_MARK if form.for_spreadsheets else "")
    plain = csv.writer(handle, delimiter=form.delimiter, lineterminator="\n")
    quoting = csv.writer(handle, delimiter=form.delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL)
    plain.writerow(schema.names)
    for batch in batches:
        columns = [
            [guard(value) if isinstance(value, str) else _text(value, form.decimal) for value in column.to_pylist()]
            for column in batch.columns
        ]
        for row in zip(*columns, strict=True):
            # The csv module leaves a lone carriage return unquoted, and then refuses to read it back.
            (quoting if any("\r" in text for text in row) else plain).writerow(row)


def _text(value: object, decimal: str) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value).replace(".", decimal) if isinstance(value, float) else str(value)


def write_xlsx(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    """One table as a workbook with one sheet."""
    from bloodcell_batch.results.workbook import Sheet, write_workbook  # noqa: PLC0415 - see the module's docstring

    write_workbook(path, [Sheet("Table", schema, batches)])


def _parquet_table(*arguments: Any) -> pa.Table:  # noqa: ANN401 - passed on
    from bloodcell_batch.results.table_reading import parquet_table  # noqa: PLC0415 - see the module's docstring

    return parquet_table(*arguments)


def _csv_table(*arguments: Any) -> pa.Table:  # noqa: ANN401 - passed on
    from bloodcell_batch.results.table_reading import csv_table  # noqa: PLC0415 - see the module's docstring

    return csv_table(*arguments)


def _workbook_table(*arguments: Any) -> pa.Table:  # noqa: ANN401 - passed on
    from bloodcell_batch.results.table_reading import workbook_table  # noqa: PLC0415 - see the module's docstring

    return workbook_table(*arguments)


@dataclass(frozen=True, slots=True)
class TableFormat:
    """How tables are written to a kind of file, and read back: (path, schema, optional fields, name of the sheets).

    With `one_file`, a run's tables and facts are the sheets of one file.
    """

    write: Callable[[Path, pa.Schema, Iterable[pa.RecordBatch]], None]
    read: Callable[[Path, pa.Schema, tuple[pa.Field, ...], str], pa.Table]
    one_file: bool = False


OUTPUT_FORMATS: dict[str, TableFormat] = {
    ".parquet": TableFormat(write_parquet, _parquet_table),
    ".csv": TableFormat(write_csv, _csv_table),
    ".xlsx": TableFormat(write_xlsx, _workbook_table, one_file=True),
}
ONE_FILE = frozenset(suffix for suffix, kind in OUTPUT_FORMATS.items() if kind.one_file)
CELLS_SHEET = "Cells"


def table_writer(suffix: str, csv_dialect: CsvDialect) -> Callable[[Path, pa.Schema, Iterable[pa.RecordBatch]], None]:
    """What writes a table in this format; CSV in this dialect."""
    if suffix == ".csv" and csv_dialect != "plain":
        return partial(write_csv, csv_dialect=csv_dialect)
    return OUTPUT_FORMATS[suffix].write


def read_table(path: Path, schema: pa.Schema, optional: Iterable[pa.Field] = (), sheet: str = CELLS_SHEET) -> pa.Table:
    """Read a table that this program wrote.

    Args:
        path: `.parquet`, `.csv` (in any dialect) or `.xlsx`.
        schema: the columns it must have.
        optional: columns that it may have besides.
        sheet: name of the sheets, continued with a number, that hold the table in a workbook.

    Raises:
        InputError: missing, unreadable, another format, a missing column, or a value of the wrong type.
    """
    from bloodcell_batch.results.table_reading import UNREADABLE  # noqa: PLC0415 - see the module's docstring

    check_is_table(path)
    try:
        return OUTPUT_FORMATS[path.suffix.lower()].read(path, schema, tuple(optional), sheet)
    except UNREADABLE as error:
        raise InputError(f"Can't read the table {path}: {error}.", hint=_GIVE_A_TABLE) from error


def check_is_table(path: Path) -> None:
    """Refuse what can't be a table by its name, or is not there.

    Raises:
        InputError: it is missing, or of another format.
    """
    if path.suffix.lower() not in OUTPUT_FORMATS:
        wrong = f"{path} is not a table: its name ends in none of {', '.join(OUTPUT_FORMATS)}."
        raise InputError(wrong, hint=_GIVE_A_TABLE)
    if not path.exists():
        raise InputError(f"There is no file {path}.", hint=_GIVE_A_TABLE)


def format_names(stem: str = "NAME") -> str:
    """The file names that `--out` takes, for help and errors."""
    *others, last = (f"{stem}{suffix}" for suffix in OUTPUT_FORMATS)
    return f"{', '.join(others)} or {last}"


def output_suffix(out: str, csv_dialect: CsvDialect = "plain") -> str:
    """The format of an output path: a key of `OUTPUT_FORMATS`, or `STDOUT`.

    Raises:
        UsageError: the path ends in no known suffix, or a CSV dialect is given for another format.
    """
    suffix = STDOUT if out == STDOUT else Path(out).suffix.lower()
    if suffix != STDOUT and suffix not in OUTPUT_FORMATS:
        found = f"ends in {suffix!r}" if suffix else "has no suffix"
        raise UsageError(
            f"--out {out} {found}, which is not an output format.",
            hint=f"Use {format_names()}, or - for CSV on stdout.",
        )
    if csv_dialect != "plain" and suffix not in {".csv", STDOUT}:
        raise UsageError(f"--csv-dialect {csv_dialect} has no meaning for {out}.", hint="Use it with NAME.csv or -.")
    return suffix
