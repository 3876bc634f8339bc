import csv
import json
import os
import subprocess
from pathlib import Path

import openpyxl
import pyarrow as pa
import pytest
from conftest import draw_picture, encode, office
from default_tables import IMAGE_SCHEMA, SLIDE_SCHEMA
from processes import PATIENCE_S

from bloodcell_batch.cell_classes import RESEARCH_USE_ONLY
from bloodcell_batch.config.classify import ClassifyConfig
from bloodcell_batch.errors import OutputError
from bloodcell_batch.results import workbook
from bloodcell_batch.results.workbook import Sheet, write_workbook
from bloodcell_batch.runs.pipeline import classify_slides

NAMES = [
    "007",
    "2E5",
    "=A1",
    "1-2",
    "@x",
    "+1",
    "-12",
    "TRUE",
    "1/2",
    "_x0041_",
    "ü日本",
    " padded ",
    '=HYPERLINK("x")',
]
SCHEMA = pa.schema([("name", pa.string()), ("n", pa.int64()), ("x_percent", pa.float64()), ("yes", pa.bool_())])


def _batch(names: list[str]) -> pa.RecordBatch:
    rows = len(names)
    columns = [names, list(range(rows)), [i / 3 for i in range(rows)], [i % 2 == 0 for i in range(rows)]]
    return pa.RecordBatch.from_arrays(
        [pa.array(c, f.type) for c, f in zip(columns, SCHEMA, strict=True)], schema=SCHEMA
    )


