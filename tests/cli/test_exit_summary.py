import json
from collections import Counter

import pytest
import typer

from bloodcell_batch.cell_classes import DEFAULT_CLASSES
from bloodcell_batch.cli.console import JsonObserver, PlainObserver, QuietObserver
from bloodcell_batch.cli.exit_summary import conclude
from bloodcell_batch.cli.live_display import LiveObserver
from bloodcell_batch.differential.slide import SlideCounts, slide_differential
from bloodcell_batch.errors import ExitCode
from bloodcell_batch.progress import Observer, RunCounts
from bloodcell_batch.records import ImageFile, Reason, Rejection, Status
from bloodcell_batch.runs.pipeline import RunResult


def _result(slides: int = 1, failed: int = 0) -> RunResult:
    counts = RunCounts(found=slides + failed)
    counts.by_status[Status.UNCLASSIFIED], counts.by_status[Status.FAILED] = slides, failed
    one = SlideCounts(Counter({Status.UNCLASSIFIED: 1}))
    found = tuple(slide_differential(f"s{number}", one, DEFAULT_CLASSES) for number in range(slides))
    failures = [
        Rejection(ImageFile(f"s0/{number}.jpg", "s0", 1, 0), Status.FAILED, Reason.TRUNCATED, detail="premature end")
        for number in range(failed)
    ]
    return RunResult(counts, found, (), 1.5, failures)


def _said(observer: Observer, result: RunResult, capsys: pytest.CaptureFixture[str], out: str = "r.csv") -> str:
    with pytest.raises(typer.Exit):
        conclude(result, [out], observer, 0, as_json=False)
    return capsys.readouterr().err


@pytest.mark.parametrize("kind", [QuietObserver, PlainObserver, LiveObserver])
def test_alerts_and_failures_are_warnings_even_if_quiet(
    kind: type[Observer], capsys: pytest.CaptureFixture[str]
) -> None:
    said = " ".join(_said(kind(), _result(failed=2), capsys).split())
    assert "warning: slide s0: too_many_unclassified: review 1 unclassified cell, or adapt the model" in said
    assert "1 of 1 cell that could be a leukocyte has no class" in said
    assert "warning: failed: s0/0.jpg (truncated: premature end)" in said
    assert "failed: s0/1.jpg" in said
    assert ("next: bloodcell-batch report r.csv" in said) == (kind is not QuietObserver)


def test_json_names_the_slide_and_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [json.loads(line) for line in _said(JsonObserver(quiet=True), _result(failed=1), capsys).splitlines()]
    assert {line["event"] for line in lines} == {"warning"}
    assert {line.get("slide_id") or line.get("path") for line in lines} == {"s0", "s0/0.jpg"}


def test_many_of_a_kind_are_summed_up(capsys: pytest.CaptureFixture[str]) -> None:
    said = _said(QuietObserver(), _result(slides=30, failed=25), capsys)
    assert "warning: too_many_unclassified in 20 more slides: see the column alerts of the slide table" in said
    assert "warning: 15 more files failed: see the rows with the status failed" in said
    assert len(said.splitlines()) <= 40


def test_stdout_is_no_file_to_report_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert "next:" not in _said(PlainObserver(), _result(), capsys, out="-")


@pytest.mark.parametrize(("failed", "allowed", "code"), [(0, 0, 0), (1, 0, 3), (1, 1, 0), (2, 1, 3)])
def test_exit_codes(failed: int, allowed: int, code: int) -> None:
    with pytest.raises(typer.Exit) as caught:
        conclude(_result(failed=failed), ["r.csv"], QuietObserver(), allowed, as_json=False)
    assert caught.value.exit_code == ExitCode(code)
