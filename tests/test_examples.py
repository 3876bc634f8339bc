"""The drawn slides: small, reproducible, and classified as drawn."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import PROJECT
from PIL import Image

from bloodcell_batch.cell_classes import DEFAULT_CLASSES
from bloodcell_batch.config.classify import ClassifyConfig
from bloodcell_batch.runs.pipeline import classify_slides

EXAMPLES = PROJECT / "examples"


@pytest.fixture(scope="module")
def truth() -> dict[str, dict[str, str]]:
    with (EXAMPLES / "truth.csv").open(newline="", encoding="utf-8") as handle:
        return {row["path"]: row for row in csv.DictReader(handle)}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    out = tmp_path_factory.mktemp("examples") / "results.csv"
    classify_slides(EXAMPLES / "slides", str(out), ClassifyConfig())
    with out.open(newline="", encoding="utf-8") as handle:
        return {row["path"]: row for row in csv.DictReader(handle)}


def test_they_are_small_and_complete(truth: dict[str, dict[str, str]]) -> None:
    files = [path for path in (EXAMPLES / "slides").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 3_000_000
    assert {str(path.relative_to(EXAMPLES / "slides")) for path in files} == set(truth)
    kinds = {row["kind"] for row in truth.values()}
    assert kinds == {"cell", "exact_duplicate", "near_duplicate", "unreadable", "ignored"}
    assert {row["label"] for row in truth.values() if row["kind"] == "cell"} == set(DEFAULT_CLASSES.names)


def test_the_default_model_names_them_as_drawn(
    truth: dict[str, dict[str, str]], rows: dict[str, dict[str, str]]
) -> None:
    cells = [row for row in truth.values() if row["kind"] == "cell"]
    named = [row for row in cells if rows[row["path"]]["label"] == row["label"]]
    assert len(named) >= 0.8 * len(cells)
    wrong = [row for row in cells if rows[row["path"]]["label"] not in {row["label"], ""}]
    assert len(wrong) <= 0.1 * len(cells)


def test_the_flaws_among_them_are_found(truth: dict[str, dict[str, str]], rows: dict[str, dict[str, str]]) -> None:
    expected = {"exact_duplicate": "exact_duplicate", "near_duplicate": "near_duplicate", "unreadable": "failed"}
    for path, row in truth.items():
        if row["kind"] in expected:
            assert rows[path]["status"] == expected[row["kind"]]
            assert rows[path]["duplicate_of"] == row["duplicate_of"]
        elif row["kind"] == "cell":
            assert rows[path]["status"] in {"classified", "unclassified"}
        else:
            assert path not in rows


def test_nobody_can_take_them_for_patient_material() -> None:
    for path in (EXAMPLES / "slides").rglob("drawn_*.jpg"):
        with Image.open(path) as image:
            assert b"not patient material" in image.info["comment"], path


def test_the_shipped_pictures_come_from_the_script(truth: dict[str, dict[str, str]], tmp_path: Path) -> None:
    paths = ["drawn-normal/drawn_0001.jpg", "drawn-left-shift/drawn_0002.jpg"]
    code = (
        "import sys; from draw_slides import SLIDES, draw\n"
        "for name, label, number, out in zip(*[iter(sys.argv[1:])] * 4):\n"
        "    place = next(i for i, slide in enumerate(SLIDES) if slide.name == name)\n"
        "    draw(label, SLIDES[place], (7, place, int(number))).save(out)\n"
    )
    arguments: list[str] = []
    for path in paths:
        slide, name = path.split("/")
        number = str(int(Path(name).stem.rsplit("_", 1)[1]))
        arguments += [slide, truth[path]["label"], number, str(tmp_path / f"{slide}.png")]
    subprocess.run([sys.executable, "-c", code, *arguments], cwd=EXAMPLES, check=True)
    for path in paths:
        drawn = np.asarray(Image.open(tmp_path / f"{path.split('/')[0]}.png").convert("RGB")).astype(int)
        shipped = np.asarray(Image.open(EXAMPLES / "slides" / path).convert("RGB")).astype(int)
        assert np.abs(drawn - shipped).mean() < 4  # JPEG is all that lies between them
