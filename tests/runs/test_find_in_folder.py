"""`find`: crops and tables of a folder of fields."""

import csv
from pathlib import Path

import numpy as np
import pytest
from drawn_fields import Disc, drawn_finder, grid_of_red_cells, smear
from PIL import Image
from program_commands import app
from small_model import make_small_finder
from typer.testing import CliRunner

from bloodcell_batch.config.finder import FindConfig
from bloodcell_batch.errors import InputError, OutputError
from bloodcell_batch.progress import NullObserver, RunCounts
from bloodcell_batch.runs import find as module
from bloodcell_batch.runs.find import Totals, find_in_folder

WHITE: list[Disc] = [(80, 100, 50), (250, 140, 50)]


@pytest.fixture
def fields(tmp_path: Path) -> Path:
    root = tmp_path / "in"
    (root / "s1").mkdir(parents=True)
    red = grid_of_red_cells(400, 300, 28, but_not_at=WHITE)
    Image.fromarray(smear(400, 300, red, WHITE)).save(root / "s1" / "a.png")
    Image.fromarray(smear(400, 300, [(50, 250, 28)], WHITE[:1])).save(root / "s1" / "few.png")
    (root / "s1" / "bad.png").write_bytes(b"")
    return root


@pytest.fixture
def run(fields: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    model = make_small_finder(tmp_path)
    monkeypatch.setattr(module, "ready_finder", lambda _model, _backend: drawn_finder())
    config = FindConfig(finder=model.path, backend="pytorch")
    totals = find_in_folder(fields, tmp_path / "out", config, NullObserver())
    assert totals == Totals(images=3, failed=1, cells=3, without_scale=0, unfit=1)
    return tmp_path / "out"


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def test_every_cell_has_a_row_and_a_picture_with_it_in_the_middle(run: Path) -> None:
    cells = rows(run / "cells.csv")
    assert [row["path"] for row in cells] == ["s1/a.png", "s1/a.png", "s1/few.png"]
    for row in cells:
        picture = np.asarray(Image.open(run / row["crop"]))
        assert picture.shape[0] == picture.shape[1]
        assert abs(picture.shape[0] - 4.5 * 28) < 8
        middle = len(picture) // 2
        assert picture[middle, middle].tolist() == [90, 40, 140]


def test_a_field_with_few_red_cells_takes_the_scale_of_its_slide(run: Path) -> None:
    by_path = {row["path"]: row for row in rows(run / "fields.csv")}
    scale = float(by_path["s1/few.png"]["red_cell_pixels"])
    assert scale == pytest.approx(float(by_path["s1/a.png"]["red_cell_pixels"]), rel=0.05)


def test_a_field_that_is_unfit_says_why(run: Path) -> None:
    by_path = {row["path"]: row for row in rows(run / "fields.csv")}
    assert by_path["s1/a.png"]["faults"] == ""
    assert by_path["s1/few.png"]["faults"] == "too_thin"


def test_a_bad_image_has_a_row_with_the_reason(run: Path) -> None:
    by_path = {row["path"]: row for row in rows(run / "fields.csv")}
    assert len(by_path) == 3
    assert by_path["s1/bad.png"]["reason"] == "empty"
    assert by_path["s1/bad.png"]["kind"] == ""


def test_nothing_is_written_over(fields: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("x", encoding="utf-8")
    with pytest.raises(OutputError, match="no empty folder"):
        find_in_folder(fields, tmp_path / "out", FindConfig(), NullObserver())


def test_a_table_is_no_folder(fields: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cells\.csv is the name of a table") as caught:
        find_in_folder(fields, tmp_path / "cells.csv", FindConfig(), NullObserver())
    assert f"such as {tmp_path / 'cells'};" in str(caught.value.hint)
    assert not list(tmp_path.glob("*cells*"))


def test_an_interrupted_run_leaves_nothing(fields: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Impatient(NullObserver):
        def advanced(self, done: int, counts: RunCounts | None = None) -> None:
            if list(tmp_path.glob(".out.partial/s1/*.png")):
                raise KeyboardInterrupt

    model = make_small_finder(tmp_path)
    monkeypatch.setattr(module, "ready_finder", lambda _model, _backend: drawn_finder())
    config = FindConfig(finder=model.path, backend="pytorch")
    with pytest.raises(KeyboardInterrupt):
        find_in_folder(fields, tmp_path / "out", config, Impatient())
    assert not list(tmp_path.glob("*out*"))


def test_the_command_tells_of_failed_images(fields: Path, tmp_path: Path) -> None:
    model = make_small_finder(tmp_path)
    words = ["find", str(fields), "--out", str(tmp_path / "out"), "--finder", str(model.path), "--backend", "pytorch"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 3, result.output
    assert "1 images failed" in result.output


def test_a_folder_without_images_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match="No images under"):
        find_in_folder(tmp_path / "in", tmp_path / "out", FindConfig(), NullObserver())
