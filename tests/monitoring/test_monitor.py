"""Through the command: what it prints, writes and ends with."""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from browser import Browser
from conftest import PROJECT
from finished_run import Run
from many_runs import Values, write_night
from openpyxl import load_workbook
from program_commands import app
from typer.testing import CliRunner, Result

from bloodcell_batch.results.finished import load_results

NIGHTS = 14
COVERED = """
return [...document.querySelectorAll("figure svg")].flatMap((chart) => {
  const texts = [...chart.querySelectorAll("text:not(.rule)")].map((text) => [text.textContent, text.getBBox()]);
  return texts.flatMap(([one, a], number) => texts.slice(number + 1).filter(([, b]) =>
    a.x < b.x + b.width && b.x < a.x + a.width && a.y + 3 < b.y + b.height && b.y + 3 < a.y + a.height
  ).map(([other]) => `${one} and ${other}`));
});
"""
DRIFT_FROM = 11


def _darker(values: Values) -> Values:
    return values * 0.9


@pytest.fixture(scope="module")
def steady(run: Run, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Nights of which none is special."""
    folder, source = tmp_path_factory.mktemp("steady"), load_results(run.table)
    return [write_night(source, folder / f"night-{n:02}.parquet", n, control="QC 1") for n in range(1, NIGHTS + 1)]


@pytest.fixture(scope="module")
def drifting(run: Run, steady: list[Path], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The same, and from one night on all images are darker."""
    folder, source = tmp_path_factory.mktemp("drifting"), load_results(run.table)
    changes: dict[str, Callable[[Values], Values]] = {"brightness": _darker}
    dark = range(DRIFT_FROM, NIGHTS + 1)
    return [
        *steady[: DRIFT_FROM - 1],
        *(write_night(source, folder / f"night-{n:02}.parquet", n, control="QC 1", changes=changes) for n in dark),
    ]


def _call(*arguments: str | Path | list[Path]) -> Result:
    flat = [str(one) for given in arguments for one in (given if isinstance(given, list) else [given])]
    return CliRunner().invoke(app, ["monitor", *flat])


def _fails(*arguments: str | Path | list[Path], code: int = 1) -> str:
    result = _call(*arguments)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return " ".join(result.stderr.split())


def _table(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows


class TestWhatIsSaid:
    def test_steady_runs_are_in_control(self, steady: list[Path], tmp_path: Path) -> None:
        tables = sorted(steady[0].parent.glob("*.parquet"))
        assert len(tables) == 2 * NIGHTS  # the slide tables, too, as a shell would give them
        result = _call(tables, "--out", tmp_path / "q.html", "--baseline", "10")
        assert result.exit_code == 0, result.stderr
        assert "14 runs, 13 measures: in control" in result.stderr
        assert "rejected" not in result.stderr

    def test_the_first_run_that_left_is_named(self, drifting: list[Path], tmp_path: Path) -> None:
        result = _call(drifting[::-1], "--out", tmp_path / "q.html", "--baseline", "10", "--quiet")
        assert result.exit_code == 3
        first, newest, count = (" ".join(line.split()) for line in result.stderr.strip().split("warning: ")[1:])
        assert first.startswith("night-11 of 2026-01-11 02:15 is the first run that left the baseline: 1-3s: ")
        assert "median brightness 10" in first
        assert newest.startswith("night-14 of 2026-01-14 02:15, the newest run, is outside of it")
        assert count == "4 of the 4 runs since then are rejected"

    def test_no_colour_where_it_is_piped_but_in_a_log_the_state(self, drifting: list[Path], tmp_path: Path) -> None:
        result = _call(drifting, "--out", tmp_path / "q.html", "--baseline", "10")
        assert "not in control" in result.stderr
        assert "\x1b" not in result.output
        result = _call(drifting, "--out", tmp_path / "r.html", "--baseline", "10", "--log-format", "json")
        lines = [json.loads(line) for line in result.stderr.splitlines()]
        states = [line["state"] for line in lines if "state" in line]
        assert states[0] == "rejected"
        assert states[-1] == "not in control"

    def test_quiet_says_nothing_of_steady_runs(self, steady: list[Path], tmp_path: Path) -> None:
        result = _call(steady, "--out", tmp_path / "q.html", "--baseline", "10", "--quiet")
        assert (result.exit_code, result.stderr, result.stdout) == (0, "", "")

    def test_a_short_history_is_not_judged(self, drifting: list[Path], tmp_path: Path) -> None:
        result = _call(drifting, "--out", tmp_path / "q.html")
        assert result.exit_code == 0
        assert "no run is judged yet: the baseline needs 6 more runs, there are 14 of this model" in result.stderr

    def test_a_day_ends_the_baseline(self, drifting: list[Path], tmp_path: Path) -> None:
        known = _call(drifting, "--out", tmp_path / "a.html", "--baseline", "2026-01-10")
        assert known.exit_code == 3
        assert "night-11" in known.stderr
        short = _call(drifting, "--out", tmp_path / "b.html", "--baseline", "2026-01-03")
        assert "the baseline needs 2 more runs" in short.stderr

    def test_what_is_strange_in_the_baseline_is_told(self, run: Run, steady: list[Path], tmp_path: Path) -> None:
        dark = write_night(run.table, tmp_path / "dark.parquet", 99, changes={"brightness": _darker})
        record = json.loads((tmp_path / "dark.run.json").read_text(encoding="utf-8"))
        assert record["started"] > "2026-04"
        result = _call(steady[:9], dark, "--out", tmp_path / "q.html", "--baseline", "10")
        assert result.exit_code == 0
        assert "dark of 2026-04-09 02:15 is in the baseline, and outside of the rest of it: median br" in result.stderr


class TestBreaks:
    def test_a_new_model_begins_a_new_baseline(self, run: Run, drifting: list[Path], tmp_path: Path) -> None:
        model = load_results(run.table).record.model.model_dump() | {"name": "other", "sha256": "f" * 64}
        new = [write_night(run.table, tmp_path / f"new-{n}.parquet", 30 + n, record={"model": model}) for n in range(6)]
        result = _call(drifting, new, "--out", tmp_path / "q.html", "--out", tmp_path / "q.parquet", "--baseline", "5")
        assert result.exit_code == 0, result.stderr
        assert (
            "a new baseline begins with new-0 of 2026-01-30 02:15: the model is other (ffffffffffff)" in result.stderr
        )
        assert (
            "under an earlier model, night-11 of 2026-01-11 02:15 was the first to leave its baseline" in result.stderr
        )
        page = (tmp_path / "q.html").read_text(encoding="utf-8")
        assert page.count(">new baseline<") == 14
        assert {row["period"] for row in _table(tmp_path / "q.parquet")} == {1, 2}

    def test_other_thresholds_and_a_new_backend(self, run: Run, steady: list[Path], tmp_path: Path) -> None:
        changed: dict[str, Any] = {"thresholds": {"confidence": 0.7, "outlier": 9.0}}
        new = write_night(run.table, tmp_path / "new.parquet", 40, record=changed)
        changed |= {"backend": {"name": "openvino", "description": "OpenVINO on CPU", "skipped": []}}
        newer = write_night(run.table, tmp_path / "newer.parquet", 41, record=changed)
        said = " ".join(_call(steady, new, newer, "--out", tmp_path / "q.html", "--baseline", "10").stderr.split())
        assert "begins with new of 2026-02-09 02:15: the thresholds are confidence 0.7, outlier 9" in said
        assert "from newer of 2026-02-10 02:15 on: the backend OpenVINO on CPU, with the same baseline" in said


class TestControls:
    def test_a_control_slide_has_its_own_charts(self, drifting: list[Path], tmp_path: Path) -> None:
        outs = ("--out", tmp_path / "q.html", "--out", tmp_path / "q.csv")
        result = _call(drifting, *outs, "--baseline", "10", "--control", "QC 1")
        assert result.exit_code == 3
        assert "26 measures: not in control" in result.stderr
        assert "Control slide QC 1" in (tmp_path / "q.html").read_text(encoding="utf-8")
        rows = list(csv.DictReader((tmp_path / "q.csv").read_text(encoding="utf-8").splitlines()))
        fired = {row["run"] for row in rows if row["slide_id"] == "QC 1" and row["rule"] == "1-3s"}
        assert fired == {"night-11", "night-12", "night-13", "night-14"}
        assert {row["mean"] for row in rows if row["slide_id"] == "a"} == {""}

    def test_accepted_ranges_judge_instead(self, drifting: list[Path], tmp_path: Path) -> None:
        (tmp_path / "r.csv").write_text(
            "measure;low;high;slide_id\nmedian_brightness;100;150;QC 1\nneutrophil_percent;0,5;1,5;\n", encoding="utf-8"
        )
        ranges = ("--control", "QC 1", "--control-ranges", tmp_path / "r.csv")
        result = _call(drifting[:6], "--out", tmp_path / "q.parquet", "--baseline", "5", *ranges)
        assert result.exit_code == 3
        said = " ".join(result.stderr.split())
        assert "night-01 of 2026-01-01 02:15 is the first run that left the baseline: range: neutrophils" in said
        assert "accepted 0.5 % to 1.5 %" in said
        rows = _table(tmp_path / "q.parquet")
        limits = {(row["accepted_low"], row["accepted_high"]) for row in rows if row["slide_id"] == "QC 1"}
        assert limits == {(100.0, 150.0), (0.5, 1.5), (None, None)}
        bright = [row for row in rows if row["slide_id"] == "QC 1" and row["measure"] == "median_brightness"]
        assert {row["rule"] for row in bright} == {None}

    def test_a_missing_control_slide_is_told(self, run: Run, steady: list[Path], tmp_path: Path) -> None:
        without = write_night(run.table, tmp_path / "without.parquet", 50)
        said = _call(steady, without, "--out", tmp_path / "q.html", "--baseline", "10", "--control", "QC 1").stderr
        assert "control slide QC 1 is missing in 1 run, last in without" in " ".join(said.split())

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("measure,low,high\nmedian_brightnes,1,2\n", "line 2: no measure 'median_brightnes'; did you mean"),
            ("measure,low,high,slide_id\nreview_percent,1,2,x\n", "line 2: 'x' is no control slide"),
            ("measure,low,high\nreview_percent,one,2\n", "line 2: 'one' under low is no number"),
            ("measure,low,high\nreview_percent,3,2\n", "line 2: nothing lies between 3 and 2"),
            (
                "measure,low,high\nreview_percent,1,2\nreview_percent,1,2\n",
                "line 3: review_percent has a range already",
            ),
            ("measure,low,high\n", "has no ranges"),
            ("measure,low\n", "lacks the column high"),
        ],
    )
    def test_wrong_ranges(self, steady: list[Path], tmp_path: Path, text: str, told: str) -> None:
        (tmp_path / "r.csv").write_text(text, encoding="utf-8")
        ranges = ("--control", "QC 1", "--control-ranges", tmp_path / "r.csv")
        assert told in _fails(steady, "--out", tmp_path / "q.html", *ranges)
        assert not (tmp_path / "q.html").exists()


