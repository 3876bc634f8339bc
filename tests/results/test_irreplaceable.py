"""No command replaces a review, or leaves a table without its run record."""

import csv
import hashlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import openpyxl
import pyarrow.parquet as pq
import pytest
from messy_slides import QUICK, draw_messy_slides, quick_backend
from openpyxl.chart import BarChart
from program_commands import app
from typer.testing import CliRunner

from bloodcell_batch.errors import OutputError, UsageError
from bloodcell_batch.files.spreadsheets import restored
from bloodcell_batch.results.file_names import result_files, run_record_of
from bloodcell_batch.results.finished import load_results
from bloodcell_batch.results.formats import OUTPUT_FORMATS
from bloodcell_batch.results.irreplaceable import check_outputs, check_unreviewed
from bloodcell_batch.runs.pipeline import classify_slides
from bloodcell_batch.slides.found import ScanResult
from bloodcell_batch.slides.rules import SlideRule
from bloodcell_batch.stages.scan import scan

VERIFIED = 5

each_format = pytest.mark.parametrize("suffix", OUTPUT_FORMATS)


def run(*words: str | Path) -> str:
    result = CliRunner().invoke(app, [*map(str, words)])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module", autouse=True)
def shared_backend() -> Iterator[None]:
    with quick_backend():
        yield


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_messy_slides(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def made(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`plain.parquet`, results without a review; `r.*`, the same reviewed, in a folder for each format; inputs."""
    folder = tmp_path_factory.mktemp("made")
    table = folder / "plain.parquet"
    classify_slides(images, str(table), QUICK)
    run("review", "export", table, "--out", folder / "review.csv", "--cells", "all")
    with (folder / "review.csv").open(newline="", encoding="utf-8-sig") as handle:
        rows = list(csv.DictReader(handle))
    for row in rows[: VERIFIED - 1]:
        row["verified_label"], row["verified_by"] = "neutrophil", "A. Reviewer"
    rows[VERIFIED - 1] |= {"verified_label": "", "verified_by": "", "remark": "out of focus"}
    with (folder / "review.csv").open("w", newline="", encoding="utf-8-sig") as handle:
        writer = csv.DictWriter(handle, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    for suffix in OUTPUT_FORMATS:
        (folder / suffix[1:]).mkdir()
        out = folder / suffix[1:] / f"r{suffix}"
        run("review", "import", table, folder / "review.csv", "--partial", "--out", out)
    (folder / "key").write_bytes(bytes(range(40, 72)))
    slide = restored(rows[0]["slide_id"])
    (folder / "manual.csv").write_text(f"slide_id,neutrophil,lymphocyte\n{slide},60,40\n", encoding="utf-8")
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return shutil.copytree(made, tmp_path / "copy")


def snapshot(table: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in table.parent.iterdir() if path.is_file()
    }


# What each command writes over `r.SUFFIX` and the files beside it. {t}: the reviewed table; {b}: its name without
# suffix; {f}: the folder with the inputs; {i}: the images; {s}: another format's suffix.
COMMANDS = (
    "find {i} --out {t}",
    "train-finder {i} --out {t} --overwrite",
    "evaluate-finder {i} --out {t}",
    "classify {i} --out {t} --overwrite",
    "classify {i} --out {t} --update",
    "classify {i} --out {t}",
    "classify {i} --out {b}{s} --overwrite",
    "classify {i} --out {b}.slides{x} --overwrite",
    "classify {i} --out {f}/new.csv --audit-log {t}",
    "classify {i} --out {f}/new.csv --audit-log {b}.run.json",
    "merge {f}/plain.parquet --out {t} --overwrite",
    "merge {f}/plain.parquet --out {b}{s} --overwrite",
    "review import {f}/plain.parquet {f}/review.csv --partial --out {t} --overwrite",
    "review import {f}/plain.parquet {f}/review.csv --partial --out {b}{s} --overwrite",
    "review import {t} {f}/review.csv --partial --out {t} --overwrite",
    "review import {f}/plain.parquet {f}/review.csv --partial --out {f}/review.csv --overwrite",
    "review export {f}/plain.parquet --out {t} --overwrite",
    "review export {f}/plain.parquet --out {f}/review.csv --overwrite",
    "review export {t} --out {t} --overwrite",
    "differential {f}/plain.parquet --out {t} --overwrite",
    "differential {t} --out {t} --overwrite",
    "differential {t} --out {b}.slides{x} --overwrite",
    "report {t} --out {t} --overwrite",
    "concordance {f}/plain.parquet {f}/manual.csv --out {b}.run.html --overwrite",
    "export-fhir {f}/plain.parquet --out {t} --overwrite",
    "export-fhir {t} --out {b}.run.json --overwrite",
    "pseudonymize {f}/plain.parquet --key {f}/key --out {t} --overwrite",
    "pseudonymize {t} --key {f}/key --out {t} --overwrite",
    "train {i} --out {t} --overwrite",
    "adapt {f}/plain.parquet --out {t} --overwrite",
    "evaluate {i} --out {t}",
    "evaluate {i} --out {b}.run.json",
    "export-onnx --out {t} --overwrite",
    "export-openvino --out {t} --overwrite",
    "export-trt --out {t} --overwrite",
    "benchmark {i} --out {t} --overwrite",
    "compare default --data {i} --out {t}",
    "tune default --data {i} --out {t}",
    "diff {f}/plain.parquet {t} --out {t} --overwrite",
    "diff {f}/plain.parquet {t} --out {f}/review.csv --overwrite",
    "monitor {t} --out {t} --overwrite",
    "monitor {t} {f}/plain.parquet --out {b}{s} --overwrite",
    "sort {t} {t}",
)


@each_format
@pytest.mark.parametrize("command", COMMANDS)
def test_a_reviewed_table_survives_every_command(folder: Path, images: Path, suffix: str, command: str) -> None:
    table = folder / suffix[1:] / f"r{suffix}"
    before, review = snapshot(table), (folder / "review.csv").read_bytes()
    places = {
        "i": images,
        "f": folder,
        "t": table,
        "b": table.with_suffix(""),
        "s": ".csv" if suffix == ".xlsx" else ".xlsx",
        "x": ".csv" if suffix == ".xlsx" else suffix,
    }
    words = [word.format_map(places) for word in command.split()]
    result = CliRunner().invoke(app, words)
    if "differential" in command and "slides" in command and suffix == ".xlsx":
        assert result.exit_code == 0  # a workbook has no slide table beside it
        (table.parent / "r.slides.csv").unlink()
    elif "classify" in command and "slides" in command and suffix == ".xlsx":
        assert result.exit_code == 3  # as above
        for path in table.parent.glob("r.slides.*"):
            path.unlink()
    else:
        assert result.exit_code in {1, 2, 4}, result.output
        assert "Traceback" not in result.output
    assert snapshot(table) == before
    assert (folder / "review.csv").read_bytes() == review
    assert sum(bool(row.verified_label or row.remark) for row in load_results(table).rows) == VERIFIED


def test_every_command_that_writes_a_file_is_among_them() -> None:
    def help_of(*words: str) -> str:
        return CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"}).output

    names = [name for name in re.findall(r"^│ ([a-z-]+) ", help_of(), re.MULTILINE) if name != "review"]
    writing = {name for name in names if "--out" in help_of(name)} | {"review"}
    assert writing | {"sort"} == {command.split()[0] for command in COMMANDS}


@each_format
def test_the_error_says_how_many_cells_and_what_to_do(folder: Path, suffix: str) -> None:
    table = folder / suffix[1:] / f"r{suffix}"
    with pytest.raises(OutputError) as caught:
        check_unreviewed(table)
    assert f"{table} holds {VERIFIED} cells that a person verified or remarked on" in caught.value.message
    assert "another --out" in caught.value.hint
    with pytest.raises(OutputError, match=r"r\.run\.json holds 4 cells"):
        check_unreviewed(run_record_of(table))
    table.write_bytes(b"\xffdamaged")
    with pytest.raises(OutputError, match="holds 4 cells"):
        check_unreviewed(table)
    run_record_of(table).unlink()
    check_unreviewed(*result_files(table))


def test_verified_cells_on_any_sheet_count(folder: Path) -> None:
    path = folder / "xlsx" / "r.xlsx"
    book = openpyxl.load_workbook(path)
    book.create_chartsheet("Chart", 0).add_chart(BarChart())
    book["Cells"].title = "My cells"
    book.save(path)
    with pytest.raises(OutputError, match="holds 5 cells"):
        check_outputs(path, overwrite=True)


def test_a_run_that_was_cut_short_while_publishing_replaces_no_review(folder: Path, images: Path) -> None:
    table = folder / "parquet" / "r.parquet"
    journal = table.with_name("r.parquet.partial")
    journal.mkdir()
    (journal / "publishing").touch()
    before = snapshot(table)
    with pytest.raises(OutputError, match="a person verified"):
        classify_slides(images, str(table), QUICK)
    assert snapshot(table) == before


def test_a_review_during_the_run_is_kept(
    folder: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "r.parquet"
    for path in (folder / "plain.parquet").parent.glob("plain*"):
        shutil.copy(path, tmp_path / path.name.replace("plain", "r"))

    def scan_while_it_is_imported(root: Path, rule: SlideRule, *, include_hidden: bool) -> ScanResult:
        for path in (folder / "parquet").iterdir():
            shutil.copy(path, tmp_path)
        return scan(root, rule, include_hidden=include_hidden)

    monkeypatch.setattr("bloodcell_batch.runs.plan.scan", scan_while_it_is_imported)
    with pytest.raises(OutputError, match="a person verified"):
        classify_slides(images, str(out), QUICK.model_copy(update={"overwrite": True}))
    assert sum(bool(row.verified_label or row.remark) for row in load_results(out).rows) == VERIFIED


def test_a_run_record_is_not_taken_from_its_table(folder: Path, images: Path) -> None:
    before = snapshot(folder / "plain.parquet")
    other = QUICK.model_copy(update={"overwrite": True, "min_confidence": 0.95})
    with pytest.raises(UsageError, match=r"plain\.run\.json is the run record of .*plain\.parquet") as caught:
        classify_slides(images, str(folder / "plain.csv"), other)
    assert "a second --out" in caught.value.hint
    assert snapshot(folder / "plain.parquet") == before


def test_a_table_that_only_has_the_same_name_is_left_alone(folder: Path, images: Path) -> None:
    run("differential", folder / "plain.parquet", "--out", folder / "plain.csv")
    before = (folder / "plain.csv").read_bytes()
    classify_slides(images, str(folder / "plain.parquet"), QUICK.model_copy(update={"overwrite": True}))
    assert (folder / "plain.csv").read_bytes() == before
    assert pq.read_table(folder / "plain.parquet").num_rows


def test_results_without_a_review_are_replaced(folder: Path, images: Path) -> None:
    classify_slides(images, str(folder / "plain.parquet"), QUICK.model_copy(update={"overwrite": True}))
    assert load_results(folder / "plain.parquet").rows


def test_a_review_that_an_earlier_version_wrote_still_counts(folder: Path) -> None:
    table = folder / "parquet" / "r.parquet"
    pq.write_table(pq.read_table(table).drop_columns(["remark"]), table)
    assert sum(bool(row.verified_label) for row in load_results(table).rows) == VERIFIED - 1
