import csv
import io
from pathlib import Path
from typing import get_args

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bloodcell_batch.config.fields import CsvDialect
from bloodcell_batch.errors import InputError, UsageError
from bloodcell_batch.results.formats import (
    OUTPUT_FORMATS,
    STDOUT,
    format_names,
    output_suffix,
    read_table,
    write_csv,
    write_csv_text,
)

SCHEMA = pa.schema([("name", pa.string()), ("n", pa.int64()), ("x", pa.float64()), ("yes", pa.bool_())])
NAMES = [
    *["007", "2E5", "=A1", "1-2", "+1", "@x", "TRUE", "NA", "null", " padded ", "-"],
    *["a,b", 'say "hi"', "two\nlines", "carriage\rreturn", "both\r\n", "tab\t", "ü日本", "'", "#x"],
]


def _batch(rows: list[tuple[object, ...]]) -> pa.RecordBatch:
    columns = zip(*rows, strict=True)
    arrays = [pa.array(column, type=field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def _csv(*batches: pa.RecordBatch) -> str:
    handle = io.StringIO(newline="")
    write_csv_text(handle, SCHEMA, batches)
    return handle.getvalue()


class TestCsv:
    def test_text_form_of_the_values(self) -> None:
        text = _csv(_batch([("a", 1, 0.1, True), (None, None, None, None), ("b", -2, 1e-07, False)]))
        assert text == "name,n,x,yes\na,1,0.1,true\n,,,\nb,-2,1e-07,false\n"

    @pytest.mark.parametrize("number", [0.1, 1 / 3, 123456.789012, 0.987654, 5e-324, 100.0])
    def test_numbers_come_back_exactly(self, number: float) -> None:
        row = next(csv.DictReader(io.StringIO(_csv(_batch([("a", 1, number, True)])))))
        assert float(row["x"]) == number

    def test_a_column_without_values_is_empty(self) -> None:
        assert _csv(_batch([("a", None, None, None)] * 2)) == "name,n,x,yes\na,,,\na,,,\n"

    def test_no_batches_give_the_header(self) -> None:
        assert _csv() == "name,n,x,yes\n"

    def test_batches_follow_each_other(self) -> None:
        one, two = _batch([("a", 1, 0.5, True)]), _batch([("b", 2, 0.5, True)])
        assert _csv(one, two) == "name,n,x,yes\na,1,0.5,true\nb,2,0.5,true\n"

    @pytest.mark.parametrize("name", NAMES)
    def test_every_name_comes_back(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / "t.csv"
        OUTPUT_FORMATS[".csv"].write(path, SCHEMA, [_batch([(name, 1, 0.5, True), ("next", 2, 0.5, False)])])
        with path.open(newline="", encoding="utf-8") as handle:
            rows = list(csv.reader(handle))
        assert rows == [list(SCHEMA.names), [name, "1", "0.5", "true"], ["next", "2", "0.5", "false"]]

    def test_files_are_utf_8_without_a_mark_and_with_line_feeds(self, tmp_path: Path) -> None:
        path = tmp_path / "t.csv"
        OUTPUT_FORMATS[".csv"].write(path, SCHEMA, [_batch([("ü", 1, 0.5, True)])])
        assert path.read_bytes() == "name,n,x,yes\nü,1,0.5,true\n".encode()


class TestExcelCsv:
    def test_texts_are_disarmed_and_numbers_stay(self, tmp_path: Path) -> None:
        batch = _batch([("=A1", -1, -0.5, True), ("plain", 2, 1e-7, None)])
        write_csv(tmp_path / "t.csv", SCHEMA, [batch], "excel")
        text = (tmp_path / "t.csv").read_bytes().decode()
        assert text == "\ufeffname,n,x,yes\n'=A1,-1,-0.5,true\nplain,2,1e-07,\n"

    def test_semicolons_and_decimal_commas(self, tmp_path: Path) -> None:
        batch = _batch([("=A1", -1, -0.5, True), ("a;b,c.d", 2000, 1.5e-7, None)])
        write_csv(tmp_path / "t.csv", SCHEMA, [batch], "excel-comma")
        text = (tmp_path / "t.csv").read_bytes().decode()
        assert text == '\ufeffname;n;x;yes\n\'=A1;-1;-0,5;true\n"a;b,c.d";2000;1,5e-07;\n'

    @pytest.mark.parametrize("dialect", get_args(CsvDialect))
    def test_every_dialect_is_read_back_as_it_was(self, tmp_path: Path, dialect: CsvDialect) -> None:
        numbers = [0.1, 1 / 3, -123456.789012, 5e-324, 100.0, 1.5]
        batch = _batch([(name, len(name), numbers[i % len(numbers)], i % 2 == 0) for i, name in enumerate(NAMES)])
        write_csv(tmp_path / "t.csv", SCHEMA, [batch], dialect)
        assert read_table(tmp_path / "t.csv", SCHEMA).to_pylist() == batch.to_pylist()

    @pytest.mark.parametrize("text", ["1,234.5", "1,2,3", "0.5"])
    def test_a_number_is_in_the_decimals_of_its_file(self, tmp_path: Path, text: str) -> None:
        """1,234 may be a thousand or one and a bit: separators between the values say which."""
        (tmp_path / "t.csv").write_text(f'name,n,x,yes\na,1,"{text.replace(".", ",")}",true\n', encoding="utf-8")
        with pytest.raises(InputError, match="not of the type double"):
            read_table(tmp_path / "t.csv", SCHEMA)


class TestParquet:
    def test_columns_without_values_keep_their_types(self, tmp_path: Path) -> None:
        path = tmp_path / "t.parquet"
        OUTPUT_FORMATS[".parquet"].write(path, SCHEMA, [_batch([(None, None, None, None)] * 3)])
        table = pq.read_table(path)
        assert table.schema.equals(SCHEMA)
        assert [table.column(name).null_count for name in SCHEMA.names] == [3, 3, 3, 3]

    def test_one_row_group_a_batch(self, tmp_path: Path) -> None:
        path = tmp_path / "t.parquet"
        batches = [_batch([(name, 1, 0.5, True)] * 2) for name in NAMES]
        OUTPUT_FORMATS[".parquet"].write(path, SCHEMA, iter(batches))
        file = pq.ParquetFile(path)
        assert file.metadata.num_row_groups == len(NAMES)
        assert file.read().column("name").to_pylist()[::2] == NAMES

    def test_no_batches_give_an_empty_table(self, tmp_path: Path) -> None:
        path = tmp_path / "t.parquet"
        OUTPUT_FORMATS[".parquet"].write(path, SCHEMA, [])
        assert pq.read_table(path).schema.equals(SCHEMA)


class TestSuffix:
    @pytest.mark.parametrize(
        ("out", "suffix"),
        [("r.parquet", ".parquet"), ("a.b/r.x.csv", ".csv"), ("R.CSV", ".csv"), ("-", STDOUT), ("./-.csv", ".csv")],
    )
    def test_known(self, out: str, suffix: str) -> None:
        assert output_suffix(out) == suffix

    @pytest.mark.parametrize(
        ("out", "found"), [("r", "has no suffix"), ("r.xls", "ends in '.xls'"), ("a.csv/r", "no suffix")]
    )
    def test_unknown(self, out: str, found: str) -> None:
        with pytest.raises(UsageError, match=found) as caught:
            output_suffix(out)
        assert format_names() in caught.value.hint

    def test_names_for_help(self) -> None:
        assert all(f"x{suffix}" in format_names("x") for suffix in OUTPUT_FORMATS)