class TestWrongInput:
    def test_the_same_run_twice(self, steady: list[Path], tmp_path: Path) -> None:
        told = _fails(steady, steady[3], "--out", tmp_path / "q.html")
        assert "night-04.parquet are the same run: their rows are equal" in told

    def test_a_shard(self, run: Run, tmp_path: Path) -> None:
        shard: dict[str, Any] = {"shard": {"index": 0, "count": 2, "listing_sha256": "0" * 64}}
        table = write_night(run.table, tmp_path / "s.parquet", 1, record=shard)
        assert "is shard 0 of 2 of a run" in _fails(table, "--out", tmp_path / "q.html")

    def test_no_table(self, tmp_path: Path) -> None:
        (tmp_path / "n.parquet").write_bytes(b"no table")
        assert "Can't read the run record" in _fails(tmp_path / "n.parquet", "--out", tmp_path / "q.html")

    def test_rows_that_were_changed(self, run: Run, steady: list[Path], tmp_path: Path) -> None:
        table = write_night(run.table, tmp_path / "c.csv", 60)
        text = table.read_text(encoding="utf-8")
        table.write_text(re.sub(r",neutrophil,0\.\d+", ",monocyte,0.9", text, count=1), encoding="utf-8")
        told = _fails(steady, table, "--out", tmp_path / "q.html")
        assert "c.csv does not have the rows that its run record was written for" in told

    @pytest.mark.parametrize("baseline", ["4", "ten", "2026-02-30", "-1", "20260101"])
    def test_no_baseline(self, steady: list[Path], tmp_path: Path, baseline: str) -> None:
        told = _fails(steady, "--out", tmp_path / "q.html", f"--baseline={baseline}", code=2)
        assert "neither a number of runs from 5 on nor a day" in told

    def test_outputs(self, steady: list[Path], tmp_path: Path) -> None:
        assert "is neither a page nor a table" in _fails(steady, "--out", tmp_path / "q.pdf", code=2)
        page = tmp_path / "q.html"
        page.write_text("mine", encoding="utf-8")
        assert "exists already" in _fails(steady, "--out", page)
        assert "is one of the files of the results" in _fails(steady, "--out", steady[0], "--overwrite")
        assert "is there twice" in _fails(steady, "--out", page, "--out", page, "--overwrite", code=2)
        assert page.read_text(encoding="utf-8") == "mine"

    def test_an_unknown_control_slide(self, steady: list[Path], tmp_path: Path) -> None:
        told = _fails(steady, "--out", tmp_path / "q.html", "--control", "QC1")
        assert "No run has a slide 'QC1'; did you mean 'QC 1'?" in told
        told = _fails(steady, "--out", tmp_path / "q.html", "--control-ranges", PROJECT / "README.md", code=2)
        assert "--control-ranges needs --control" in told


