"""`--wbc` in every command that has it."""

import csv
import json
import os
from pathlib import Path

import openpyxl
import pytest
from finished_run import Run
from program_commands import app
from typer.testing import CliRunner

# Of the 44 classified cells of each slide 24 are neutrophils, none is a nucleated red cell, and 6 are unclassified.
WBC = "slide_id,wbc,unit,nrbc_corrected\n007,11.0,10⁹/l,no\n1-2,8800,/µl,yes\nother,7,10⁹/l,no\n"


@pytest.fixture
def wbc(tmp_path: Path) -> Path:
    path = tmp_path / "wbc.csv"
    path.write_text(WBC, encoding="utf-8")
    return path


def _call(*arguments: str | Path) -> tuple[str, str]:
    result = CliRunner().invoke(app, [*map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.stdout, " ".join(result.stderr.split())


def test_the_slide_table(run: Run, wbc: Path) -> None:
    table, _ = _call("differential", run.table, "--wbc", wbc)
    rows = {row["slide_id"]: row for row in csv.DictReader(table.splitlines())}
    here, analyser, without = rows["007"], rows["1-2"], rows["2E5"]
    # 24 of 44 are 54.5 %: of 11.0 that is 6.0, of 8.8 it is 4.8
    assert (here["neutrophil_10e9_per_l"], analyser["neutrophil_10e9_per_l"]) == ("6.0", "4.8")
    assert (here["nrbc_corrected_by"], analyser["nrbc_corrected_by"]) == ("here", "analyser")
    assert (here["wbc_given_10e9_per_l"], here["wbc_10e9_per_l"], analyser["wbc_10e9_per_l"]) == ("11.0", "11.0", "8.8")
    # All 6 unclassified cells could be nucleated red cells: 6 of 50 are 12 % (limits 4.5 - 24.3); 75.7 % of 11.0 = 8.33
    assert float(here["wbc_10e9_per_l_low"]) == pytest.approx(8.33, abs=0.01)
    assert analyser["wbc_10e9_per_l_low"] == without["neutrophil_10e9_per_l"] == without["nrbc_corrected_by"] == ""


def test_a_workbook(run: Run, wbc: Path, tmp_path: Path) -> None:
    _, said = _call("differential", run.table, "--wbc", wbc, "--out", tmp_path / "d.xlsx")
    assert f"2 slides without a leukocyte count in {wbc}: 2E5, =A1" in said
    assert f"1 slide not in the results, but in {wbc}: other" in said
    head, *rows = openpyxl.load_workbook(tmp_path / "d.xlsx").worksheets[0].iter_rows(values_only=True)
    assert dict(zip(head, rows[0], strict=True))["neutrophil_10e9_per_l"] == 6.0


def test_the_report(run: Run, wbc: Path, tmp_path: Path) -> None:
    _, said = _call("report", run.table, "--wbc", wbc, "--out", tmp_path / "r.html")
    assert "warning: 1 slide not in the results" in said
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert text.count('<th scope="col" class="num">10⁹/l</th>') == 2
    assert "the analyser said 11.00; corrected here for nucleated red cells" in text
    assert "the analyser said 8.80; the analyser had corrected it" in text


def test_fhir(run: Run, wbc: Path, tmp_path: Path) -> None:
    models = pytest.importorskip("fhir.resources.R4B.bundle")
    _call("export-fhir", run.table, "--wbc", wbc, "--out", tmp_path / "b.json")
    bundle = json.loads((tmp_path / "b.json").read_text(encoding="utf-8"))
    models.Bundle.model_validate(bundle)
    resources = [entry["resource"] for entry in bundle["entry"]]
    assert len({resource["id"] for resource in resources}) == len(resources) == 4 * 8 + 2 * 7
    of_slide = [one for one in resources if one["specimen"]["identifier"]["value"] == "007"]
    by_code = {one["code"]["coding"][0]["code"]: one for one in of_slide}
    assert by_code["26499-4"]["valueQuantity"] == {
        "value": 6.0, "unit": "10*9/L", "system": "http://unitsofmeasure.org", "code": "10*9/L",
    }  # fmt: skip
    assert by_code["12227-5"]["valueQuantity"]["value"] == 11.0
    assert "the analyser said 11 x 10*9/L; corrected here" in by_code["12227-5"]["note"][2]["text"]
    assert len(by_code["69738-3"]["hasMember"]) == 7 + 7


def test_pseudonyms(run: Run, wbc: Path, tmp_path: Path, key_file: Path) -> None:
    out = tmp_path / "d.csv"
    _, said = _call("differential", run.table, "--wbc", wbc, "--pseudonymize", key_file, "--out", out)
    assert "007" not in said.replace(os.fspath(tmp_path), "")
    assert out.read_text(encoding="utf-8").count(",here,") == 1


def test_a_file_of_other_slides_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "wbc.csv").write_text("slide_id,wbc,unit,nrbc_corrected\n7,11,G/l,no\n", encoding="utf-8")
    result = CliRunner().invoke(app, ["differential", str(run.table), "--wbc", str(tmp_path / "wbc.csv")])
    assert result.exit_code == 1
    assert "is in the results; it has '7'" in " ".join(result.stderr.split())
