"""Every page passes axe in headless Chromium, on a light and on a dark screen."""

from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
from browser import Browser
from finished_run import Run, write_run
from many_runs import write_night
from program_commands import app
from typer.testing import CliRunner

from bloodcell_batch.config.comparison import CompareConfig
from bloodcell_batch.records import Prediction
from bloodcell_batch.results.finished import load_results
from bloodcell_batch.training.comparison.report import as_html
from bloodcell_batch.training.comparison.system_row import FAILED, FINISHED, Row

pytest.importorskip("axe_core_python", reason="axe-core-python is not installed")

FAULTS = """
const done = arguments[arguments.length - 1];
axe.run().then((found) => done(found.violations.flatMap((fault) => fault.nodes.map(
  (node) => `${fault.id}: ${node.html.slice(0, 150)} ${node.any.map((one) => one.message).join("; ")}`))));
"""
BACKGROUND = "return getComputedStyle(document.body).backgroundColor"
RANGES = "[neutrophil]\nlow = 60\nhigh = 70\n[lymphocyte]\nlow = 20\nhigh = 30\n"
PAPER = {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 25, 31)"}
MANUAL = "slide_id,neutrophil,lymphocyte,monocyte,eosinophil,basophil,ig\n007,55,27,7,5,2,4\n2E5,30,50,10,5,1,4\n"


def call(*words: str | Path) -> None:
    done = CliRunner().invoke(app, [*map(str, words)])
    assert done.exit_code in {0, 3}, done.output


def report(run: Run, page: Path) -> None:
    ranges = page.with_suffix(".toml")
    ranges.write_text(RANGES, encoding="utf-8")
    call("report", run.table, "--out", page, "--reference-ranges", ranges, "--min-wbc", "100")


def report_of_one_slide(run: Run, page: Path) -> None:
    table = write_run(
        run.images, tuple(row for row in run.outcomes if row.file.slide_id == "007"), page.with_suffix(".csv")
    )
    call("report", table, "--out", page)


def review(run: Run, page: Path) -> None:
    call("review", "export", run.table, "--out", page)


def diff(run: Run, page: Path) -> None:
    changed = tuple(
        replace(row, label="monocyte") if isinstance(row, Prediction) and row.label == "ig" else row
        for row in run.outcomes
    )
    call("diff", run.table, write_run(run.images, changed, page.with_suffix(".parquet")), "--out", page)


def quality(run: Run, page: Path) -> None:
    source = load_results(run.table)
    nights = [write_night(source, page.with_name(f"n{number}.parquet"), number, control="QC") for number in range(1, 9)]
    call("monitor", *nights, "--out", page, "--baseline", "5", "--control", "QC")


def concordance(run: Run, page: Path) -> None:
    manual = page.with_suffix(".csv")
    manual.write_text(MANUAL, encoding="utf-8")
    call("concordance", run.table, manual, "--out", page)


def comparison(_run: Run, page: Path) -> None:
    names = ("eosinophil", "neutrophil")
    confusion = ((9, 1), (4, 6))  # a shade of every kind
    made = Row("net", FINISHED, accuracy=0.75, classes=names, confusion=confusion)
    made = replace(made, images_train=80, images_validation=20, images_test=20)
    text = as_html([made, Row("other", FAILED, "no memory")], CompareConfig(), "bloodcell-batch compare")
    page.write_text(text, encoding="utf-8")


@pytest.mark.parametrize("write", [report, report_of_one_slide, review, diff, quality, concordance, comparison])
def test_axe_finds_no_fault(run: Run, tmp_path: Path, browser: Browser, write: Callable[[Run, Path], None]) -> None:
    page = tmp_path / "page.html"
    write(run, page)
    assert faults(page, browser) == []


def faults(page: Path, browser: Browser) -> list[str]:
    """What axe objects to, on either screen, and whether the page is as light or dark as the screen."""
    found: list[str] = []
    for scheme, paper in PAPER.items():
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        try:
            browser.open(page)
            if (shown := browser.driver.execute_script(BACKGROUND)) != paper:
                found.append(f"{scheme}: the page is {shown}")
            browser.driver.execute_script(files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8"))
            found += [f"{scheme}: {fault}" for fault in browser.driver.execute_async_script(FAULTS)]
        finally:
            browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    return found