class TestFiles:
    def test_all_formats_say_the_same(self, drifting: list[Path], tmp_path: Path) -> None:
        outs = [tmp_path / f"q{suffix}" for suffix in (".parquet", ".csv", ".xlsx")]
        _call(drifting, *(word for out in outs for word in ("--out", str(out))), "--baseline", "10")
        rows = _table(outs[0])
        head, *lines = csv.reader(outs[1].read_text(encoding="utf-8").splitlines())
        sheet = [[cell.value for cell in row] for row in load_workbook(outs[2]).active.iter_rows()]
        assert head == sheet[0] == list(rows[0])
        assert len(rows) == len(lines) == len(sheet) - 1
        assert [row["value"] for row in rows] == [float(line[head.index("value")]) for line in lines]
        whole = [row for row in rows if row["slide_id"] is None and row["measure"] == "median_brightness"]
        assert [row["rule"] for row in whole] == [None] * 10 + ["1-3s"] * 4
        assert [row["in_baseline"] for row in whole] == [True] * 10 + [False] * 4
        assert all(row["low_3s"] < row["low_2s"] < row["mean"] < row["high_2s"] < row["high_3s"] for row in whole)
        speed = [row for row in rows if row["measure"] == "images_per_second"]
        assert {row["rule"] for row in speed} == {None}

    def test_names_that_tell_runs_apart(self, run: Run, tmp_path: Path) -> None:
        tables = []
        for night in range(1, 3):
            (tmp_path / f"day {night}").mkdir()
            tables.append(write_night(run.table, tmp_path / f"day {night}" / "results.parquet", night))
        _call(tables, "--out", tmp_path / "q.parquet")
        assert {row["run"] for row in _table(tmp_path / "q.parquet")} == {"day 1/results", "day 2/results"}

    def test_a_run_with_few_cells_is_not_judged(self, run: Run, steady: list[Path], tmp_path: Path) -> None:
        few = write_night(run.table, tmp_path / "few.parquet", 70, rows=40, changes={"brightness": _darker})
        result = _call(steady, few, "--out", tmp_path / "q.html", "--baseline", "10")
        assert result.exit_code == 0
        assert "few of 2026-03-11 02:15, the newest run, has too few cells to be judged in full" in result.stderr


