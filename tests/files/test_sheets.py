from pathlib import Path

import openpyxl
import pytest

from bloodcell_batch.errors import InputError
from bloodcell_batch.files.sheets import listed_lines, read_sheet

LINES = [["name", "n"], ["ä", "1"], ["b, c", ""]]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_csv_of_many_countries(tmp_path: Path, encoding: str, separator: str, end: str) -> None:
    text = end.join(separator.join(f'"{value}"' for value in line) for line in LINES) + end
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    sheet = read_sheet(tmp_path / "t.csv", ["n"])
    assert sheet.columns == ("name", "n")
    assert [(row.line, row.values) for row in sheet.rows] == [
        (2, {"name": "ä", "n": "1"}),
        (3, {"name": "b, c", "n": ""}),
    ]


def test_lines_are_those_that_an_editor_shows(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('\n name , n ,\na,1\n\n"two\nlines",2,\n,,\nb,3\n', encoding="utf-8")
    rows = read_sheet(tmp_path / "t.csv").rows
    assert [(row.line, row["name"], row["n"]) for row in rows] == [(3, "a", "1"), (5, "two\nlines", "2"), (8, "b", "3")]


def test_our_own_excel_csv_gives_its_names_back(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("\ufeffname\n'007\n'1-Mai\n'plain\n", encoding="utf-8")
    assert [row["name"] for row in read_sheet(tmp_path / "t.csv").rows] == ["007", "1-Mai", "'plain"]


def test_cells_of_a_workbook_are_what_they_show(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    page = book.worksheets[0]
    page.append(["name", "share", "whole", "flag", None])
    page.append(["007", 0.305, 12.0, True])
    page.append([None, None])
    page.append([7, 1 / 3, 1e6, None])
    for row in (2, 4):
        page.cell(row, 2).number_format = "0.0%"
    book.create_sheet("Other").append(["x"])
    book.save(tmp_path / "t.xlsx")
    sheet = read_sheet(tmp_path / "t.xlsx")
    assert [(row.line, *row.values.values()) for row in sheet.rows] == [
        (2, "007", "30.5%", "12", "True"),
        (4, "7", "33.33333333%", "1000000", ""),
    ]
    assert read_sheet(tmp_path / "t.xlsx", sheet="Other").columns == ("x",)
    with pytest.raises(InputError, match="no sheet 'None'"):
        read_sheet(tmp_path / "t.xlsx", sheet="None")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b,a\n1,2,3\n", "two columns named 'a'"),
        ("a, a\n1,2\n", "two columns named 'a'"),
        ("a,b\n1,2\n1,2,3\n", "line 3: the row has more values than there are columns"),
        ("", "lacks the column a; it has none"),
        ("b;c\n1;2\n", "lacks the column a; it has b, c"),
        ('a\n"x\n', "Can't read"),
    ],
)
def test_what_cannot_be_undone_is_an_error_that_says_where(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read_sheet(tmp_path / "t.csv", ["a"])
    assert said in str(caught.value)
    assert caught.value.hint


def test_unreadable_files(tmp_path: Path) -> None:
    (tmp_path / "latin.csv").write_bytes("a\nä\n".encode("latin-1"))
    (tmp_path / "wide.csv").write_text("a\n1\n", encoding="utf-16")
    (tmp_path / "t.xlsx").write_bytes(b"PK")
    for name, said in (
        *(("none.csv", "There is no file"), ("", "Can't read"), ("latin.csv", "utf-8")),
        *(("wide.csv", "UTF-16"), ("t.xlsx", "zip")),
    ):
        with pytest.raises(InputError, match=said):
            read_sheet(tmp_path / name)


def test_lines_in_messages() -> None:
    assert listed_lines([4]) == "line 4"
    assert listed_lines([4, 7]) == "lines 4, 7"
    assert listed_lines(range(1, 10)) == "lines 1, 2, 3, 4, 5 and 4 others"
