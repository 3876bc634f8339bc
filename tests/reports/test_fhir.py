import json
from pathlib import Path
from typing import Any

import pytest
from finished_run import Run, write_run
from program_commands import app
from typer.testing import CliRunner

from bloodcell_batch.cell_classes import DEFAULT_CLASSES, RESEARCH_USE_ONLY
from bloodcell_batch.differential.not_excluded import BLASTS_NOT_EXCLUDED
from bloodcell_batch.records import ImageFile, Outcome, Reason, Rejection, Status


def _export(table: Path, out: Path, *options: str | Path) -> dict[str, Any]:
    result = CliRunner().invoke(app, ["export-fhir", str(table), "--out", str(out), *map(str, options)])
    assert result.exit_code == 0, result.output
    bundle: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return bundle


def _valid(bundle: dict[str, Any]) -> None:
    """By the models that fhir.resources generates from the specification (R4B, which left Observation as in R4)."""
    models = pytest.importorskip("fhir.resources.R4B.bundle")
    again = json.loads(models.Bundle.model_validate(bundle).model_dump_json())
    assert len(again["entry"]) == len(bundle["entry"])


def test_a_panel_and_seven_members_per_slide(run: Run, tmp_path: Path) -> None:
    bundle = _export(run.table, tmp_path / "b.json")
    _valid(bundle)
    resources = [entry["resource"] for entry in bundle["entry"]]
    assert len(resources) == 4 * 8
    assert {resource["status"] for resource in resources} == {"preliminary"}
    ids = {entry["fullUrl"] for entry in bundle["entry"]}
    assert len(ids) == len(resources)
    panels = [resource for resource in resources if "hasMember" in resource]
    assert len(panels) == 4
    assert all(member["reference"] in ids for panel in panels for member in panel["hasMember"])
    assert [panel["specimen"]["identifier"]["value"] for panel in panels] == ["007", "1-2", "2E5", "=A1"]
    assert all(resource["note"][0]["text"] == RESEARCH_USE_ONLY for resource in resources)
    neutrophils = next(r for r in resources if r["code"]["coding"][0]["code"] == "26511-6")
    assert neutrophils["valueQuantity"] == {
        "value": 54.5455, "unit": "%", "system": "http://unitsofmeasure.org", "code": "%",
    }  # fmt: skip
    assert neutrophils["note"][1]["text"] == (
        "95 % limits, which cover sampling and every class that unclassified cells could be: 33.7 to 73.6 %"
    )
    panel_notes = {note["text"] for panel in panels for note in panel["note"]}
    assert BLASTS_NOT_EXCLUDED in panel_notes
    nrbc = next(r for r in resources if r["code"]["coding"][0]["code"] == "19048-8")
    assert (nrbc["valueQuantity"]["value"], nrbc["valueQuantity"]["code"]) == (0, "/100{WBCs}")


def test_without_leukocytes_there_is_a_reason_and_no_value(tmp_path: Path) -> None:
    outcomes: tuple[Outcome, ...] = (Rejection(ImageFile("s/a.jpg", "s", 0, 0), Status.FAILED, Reason.EMPTY),)
    bundle = _export(write_run(tmp_path, outcomes, tmp_path / "r.csv"), tmp_path / "b.json")
    _valid(bundle)
    members = [entry["resource"] for entry in bundle["entry"][1:]]
    assert len(members) == len(DEFAULT_CLASSES.leukocytes) + 1
    assert all("dataAbsentReason" in member and "valueQuantity" not in member for member in members)


def test_every_quantity_has_limits_and_what_is_withheld_has_a_reason(run: Run, tmp_path: Path) -> None:
    cells = [outcome for outcome in run.outcomes if outcome.status in {Status.CLASSIFIED, Status.UNCLASSIFIED}]
    few = [cell for cell in cells if cell.file.slide_id != "007" or cell.status is Status.UNCLASSIFIED]
    kept = [cell for cell in cells if cell.file.slide_id == "007" and cell.status is Status.CLASSIFIED][:9]
    bundle = _export(write_run(run.images, (*few, *kept), tmp_path / "r.csv"), tmp_path / "b.json")
    _valid(bundle)
    resources = [entry["resource"] for entry in bundle["entry"]]
    quantities = [one for one in resources if "valueQuantity" in one]
    assert {one["specimen"]["identifier"]["value"] for one in quantities} == {"1-2", "2E5", "=A1"}
    assert all("95 % limits" in one["note"][1]["text"] for one in quantities)
    absent = [one for one in resources if "dataAbsentReason" in one]
    assert len(absent) == len(DEFAULT_CLASSES.leukocytes) + 1
    assert all(one["dataAbsentReason"]["text"].startswith("too_many_unclassified: ") for one in absent)


def test_pseudonyms_and_no_path_of_the_machine(run: Run, tmp_path: Path, key_file: Path) -> None:
    _export(run.table, tmp_path / "b.json", "--pseudonymize", key_file)
    text = (tmp_path / "b.json").read_text(encoding="utf-8")
    assert "=A1" not in text
    assert str(run.images.parent) not in text


def test_equal_results_give_equal_bundles(run: Run, tmp_path: Path) -> None:
    assert _export(run.table, tmp_path / "a.json") == _export(run.copy(tmp_path / "r.xlsx"), tmp_path / "b.json")
