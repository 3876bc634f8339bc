"""A run record names the first failed files only; the table and the counts have all of them."""

from pathlib import Path

import pytest
from conftest import draw_picture, encode

from bloodcell_batch.config.classify import ClassifyConfig
from bloodcell_batch.config.results import VerifyConfig
from bloodcell_batch.progress import NullObserver
from bloodcell_batch.records import Status
from bloodcell_batch.results.run_record import read_record
from bloodcell_batch.runs import pipeline
from bloodcell_batch.runs.pipeline import classify_slides
from bloodcell_batch.verification import table_checks
from bloodcell_batch.verification.verify import verify_run


def test_more_failures_than_a_record_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (pipeline, table_checks):
        monkeypatch.setattr(module, "FAILURES_LISTED", 2)
    slide = tmp_path / "slides" / "s0"
    slide.mkdir(parents=True)
    (slide / "cell.jpg").write_bytes(encode(draw_picture(0)))
    for number in range(5):
        (slide / f"empty{number}.jpg").touch()
    out = tmp_path / "r.parquet"
    result = classify_slides(tmp_path / "slides", str(out), ClassifyConfig())
    assert result.counts.by_status[Status.FAILED] == 5
    record = read_record(out)
    assert [entry.path for entry in record.failures or []] == ["s0/empty0.jpg", "s0/empty1.jpg"]
    assert record.counts["failed"] == 5
    assert verify_run(out, VerifyConfig(), NullObserver()).verified