@pytest.fixture(scope="module")
def odd_slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workbook of slides whose names a spreadsheet would love to change."""
    folder = tmp_path_factory.mktemp("odd")
    for seed, slide in enumerate(["007", "2E5", "=A1", "1-2"]):
        for copy in range(2):
            path = folder / "slides" / slide / f"=SUM({copy}).jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode(draw_picture(10 * seed + copy)))
    (folder / "slides" / "007" / "1-2.jpg").write_bytes(b"")
    out = folder / "results.xlsx"
    classify_slides(folder / "slides", str(out), ClassifyConfig(backend="openvino"))
    classify_slides(folder / "slides", str(folder / "plain.csv"), ClassifyConfig(backend="openvino"))
    return out


class TestWorkbook:
    def test_cells_have_types_and_names_stay(self, tmp_path: Path) -> None:
        write_workbook(tmp_path / "t.xlsx", [Sheet("Table", SCHEMA, [_batch(NAMES)])])
        page = openpyxl.load_workbook(tmp_path / "t.xlsx")["Table"]
        rows = list(page.iter_rows(min_row=2))
        # openpyxl leaves Excel's escape of a literal _x0041_ in place
        assert [row[0].value for row in rows] == [n.replace("_x0041_", "_x005F_x0041_") for n in NAMES]
        assert all(row[0].data_type in {"s", "inlineStr"} and row[0].number_format == "@" for row in rows)
        assert [row[1].value for row in rows] == list(range(len(NAMES)))
        assert [row[2].value for row in rows] == pytest.approx([i / 3 for i in range(len(NAMES))], rel=1e-15)
        assert {row[3].data_type for row in rows} == {"b"}

    def test_header_is_frozen_filtered_and_wide_enough(self, tmp_path: Path) -> None:
        write_workbook(tmp_path / "t.xlsx", [Sheet("Table", SCHEMA, [_batch(NAMES)], "{n}>3")])
        page = openpyxl.load_workbook(tmp_path / "t.xlsx")["Table"]
        assert page.freeze_panes == "B2"
        assert page.auto_filter.ref == f"A1:D{len(NAMES) + 1}"
        assert page.column_dimensions["C"].width > 9
        (rules,) = page.conditional_formatting
        assert rules.rules[0].formula == ["$B2>3"]

    def test_nothing_is_lost_beyond_the_rows_of_a_sheet(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(workbook, "MAX_ROWS", 5)
        write_workbook(tmp_path / "t.xlsx", [Sheet("Cells", SCHEMA, [_batch(NAMES[:6]), _batch(NAMES[6:9])])])
        book = openpyxl.load_workbook(tmp_path / "t.xlsx")
        assert book.sheetnames == ["Cells", "Cells 2", "Cells 3"]
        names = [row[0] for page in book for row in page.iter_rows(min_row=2, values_only=True)]
        assert names == NAMES[:9]
        assert all(page["A1"].value == "name" for page in book)

    def test_not_a_number_and_null(self, tmp_path: Path) -> None:
        batch = pa.RecordBatch.from_arrays(
            [pa.array(["a"]), pa.array([None], pa.int64()), pa.array([float("nan")]), pa.array([None], pa.bool_())],
            schema=SCHEMA,
        )
        write_workbook(tmp_path / "t.xlsx", [Sheet("Table", SCHEMA, [batch])])
        page = openpyxl.load_workbook(tmp_path / "t.xlsx")["Table"]
        assert [cell.value for cell in page[2]] == ["a", None, "nan", None]

    def test_a_text_too_long_for_a_cell_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match="32,768 characters"):
            write_workbook(tmp_path / "t.xlsx", [Sheet("Table", SCHEMA, [_batch(["a" * 32768])])])

    def test_a_folder_that_is_not_there_is_an_os_error(self, tmp_path: Path) -> None:
        with pytest.raises(OSError, match="nowhere"):
            write_workbook(tmp_path / "nowhere" / "t.xlsx", [])


class TestResults:
    def test_three_sheets(self, odd_slides: Path) -> None:
        book = openpyxl.load_workbook(odd_slides)
        assert book.sheetnames == ["Slides", "Cells", "Run"]
        assert [cell.value for cell in book["Slides"][1]] == SLIDE_SCHEMA.names
        assert [cell.value for cell in book["Cells"][1]] == IMAGE_SCHEMA.names
        assert book["Cells"].max_row == 1 + 9

    def test_the_run_sheet_says_what_made_the_numbers(self, odd_slides: Path) -> None:
        rows = {row[0].value: row[1].value for row in openpyxl.load_workbook(odd_slides)["Run"].iter_rows()}
        record = json.loads(odd_slides.with_name("results.run.json").read_text(encoding="utf-8"))
        assert RESEARCH_USE_ONLY in rows
        assert rows["model.sha256"] == record["model"]["sha256"]
        assert rows["denominator"].startswith("wbc = neutrophil + ")
        assert rows["versions.python"] == record["versions"]["python"]
        assert rows["Slides: nrbc_per_100_wbc"] == "nucleated red cells per 100 leukocytes"

    def test_libreoffice_changes_no_name_and_no_number(self, odd_slides: Path, tmp_path: Path) -> None:
        # 76 = UTF-8; all sheets (-1), values as stored, not as shown
        options = "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,false,false,false,false,-1"
        command = [office(), f"-env:UserInstallation=file://{tmp_path}/profile", "--headless", "--convert-to", options]
        subprocess.run(
            [*command, "--outdir", str(tmp_path), str(odd_slides)],
            check=True, capture_output=True, timeout=PATIENCE_S, env=os.environ | {"HOME": str(tmp_path)},
        )  # fmt: skip
        slides: set[str] = set()
        pairs = (("results-Cells.csv", "plain.csv"), ("results-Slides.csv", "plain.slides.csv"))
        for converted, ours in pairs:
            with (tmp_path / converted).open(newline="", encoding="utf-8") as handle:
                there = list(csv.DictReader(handle))
            with odd_slides.with_name(ours).open(newline="", encoding="utf-8") as handle:
                here = list(csv.DictReader(handle))
            assert len(there) == len(here) > 0
            slides |= {row["slide_id"] for row in there}
            for theirs, row in zip(there, here, strict=True):
                for name, value in row.items():
                    assert _same(value, theirs[name]), (name, value, theirs[name])
        assert slides == {"007", "2E5", "=A1", "1-2"}


def _same(ours: str, theirs: str) -> bool:
    """Texts are equal letter by letter; LibreOffice writes numbers and booleans in its own way."""
    if ours == theirs or ours.upper() == theirs:
        return True
    try:
        return float(ours) == pytest.approx(float(theirs), rel=1e-12) and ours not in {"007", "2E5"}
    except ValueError:
        return False
