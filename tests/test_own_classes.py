"""Models with other classes than the packaged one, from labelled folders to every kind of output."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import TOY_RECIPE, encode
from program_commands import app
from typer.testing import CliRunner

from bloodcell_batch.cell_classes import CellClass, ClassList, Role
from bloodcell_batch.model.file import open_model
from bloodcell_batch.results.finished import load_results
from bloodcell_batch.training.fit.initial_weights import rows_by_name

PBC = ("BA", "EO", "ERB", "IG", "PMY", "MY", "MMY", "LY", "MO", "BNE", "SNE", "NEUTROPHIL", "PLATELET")
FIVE = ("neutrophil", "lymphocyte", "blast", "smudge_cell", "hairy_cell")
TWO = ("lymphocyte", "platelet")
DECLARED = """
[classes]
neutrophil = "leukocyte"
lymphocyte = "leukocyte"
blast = "leukocyte"
smudge_cell = "outside"
hairy_cell = { role = "leukocyte", parent = "lymphocyte" }
"""
ANY = ("--min-confidence", "0", "--outlier-threshold", "1000000", "--workers", "1", "--force")
EACH = 12


def call(*arguments: str | Path, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.stderr
    return " ".join(result.stderr.split())


def draw(folder: Path, colour: int, count: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(colour)
    base = np.array((colour % 3, colour // 3 % 3, colour // 9)) * 80
    for number in range(count):
        coarse = np.kron(rng.integers(0, 60, (8, 8, 3)), np.ones((8, 8, 1), dtype=np.int64))
        picture = (base + coarse + rng.integers(0, 40, (64, 64, 3))).clip(0, 255).astype(np.uint8)
        (folder / f"{colour}_{number:02}.jpg").write_bytes(encode(picture))


def trained(folder: Path, names: tuple[str, ...], more: str = "") -> Path:
    """A model that has learned a little of drawn cells of these classes."""
    for colour, name in enumerate(names):
        draw(folder / "cells" / name, colour, EACH)
    # Keys of the recipe stand before its tables.
    recipe = folder / "recipe.toml"
    recipe.write_text(TOY_RECIPE + more, encoding="utf-8")
    out = folder / "model.safetensors"
    call("train", folder / "cells", "--config", recipe, "--epochs", "2", "--out", out)
    return out


def slides(folder: Path, classes: int) -> Path:
    for slide in ("one", "two"):
        for colour in range(classes):
            draw(folder / slide, colour + (13 if slide == "two" else 0), 3)
    return folder


@pytest.fixture(scope="module")
def thirteen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("thirteen"), PBC)


@pytest.fixture(scope="module")
def five(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("five"), FIVE, DECLARED)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("two"), TWO)


def test_names_of_a_data_set_become_classes_with_roles_and_parents(thirteen: Path) -> None:
    header = open_model(thirteen).header
    classes = header.class_list.by_name
    assert len(classes) == 13
    assert classes["band_neutrophil"] == CellClass("band_neutrophil", Role.LEUKOCYTE, "neutrophil")
    assert classes["metamyelocyte"].parent == "ig"
    assert classes["erythroblast"].role is Role.NRBC
    assert header.training["labels"]["BNE"] == "band_neutrophil"
    assert header.training["labels"]["PLATELET"] == "platelet"


def test_declared_classes_keep_their_order_roles_and_parents(five: Path) -> None:
    header = open_model(five).header
    assert header.class_list.names == FIVE
    assert header.class_list.by_name["smudge_cell"].role is Role.OUTSIDE
    assert header.class_list.by_name["hairy_cell"].parent == "lymphocyte"
    assert header.training["labels"] == {}


@pytest.mark.parametrize(
    ("which", "subclasses"), [("thirteen", False), ("thirteen", True), ("five", True), ("two", False)]
)
def test_every_command_follows_the_model(
    request: pytest.FixtureRequest, tmp_path: Path, key_file: Path, which: str, *, subclasses: bool
) -> None:
    model: Path = request.getfixturevalue(which)
    names = open_model(model).header.class_list.names
    root, table = slides(tmp_path / "slides", len(names)), tmp_path / "r.csv"
    options: list[str | Path] = ["--model", model, *ANY, *(["--subclasses"] if subclasses else [])]
    call("classify", root, "--out", table, *options)
    results = load_results(table)
    kinds = {"thirteen": 8, "five": 4, "two": 2}[which]
    assert len(results.classes) == (len(names) if subclasses else kinds)
    assert {row.label for row in results.rows if row.is_cell} <= set(results.classes.names)
    call("verify", table, "--model", model, "--images", root)
    call("differential", table, "--out", tmp_path / "d.csv")
    call("report", table, "--out", tmp_path / "r.html", "--images", root)
    call("export-fhir", table, "--out", tmp_path / "f.json")
    assert json.loads((tmp_path / "f.json").read_text(encoding="utf-8"))["resourceType"] == "Bundle"
    call("pseudonymize", table, "--key", key_file, "--out", tmp_path / "p.csv")
    _review(table, root, tmp_path)
    _shards(table, root, tmp_path, options)
    assert "files have not changed" in call("classify", root, "--out", table, *options, "--update")


def _review(table: Path, root: Path, folder: Path) -> None:
    call("review", "export", table, "--out", folder / "review.html", "--images", root, "--cells", "all")
    review, verified = folder / "review.csv", folder / "verified.csv"
    call("review", "export", table, "--out", review, "--cells", "all")
    with review.open(newline="", encoding="utf-8-sig") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        row["verified_label"], row["verified_by"] = row["suggestion"], "A"
    with review.open("w", newline="", encoding="utf-8-sig") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    call("review", "import", table, review, "--out", verified)
    call("verify", verified)
    if any(slide.wbc_counted for slide in load_results(verified).slides):
        call("concordance", table, verified, "--out", folder / "c.html")


def _shards(table: Path, root: Path, folder: Path, options: list[str | Path]) -> None:
    parts = [folder / f"shard{number}.csv" for number in (1, 2)]
    for number, part in enumerate(parts):
        call("classify", root, "--out", part, "--shard", f"{number}/2", *options)
    call("merge", *parts, "--out", folder / "merged.csv")
    assert (folder / "merged.csv").read_bytes() == table.read_bytes()


def test_results_of_other_classes_are_not_mixed(thirteen: Path, tmp_path: Path) -> None:
    root = slides(tmp_path / "slides", 4)
    one, other, table = tmp_path / "1.csv", tmp_path / "2.csv", tmp_path / "r.csv"
    call("classify", root, "--out", one, "--shard", "0/2", "--model", thirteen, *ANY)
    call("classify", root, "--out", other, "--shard", "1/2", "--model", thirteen, "--subclasses", *ANY)
    assert "The shards differ in the option subclasses" in call("merge", one, other, "--out", table, code=1)
    call("classify", root, "--out", table, "--model", thirteen, *ANY)
    said = call("classify", root, "--out", table, "--model", thirteen, "--subclasses", "--update", *ANY)
    assert "everything is classified again: --subclasses was false and now is true" in said
    assert len(load_results(table).classes) == 13


def test_outputs_of_the_initial_model_are_taken_over_by_name(five: Path, tmp_path: Path) -> None:
    """The same number of classes in another order: by shape alone, each row would come to another class."""
    names = (*FIVE[:3][::-1], "eosinophil", "hairy_cell")
    for name in names:
        draw(tmp_path / "cells" / name, (*FIVE, "eosinophil").index(name), EACH)
    lines = ['hairy_cell = { role = "leukocyte", parent = "lymphocyte" }']
    roles = [f'{name} = "leukocyte"' for name in names[:4]]
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(TOY_RECIPE + "\n[classes]\n" + "\n".join([*roles, *lines]), encoding="utf-8")
    out = tmp_path / "m.safetensors"
    start = ("--config", recipe, "--epochs", "0", "--init-weights", five, "--out", out)
    said = call("train", tmp_path / "cells", *start)
    assert "taken over by name: neutrophil, lymphocyte, hairy_cell, blast; new: eosinophil" in said
    before, after = (open_model(path).load_tensors("network.classifier.") for path in (five, out))
    for place, name in enumerate(names):
        if name != "eosinophil":
            np.testing.assert_array_equal(after["weight"][place], before["weight"][FIVE.index(name)])
            np.testing.assert_array_equal(after["bias"][place], before["bias"][FIVE.index(name)])
    assert abs(after["weight"][3]).max() < 0.1


def test_a_kind_that_the_initial_model_does_not_know_starts_as_its_parent(two: Path) -> None:
    kinds = (CellClass("hairy_cell", Role.LEUKOCYTE, "lymphocyte"), CellClass("platelet", Role.PLATELET))
    classes = ClassList((*kinds, CellClass("blast", Role.LEUKOCYTE), CellClass("lymphocyte", Role.LEUKOCYTE)))
    lymphocyte, platelet = (open_model(two).header.class_list.names.index(name) for name in TWO)
    assert rows_by_name([two], classes) == {0: lymphocyte, 1: platelet, 3: lymphocyte}
