import csv
import errno
import json
import os
from pathlib import Path

import pytest
from finished_run import MIX, Run, write_run
from program_commands import app
from review_files import call, read, write
from typer.testing import CliRunner

from bloodcell_batch.cell_classes import NOT_A_CELL
from bloodcell_batch.config.results import SortConfig
from bloodcell_batch.errors import OutputError
from bloodcell_batch.progress import NullObserver
from bloodcell_batch.reports.sorting import sort_cells, unique_name
from bloodcell_batch.training.data.class_names import ClassNames
from bloodcell_batch.training.data.sources import open_source


def _call(*arguments: str | Path, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["sort", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


@pytest.fixture(scope="module")
def reviewed(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 24 cells without a class are verified: 10 monocytes, 10 basophils, 4 no cell; the program named the rest."""
    folder = tmp_path_factory.mktemp("reviewed")
    call("export", run.table, "--out", folder / "r.csv")
    rows = read(folder / "r.csv")
    labels = ["monocyte"] * 10 + ["basophil"] * 10 + [NOT_A_CELL] * 4
    for row, label in zip(rows, labels, strict=True):
        row["verified_label"], row["verified_by"] = label, "me"
    write(folder / "r.csv", rows)
    call("import", run.table, folder / "r.csv", "--out", folder / "v.parquet")
    return folder / "v.parquet"


def test_folders_by_class(run: Run, reviewed: Path, tmp_path: Path) -> None:
    said = _call(reviewed, tmp_path / "cells")
    predicted = {f"predicted_{name}": 4 * count for name, count in MIX.items()}
    expected = {**predicted, "monocyte": 10, "basophil": 10, "verified_not_a_cell": 4}
    found = {folder.name: len(list(folder.iterdir())) for folder in (tmp_path / "cells").iterdir() if folder.is_dir()}
    assert found == expected
    assert "200 cells in 9 folders, as hard links" in said
    assert "left out, exact duplicate: 4" in said
    assert "left out, failed: 4" in said
    with (tmp_path / "cells" / "sorted.csv").open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == 200
    for row in rows:
        assert (tmp_path / "cells" / row["file"]).samefile(run.images / row["path"])
    assert {row["by"] for row in rows if row["file"].startswith("predicted_")} == {"predicted"}
    assert os.access(tmp_path / "cells", os.R_OK | os.X_OK)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cells"]


def test_only_what_is_verified_is_truth_for_training(reviewed: Path, tmp_path: Path) -> None:
    _call(reviewed, tmp_path / "cells")
    source = open_source(tmp_path / "cells", ClassNames(), NullObserver())
    assert len(source.entries) == 20
    assert {entry.file.path.split("/")[0] for entry in source.entries} == {"monocyte", "basophil"}


def test_cells_without_a_class_are_apart(run: Run, tmp_path: Path) -> None:
    _call(run.table, tmp_path / "cells", "--images", run.images)
    assert len(list((tmp_path / "cells" / "unclassified").iterdir())) == 24


def test_changed_and_missing_images_are_left_out(run: Run, tmp_path: Path) -> None:
    images = tmp_path / "images"
    for number, slide in enumerate(("007", "1-2")):
        (images / slide).mkdir(parents=True)
        data = (run.images / slide / "cell 00.jpg").read_bytes()
        (images / slide / "cell 00.jpg").write_bytes(data + b"x" * number)
    said = _call(run.table, tmp_path / "cells", "--images", images)
    assert "1 cell in 1 folder" in said
    assert "left out, changed since they were classified: 1" in said
    assert "left out, missing: 198" in said


def test_nothing_is_replaced(run: Run, tmp_path: Path) -> None:
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / "mine").write_text("x", encoding="utf-8")
    assert "is no empty folder" in _call(run.table, tmp_path / "cells", code=1)
    assert "There is no folder" in _call(run.table, tmp_path / "no" / "cells", code=1)
    assert [path.name for path in (tmp_path / "cells").iterdir()] == ["mine"]


def test_without_images_there_is_nothing(run: Run, tmp_path: Path) -> None:
    assert "Name it with --images" in _call(run.table, tmp_path / "cells", "--images", tmp_path / "gone", code=1)
    (tmp_path / "empty").mkdir()
    said = _call(run.table, tmp_path / "cells", "--images", tmp_path / "empty", code=1)
    assert "No cell of" in said
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_paths_out_of_the_folder_are_not_followed(run: Run, tmp_path: Path) -> None:
    outcomes = tuple(outcome for outcome in run.outcomes if outcome.file.path == "007/cell 00.jpg")
    table = write_run(run.images, outcomes, tmp_path / "r.csv")
    text = table.read_text(encoding="utf-8")
    table.write_text(text.replace(outcomes[0].file.path, f"../{run.images.name}/x.jpg"), encoding="utf-8")
    record = json.loads(table.with_suffix(".run.json").read_text(encoding="utf-8"))
    for name in ("results_id", "tables_sha256", "record_sha256"):
        record.pop(name)
    table.with_suffix(".run.json").write_text(json.dumps(record), encoding="utf-8")
    (run.images / "x.jpg").write_bytes((run.images / outcomes[0].file.path).read_bytes())
    try:
        assert "missing" in _call(table, tmp_path / "cells", code=1)
    finally:
        (run.images / "x.jpg").unlink()


def test_other_disks_get_copies(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EXDEV, "another disk")

    monkeypatch.setattr(os, "link", no_links)
    assert "200 cells in 7 folders, as copies" in _call(run.table, tmp_path / "cells")
    copy = next((tmp_path / "cells" / "unclassified").iterdir())
    assert copy.stat().st_nlink == 1


def test_a_full_disk_leaves_nothing(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(OutputError, match="No space left"):
        sort_cells(run.table, tmp_path / "cells", SortConfig(), NullObserver())
    assert list(tmp_path.iterdir()) == []


def test_names_are_unique() -> None:
    taken: set[str] = set()
    assert unique_name("a/b__c.jpg", taken) == "a__b__c.jpg"
    assert unique_name("a__b/c.jpg", taken) == "a__b__c~2.jpg"
    assert unique_name("A/B__C.JPG", taken) == "A__B__C~2.JPG" or len({*taken}) == 3
    long = [unique_name(f"{'ä' * 150}{end}.jpg", taken) for end in "xy"]
    assert len({*long}) == 2
    assert all(len(name.encode()) <= 200 and name.endswith(".jpg") for name in long)
