"""What a person verified is a label; what a program guessed is none."""

import csv
import shutil
from pathlib import Path

import pytest
from finished_run import Run, write_run
from program_commands import app
from review_files import call, filled, read, write
from typer.testing import CliRunner

from bloodcell_batch.cell_classes import DEFAULT_CLASSES, CellClass, ClassList, Role
from bloodcell_batch.errors import InputError, UsageError
from bloodcell_batch.images.preprocessing import Preprocessing
from bloodcell_batch.model.file import DEFAULT_MODEL
from bloodcell_batch.progress import NullObserver
from bloodcell_batch.training.data.class_names import ClassNames
from bloodcell_batch.training.data.labelled import load_labelled
from bloodcell_batch.training.data.sources import open_source


class Listener(NullObserver):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str, **_fields: object) -> None:
        self.notes.append(text)


def labels(path: Path, images: Path | None = None, names: ClassNames | None = None) -> dict[str, str]:
    source = open_source(path, names or ClassNames(DEFAULT_CLASSES), NullObserver(), images)
    return {entry.file.path: source.classes.names[entry.label] for entry in source.entries}


def reviewed(run: Run, folder: Path, answers: dict[str, str], suffix: str = ".parquet") -> Path:
    """The run with these cells verified, and no others."""
    table = run.copy(folder / f"run{suffix}")
    review, rows = filled(Run(table, run.images, run.outcomes), folder, cells="all")
    for row in rows:
        row["verified_label"] = answers.get(row["path"], "")
        row["verified_by"] = "A. Reviewer" if row["verified_label"] else ""
    write(review, rows)
    out = folder / f"verified{suffix}"
    call("import", table, review, "--out", out, "--partial")
    return out


ANSWERS = {
    "007/cell 00.jpg": "monocyte",
    "007/cell 01.jpg": "monocyte",
    "2E5/cell 02.jpg": "basophil",
    "007/cell 05.jpg": "other",
    "007/cell 06.jpg": "not_a_cell",
}
NAMED = {path: label for path, label in ANSWERS.items() if label not in {"other", "not_a_cell"}}


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".xlsx"])
def test_verified_rows_are_labels_and_nothing_else_is(run: Run, tmp_path: Path, suffix: str) -> None:
    path = reviewed(run, tmp_path, ANSWERS, suffix)
    assert labels(path) == NAMED
    listener = Listener()
    images, rejected = load_labelled(path, Preprocessing(input_size=16), 1, listener)
    assert (len(images), len(rejected)) == (3, 0)
    assert images.classes.names == ("basophil", "monocyte")
    assert images.slides.tolist() == ["007", "007", "2E5"]
    left_out = "8 duplicates, 4 failed files, 1 not_a_cell, 1 other, 195 without a verified label"
    assert f"3 verified cells are labels; left out: {left_out}" in listener.notes


def test_a_review_file_is_read_as_it_was_filled_in(run: Run, tmp_path: Path) -> None:
    path, rows = filled(run, tmp_path, cells="all")
    for row in rows:
        row["verified_label"] = ANSWERS.get(row["path"], "")
    write(path, rows)
    with pytest.raises(InputError, match="no run record says where they are"):
        labels(path)
    assert labels(path, run.images) == NAMED


def test_a_map_takes_what_is_of_no_class(run: Run, tmp_path: Path) -> None:
    path = reviewed(run, tmp_path, ANSWERS)
    names = ClassNames(DEFAULT_CLASSES, {"other": "ig", "monocyte": "ignore"})
    assert labels(path, names=names) == {"2E5/cell 02.jpg": "basophil", "007/cell 05.jpg": "ig"}


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".xlsx"])
def test_predictions_are_refused_as_truth(run: Run, tmp_path: Path, suffix: str) -> None:
    table = run.copy(tmp_path / f"run{suffix}")
    for path in (table, tmp_path / f"alone{suffix}"):
        if not path.exists():
            shutil.copy(table, path)
        if path != table and suffix == ".xlsx":
            continue  # a copy without its record is a workbook whose first sheet has no labels
        with pytest.raises(InputError, match="no verified labels") as caught:
            labels(path)
        assert f"review export {path}" in caught.value.hint
        assert "review import" in caught.value.hint


@pytest.mark.parametrize("extra", ["confidence", "p_monocyte", "outlier_score"])
def test_a_part_of_a_prediction_is_one(tmp_path: Path, extra: str) -> None:
    (tmp_path / "m.csv").write_text(f"path,label,{extra}\na.jpg,ig,0.9\n", encoding="utf-8")
    with pytest.raises(InputError, match="guesses, not the truth"):
        labels(tmp_path / "m.csv")