class TestInTheBrowser:
    def test_charts_tell_what_they_show(self, drifting: list[Path], tmp_path: Path, browser: Browser) -> None:
        _call(drifting, "--out", tmp_path / "q.html", "--baseline", "10", "--control", "QC 1")
        browser.open(tmp_path / "q.html")
        charts = browser.all("figure svg")
        assert len(charts) == 14 + 13
        assert all(chart.size["width"] > 400 and chart.size["height"] > 100 for chart in charts)
        said = [chart.get_attribute("aria-label") or "" for chart in charts]
        assert all(re.search("of 14 runs; newest .*baseline mean .*3s limits", text) for text in said)
        assert sum("4 rejected" in text for text in said) == 2
        rejected = browser.all("path.rejected title")
        assert any("night-11, 2026-01-11 02:15" in (one.get_attribute("textContent") or "") for one in rejected)
        fits = "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        assert browser.driver.execute_script(fits)
        assert browser.driver.execute_script(COVERED) == []
        browser.is_quiet()

    def test_it_is_dark_where_the_screen_is(self, steady: list[Path], tmp_path: Path, browser: Browser) -> None:
        _call(steady, "--out", tmp_path / "q.html", "--baseline", "10")
        browser.open(tmp_path / "q.html")
        colour = "return getComputedStyle(document.body).backgroundColor"
        light = browser.driver.execute_script(colour)
        scheme = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
        browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", scheme)
        try:
            assert (light, browser.driver.execute_script(colour)) == ("rgb(255, 255, 255)", "rgb(20, 25, 31)")
            browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", **scheme})
            assert browser.driver.execute_script(colour) == "rgb(255, 255, 255)"
        finally:
            browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
