"""`classify` on messy slide folders, against the truth that was written beside them."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from conftest import PROJECT, SHARED

Rows = dict[str, dict[str, Any]]
ODD_SLIDES = {"S-2026-001", "007", "2E5", "=A1", "Träger 4", "1-2"}


def run(*arguments: str | Path, check: int | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bloodcell_batch", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONUTF8": "1"})
    if check is not None:
        assert done.returncode == check, done.stderr
    return done


def parquet(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows


@pytest.fixture(scope="module")
def messy(pbc: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    tool = SHARED / "tools" / "make_slides.py"
    if not tool.exists():
        pytest.skip("the tool that builds messy slides is not on this machine")
    folder = tmp_path_factory.mktemp("messy") / "scratch"
    subprocess.run([sys.executable, tool, pbc, folder, "--cells", "30"], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def truth(messy: Path) -> Rows:
    with (messy / "truth.csv").open(newline="", encoding="utf-8") as handle:
        return {row["path"]: dict(row) for row in csv.DictReader(handle)}


@pytest.fixture(scope="module")
def rows(messy: Path) -> Rows:
    run("classify", messy / "slides", "--out", messy / "results.parquet", check=3)
    table = parquet(messy / "results.parquet")
    assert len({row["path"] for row in table}) == len(table)
    return {row["path"]: row for row in table}


def of_kind(truth: Rows, kind: str) -> list[str]:
    return [path for path, row in truth.items() if row["kind"] == kind]


def test_every_file_has_exactly_one_row_and_ignored_files_are_listed(messy: Path, truth: Rows, rows: Rows) -> None:
    ignored = set(of_kind(truth, "ignored"))
    assert set(rows) == set(truth) - ignored
    record = json.loads((messy / "results.run.json").read_text(encoding="utf-8"))
    assert {entry["path"] for entry in record["ignored"]} == ignored
    counts = record["counts"]
    assert counts.pop("found") == len(truth) == sum(counts.values())


@pytest.mark.parametrize("kind", ["exact_duplicate", "near_duplicate"])
def test_duplicates_are_found_and_name_the_kept_picture(truth: Rows, rows: Rows, kind: str) -> None:
    for path in of_kind(truth, kind):
        assert rows[path]["status"] in {"exact_duplicate", "near_duplicate"}
        assert rows[path]["duplicate_of"] == truth[path]["duplicate_of"]
        assert 0 <= rows[path]["duplicate_distance"] <= 16
        assert rows[path]["label"] is None
    if kind == "exact_duplicate":
        assert {rows[path]["status"] for path in of_kind(truth, kind)} == {kind}


def test_no_cell_is_called_a_duplicate(truth: Rows, rows: Rows) -> None:
    for kind in ("cell", "cross_slide_duplicate"):
        for path in of_kind(truth, kind):
            assert rows[path]["status"] in {"classified", "unclassified"}, path


def test_unreadable_files_fail_with_a_reason(messy: Path, truth: Rows, rows: Rows) -> None:
    expected = {
        "~truncated.jpg": "truncated",
        "~empty.jpg": "empty",
        "~text.jpg": "not_an_image",
        "~bomb.png": "too_large",
    }
    for path in of_kind(truth, "unreadable"):
        assert rows[path]["status"] == "failed"
        assert rows[path]["reason"] == expected[path.rsplit("/", 1)[1]]
    record = json.loads((messy / "results.run.json").read_text(encoding="utf-8"))
    assert {entry["path"] for entry in record["failures"]} == set(of_kind(truth, "unreadable"))
    assert all(entry["detail"] for entry in record["failures"])


def test_cross_slide_copies_are_alerted_on_both_slides_and_kept(messy: Path, truth: Rows, rows: Rows) -> None:
    alerts = {row["slide_id"]: row["alerts"] or "" for row in parquet(messy / "results.slides.parquet")}
    for path in of_kind(truth, "cross_slide_duplicate"):
        original = truth[path]["duplicate_of"]
        for copy in (path, original):
            assert rows[copy]["review"] is True
            assert "cross_slide_duplicate" in rows[copy]["review_reason"]
            assert "cross_slide_duplicate" in alerts[rows[copy]["slide_id"]]
            assert rows[copy]["status"] in {"classified", "unclassified"}


def test_what_is_no_cell_is_never_counted(truth: Rows, rows: Rows) -> None:
    # Two drawn gradients in one slide are the same picture, so one of them may be a duplicate.
    assert {rows[path]["status"] for path in of_kind(truth, "not_a_cell")} <= {"unclassified", "exact_duplicate"}


def test_most_cells_are_classified_and_nearly_all_of_these_rightly(truth: Rows, rows: Rows) -> None:
    cells = of_kind(truth, "cell")
    classified = [path for path in cells if rows[path]["status"] == "classified"]
    right = [path for path in classified if rows[path]["label"] == truth[path]["label"]]
    assert len(classified) >= 0.85 * len(cells)
    assert len(right) >= 0.97 * len(classified)


def test_slide_table_agrees_with_the_image_table(messy: Path, rows: Rows) -> None:
    slides = parquet(messy / "results.slides.parquet")
    assert {slide["slide_id"] for slide in slides} == ODD_SLIDES
    for slide in slides:
        mine = [row for row in rows.values() if row["slide_id"] == slide["slide_id"]]
        assert slide["found"] == len(mine)
        assert slide["failed"] == sum(row["status"] == "failed" for row in mine)
        assert slide["duplicates"] == sum(row["status"].endswith("duplicate") for row in mine)
        neutrophils = sum(row["label"] == "neutrophil" for row in mine)
        assert slide["neutrophil_count"] == neutrophils
        percent = 100 * neutrophils / slide["wbc_counted"]
        assert slide["neutrophil_percent_low"] < percent < slide["neutrophil_percent_high"]
        if slide["withheld"]:
            assert slide["neutrophil_percent"] is None
        else:
            assert slide["neutrophil_percent"] == pytest.approx(percent, abs=1e-4)


def test_slide_names_stay_what_they_are_in_every_format(messy: Path, rows: Rows, tmp_path: Path) -> None:
    run("classify", messy / "slides", "--out", tmp_path / "r.csv", check=3)
    with (tmp_path / "r.csv").open(newline="", encoding="utf-8") as handle:
        from_csv = {row["path"]: row for row in csv.DictReader(handle)}
    with (tmp_path / "r.slides.csv").open(newline="", encoding="utf-8") as handle:
        assert {row["slide_id"] for row in csv.DictReader(handle)} == ODD_SLIDES
    piped = run("classify", messy / "slides", "--out", "-", "--quiet", check=3)
    assert piped.stdout == (tmp_path / "r.csv").read_text(encoding="utf-8")
    for path, row in rows.items():
        assert from_csv[path]["slide_id"] == row["slide_id"]
        assert from_csv[path]["status"] == row["status"]
        assert from_csv[path]["label"] == (row["label"] or "")


@pytest.mark.parametrize("workers", [0, 4])
def test_tables_are_byte_identical_for_any_worker_count(messy: Path, rows: Rows, tmp_path: Path, workers: int) -> None:
    assert rows
    run("classify", messy / "slides", "--out", tmp_path / "results.parquet", "--workers", str(workers), check=3)
    for name in ("results.parquet", "results.slides.parquet"):
        assert (tmp_path / name).read_bytes() == (messy / name).read_bytes()


@pytest.mark.parametrize(("batch_size", "slides"), [(1, 1), (7, len(ODD_SLIDES))])
def test_batch_size_changes_no_label(messy: Path, rows: Rows, tmp_path: Path, batch_size: int, slides: int) -> None:
    """Single images on one slide: each fills up a batch of the network, which takes many times as long."""
    for slide in sorted(ODD_SLIDES)[:slides]:
        shutil.copytree(messy / "slides" / slide, tmp_path / "slides" / slide)
    run("classify", tmp_path / "slides", "--out", tmp_path / "r.parquet", "--batch-size", str(batch_size), check=3)
    found = parquet(tmp_path / "r.parquet")
    assert {row["slide_id"] for row in found} == {*sorted(ODD_SLIDES)[:slides]}
    for row in found:
        before = rows[row["path"]]
        assert (row["status"], row["label"]) == (before["status"], before["label"])
        if row["confidence"] is not None:
            assert row["confidence"] == pytest.approx(before["confidence"], abs=1e-3)


def test_installed_program_reads_the_same_version() -> None:
    import bloodcell_batch  # noqa: PLC0415 - the version that the test's own interpreter sees

    assert run("--version", check=0).stdout.strip() == f"bloodcell-batch {bloodcell_batch.__version__}"
    assert (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8").count("## [Unreleased]") == 1