def test_nothing_verified_is_no_truth(run: Run, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no verified labels"):
        labels(reviewed(run, tmp_path, {}))
    (tmp_path / "x").mkdir()
    with pytest.raises(InputError, match="no verified cell of a class"):
        labels(reviewed(run, tmp_path / "x", {"007/cell 05.jpg": "other"}))


def test_the_images_must_be_those_that_were_seen(run: Run, tmp_path: Path) -> None:
    path = reviewed(run, tmp_path, ANSWERS)
    other = tmp_path / "other"
    shutil.copytree(run.images, other)
    (other / "007" / "cell 00.jpg").write_bytes((other / "007" / "cell 07.jpg").read_bytes())
    (other / "2E5" / "cell 02.jpg").write_bytes(b"")
    with pytest.raises(InputError) as caught:
        labels(path, other)
    said = caught.value.message
    assert "(007/cell 00.jpg)" in said
    assert "(2E5/cell 02.jpg)" in said
    assert "007/cell 01.jpg" not in said
    assert "another SHA-256" in said
    (other / "2E5" / "cell 02.jpg").unlink()
    with pytest.raises(InputError, match=r"\(2E5/cell 02.jpg\) of .* is not in"):
        labels(path, other)
    with pytest.raises(InputError, match="There is no folder"):
        labels(path, tmp_path / "nowhere")


def test_a_folder_that_has_moved_is_named_with_images(run: Run, tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    shutil.copytree(run.images, before)
    table = write_run(before, run.outcomes, tmp_path / "moved.parquet")
    path = reviewed(Run(table, before, run.outcomes), tmp_path, ANSWERS)
    before.rename(after)
    with pytest.raises(InputError, match=r"The images of .* can't be found: the folder .*before of its run record"):
        labels(path)
    assert labels(path, after) == NAMED


def test_pseudonyms_name_no_images(run: Run, tmp_path: Path, key_file: Path) -> None:
    path = reviewed(run, tmp_path, ANSWERS)
    out = tmp_path / "shared.parquet"
    done = CliRunner().invoke(app, ["pseudonymize", str(path), "--key", str(key_file), "--out", str(out)])
    assert done.exit_code == 0, done.stderr
    with pytest.raises(InputError, match="has pseudonyms"):
        labels(out)


def test_paths_lead_nowhere_else(run: Run, tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("path,verified_label\n../results.parquet,ig\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"row 2 \(../results.parquet\) of .* is not in"):
        labels(tmp_path / "r.csv", run.images)
    twice = "path,verified_label\n007/cell 00.jpg,ig\n007/cell 00.jpg,monocyte\n"
    (tmp_path / "r.csv").write_text(twice, encoding="utf-8")
    with pytest.raises(InputError, match="lines 2 and 3 both name"):
        labels(tmp_path / "r.csv", run.images)


def test_images_are_for_reviewed_results_only(toy_cells: Path) -> None:
    with pytest.raises(UsageError, match="has no meaning"):
        open_source(toy_cells, ClassNames(), NullObserver(), toy_cells)


def test_classes_that_only_the_run_declares_keep_their_roles(run: Run, tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text(
        "path,verified_label\n007/cell 00.jpg,hairy_cell\n007/cell 01.jpg,ig\n", encoding="utf-8"
    )
    with pytest.raises(InputError, match="'hairy_cell'"):
        labels(tmp_path / "r.csv", run.images, ClassNames())
    declared = ClassList((CellClass("hairy_cell", Role.LEUKOCYTE, "lymphocyte"), CellClass("x", Role.OUTSIDE)))
    source = open_source(tmp_path / "r.csv", ClassNames(declared=declared), NullObserver(), run.images)
    assert source.classes.classes == (CellClass("ig", Role.LEUKOCYTE), declared.classes[0])


def test_evaluating_against_a_review_in_which_all_was_corrected(run: Run, tmp_path: Path) -> None:
    """The table says neutrophil, the person says monocyte: the accuracy is that of the model against the person."""
    answers = {f"007/cell {i:02}.jpg": "monocyte" for i in (0, 1, 2, 5, 6, 7, 8, 9)}
    path = reviewed(run, tmp_path, answers)
    out = tmp_path / "e.json"
    options = ["--workers", "1", "--bootstrap", "0", "--out", str(out)]
    done = CliRunner().invoke(app, ["evaluate", str(DEFAULT_MODEL), str(path), *options])
    assert done.exit_code == 0, done.stderr
    assert '"images": 8' in out.read_text(encoding="utf-8")
    refused = CliRunner().invoke(app, ["evaluate", str(DEFAULT_MODEL), str(run.table), *options])
    assert refused.exit_code == 1
    assert "no verified labels" in refused.stderr


def test_training_reads_reviewed_results(toy_cells: Path, toy_recipe: Path, tmp_path: Path) -> None:
    paths = [
        path.relative_to(toy_cells) for name in ("basophil", "ig") for path in sorted((toy_cells / name).iterdir())
    ]
    table = tmp_path / "review.csv"
    with table.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "slide_id", "label", "verified_label"])
        writer.writerows([path, "s", "monocyte", path.parts[0]] for path in paths)
    out = tmp_path / "m.safetensors"
    options = ["--config", str(toy_recipe), "--epochs", "1", "--out", str(out)]
    done = CliRunner().invoke(app, ["train", str(table), "--images", str(toy_cells), *options])
    assert done.exit_code == 0, done.stderr
    assert "basophil" in done.stdout
    assert "monocyte" not in done.stdout
    assert read(table)[0]["label"] == "monocyte"
