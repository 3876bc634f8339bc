import csv
import json
from pathlib import Path

import pytest
from finished_run import Run
from program_commands import app
from typer.testing import CliRunner

from bloodcell_batch.results.finished import load_results


def _call(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("name", ["shared.csv", "shared.parquet", "shared.xlsx"])
def test_the_numbers_stay_and_the_names_go(run: Run, tmp_path: Path, key_file: Path, name: str) -> None:
    out = tmp_path / name
    assert "212 rows" in _call("pseudonymize", run.table, "--key", key_file, "--out", out)
    shared, original = load_results(out), load_results(run.table)
    there = {slide.slide_id: slide.shares for slide in shared.slides}
    assert sorted(map(str, there.values())) == sorted(str(slide.shares) for slide in original.slides)
    assert all(slide.startswith("S-") for slide in there)
    assert [row.path for row in shared.rows] == sorted(row.path for row in shared.rows)
    for column in ("phash", "cell_phash", "pixel_hash"):
        assert all(value is None for value in shared.images.column(column).to_pylist())


def test_nothing_of_the_original_is_in_the_files(run: Run, tmp_path: Path, key_file: Path) -> None:
    record = json.loads(run.table.with_name("results.run.json").read_text(encoding="utf-8"))
    rows = load_results(run.table).rows
    table = run.copy(tmp_path / "r.csv")
    pair = [next(row.file for row in rows if row.slide_id == slide and row.is_cell) for slide in ("007", "2E5")]
    record |= {
        "cross_slide_duplicates": [{"paths": pair, "distance": 0}],
        "failures": [{"path": "007/broken.jpg", "reason": "truncated", "detail": ""}],
        "ignored": [{"path": "Patient Smith.txt", "why": "suffix"}],
    }
    (tmp_path / "r.run.json").write_text(json.dumps(record), encoding="utf-8")
    review = tmp_path / "review.csv"
    _call("review", "export", table, "--out", review)
    with review.open(newline="", encoding="utf-8-sig") as handle:
        filled = [row | {"verified_label": "ig", "verified_by": "Dr. Jones"} for row in csv.DictReader(handle)]
    with review.open("w", newline="", encoding="utf-8-sig") as handle:
        writer = csv.DictWriter(handle, filled[0])
        writer.writeheader()
        writer.writerows(filled)
    _call("review", "import", table, review, "--out", tmp_path / "v.csv")

    (tmp_path / "out").mkdir()
    _call("pseudonymize", tmp_path / "v.csv", "--key", key_file, "--out", tmp_path / "out" / "s.csv")
    text = "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "out").iterdir())
    words = {"Smith", "Jones", "=A1", "2E5", "007/", ".jpg", str(run.images), "review.csv"}
    assert not {word for word in words if word in text}
    assert not [row.sha256 for row in rows if row.sha256 and row.sha256 in text]
    shared = load_results(tmp_path / "out" / "s.csv")
    assert sum("cross_slide_duplicate" in " ".join(slide.alerts) for slide in shared.slides) == 2
    assert len(list((tmp_path / "out").iterdir())) == 3
    assert shared.reviews[0].verified_by[0].startswith("R-")


def test_the_key_stays_apart(run: Run, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"k" * 32)
    arguments = ["pseudonymize", str(run.table), "--key", str(tmp_path / "key"), "--out", str(tmp_path / "s.csv")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["key"]
