import subprocess
from pathlib import Path

import openpyxl
import pyarrow as pa
import pytest
from conftest import office
from processes import PATIENCE_S

from bloodcell_batch.files.spreadsheets import EXCEL_MARK, neutralised, restored
from bloodcell_batch.results.formats import read_table, write_csv

CHANGED = [
    *["=A1", "+1", "-12", "@x", "\tx", "\rx", "'x", "007", "2E5", "1-2", "1/2", "3:15", "12:00 pm", "1.5", "1 1/2"],
    *["TRUE", "false", "SEPT2", "1-MAR", "MARCH1", "3:15pm", "5 %", "jan 5 2026", "1,000", " 7 ", "5-", "12.", "1.5."],
    *["(12)", "$(5)", "3 A", "12 P", "3:15 p.m.", "($5)", "-$5", "€ 5", "5 kr", "12 zł", "CHF 5", "1'234", "1.234,5"],
    *["WAHR", "FALSCH", "VRAI", "faux", "VERDADERO", "FALSO", "Vero", "VERDADEIRO", "WAAR", "PRAWDA", "SANT", "TOSI"],
    *["12-Okt", "1-Mai", "5-Dez", "12. Oktober 2024", "Okt 12", "12 janv. 2024", "5 août", "3-févr", "1 gen 24"],
    *["1-ene", "1 de mayo de 2024", "1-ago-2024", "12-mrt", "1 maj", "1 sty", "mai-24", "März 3", "3-paź"],
    *["2024-05-01T10:30", "2024-05-01T10:30:00Z", "Montag, 3. Januar 2024", "Mo 3.1.2024", "#N/A", "#DIV/0!", "#NV"],
]
UNCHANGED = ["", "S-2026-001", "007/cell 7.jpg", "neutrophil", "outlier", "A=1", "x-1", "ü", "Slide 12", "Träger 4"]
UNCHANGED += [
    "12A",
    "A1",
    "Patient-7",
    "cell_00012.jpg",
    "#1 of 2",
    "5 of 6",
    "1st",
    "Q1",
    "Dec",
    "lymphocyte",
    "s/1.png",
]


@pytest.mark.parametrize("text", CHANGED)
def test_what_a_spreadsheet_would_change_gets_an_apostrophe_and_comes_back(text: str) -> None:
    assert neutralised(text) == f"'{text}"
    assert restored(neutralised(text)) == text


@pytest.mark.parametrize("text", UNCHANGED)
def test_what_it_would_not_stays(text: str) -> None:
    assert neutralised(text) == text
    assert restored(text) == text


def test_the_months_of_all_these_languages() -> None:
    dates = pytest.importorskip("babel.dates")
    missed = [
        f"{language}: 5 {name}"
        for language in ("cs", "da", "de", "en", "es", "fi", "fr", "hu", "it", "nb", "nl", "pl", "pt", "ro", "sv")
        for width in ("abbreviated", "wide")
        for context in ("format", "stand-alone")
        for name in dates.get_month_names(width, context, language).values()
        if not neutralised(f"5 {name}").startswith("'")
    ]
    assert missed == []


@pytest.mark.parametrize("language", [1033, 1031, 1036])  # Windows' numbers of English, German and French
def test_libreoffice_changes_nothing(language: int, tmp_path: Path) -> None:
    texts = [text for text in CHANGED + UNCHANGED if text.strip() and "\r" not in text and "\t" not in text]
    lines = "".join(f'"{neutralised(text)}"\n' for text in texts)
    (tmp_path / "t.csv").write_text(f"{EXCEL_MARK}name\n{lines}", encoding="utf-8")
    _convert(tmp_path, f"44,34,76,1,,{language},false,true", "xlsx")
    sheet = openpyxl.load_workbook(tmp_path / "t.xlsx").worksheets[0]
    read = [row[0].value for row in sheet.iter_rows(min_row=2, max_col=1)]
    assert [value if isinstance(value, str) else repr(value) for value in read] == [neutralised(text) for text in texts]


@pytest.mark.parametrize("language", [1031, 1036])  # German and French, which write 0,5
def test_libreoffice_where_commas_are_decimal_opens_numbers_as_numbers(language: int, tmp_path: Path) -> None:
    schema = pa.schema([("slide_id", pa.string()), ("n", pa.int64()), ("percent", pa.float64())])
    numbers = [0.5, 1.5, 12.5, 59.13, 1 / 3, 100.0, 1.5e-7, None]  # 1.5 and 12.5 would be days in May
    rows = {
        "slide_id": ["1.5", "a;b", "12,5", "x", "=A1", "y", "ü", "z"],
        "n": [1234567, *range(7)],
        "percent": numbers,
    }
    table = pa.table(rows, schema=schema)
    write_csv(tmp_path / "t.csv", schema, table.to_batches(), "excel-comma")
    rule = f"59,34,76,1,,{language},false,true"
    _convert(tmp_path, rule, "xlsx")
    sheet = openpyxl.load_workbook(tmp_path / "t.xlsx").worksheets[0]
    read = [row[2].value for row in sheet.iter_rows(min_row=2, max_col=3)]
    assert read == [number if number is None else pytest.approx(number, rel=1e-12) for number in numbers]
    # What such a spreadsheet saves is still a table of ours.
    _convert(tmp_path, rule, f"csv:Text - txt - csv (StarCalc):59,34,76,1,,{language},false,false", "saved")
    saved = read_table(tmp_path / "saved" / "t.csv", schema)
    assert saved.column("n").to_pylist() == table.column("n").to_pylist()
    assert saved.column("percent").to_pylist() == read


def _convert(folder: Path, rule: str, form: str, to: str = ".") -> None:
    """Open `t.csv` by this rule, and save it in this form."""
    profile = f"-env:UserInstallation=file://{folder}/profile"
    command = [office(), profile, "--headless", f"--infilter=CSV:{rule}", "--convert-to", form, "--outdir", to, "t.csv"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=PATIENCE_S)
