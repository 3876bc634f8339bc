"""From labelled fields to a finder and its figures, by the commands."""

import json
from pathlib import Path

import pytest
from conftest import SHARED
from drawn_fields import drawn_finder, grid_of_red_cells, smear
from PIL import Image
from program_commands import app
from small_model import make_small_finder
from typer.testing import CliRunner

from bloodcell_batch.config.finder import EvaluateFinderConfig, FieldSource, TrainFinderConfig
from bloodcell_batch.config.resolve import resolve
from bloodcell_batch.errors import InputError, OutputError, TrainingError, UsageError
from bloodcell_batch.model.file import DEFAULT_FINDER, open_finder
from bloodcell_batch.progress import NullObserver
from bloodcell_batch.training.finder import evaluate as evaluation
from bloodcell_batch.training.finder.data import FieldFile, field_files, part_of, read_boxes, read_field
from bloodcell_batch.training.finder.evaluate import evaluate_finder
from bloodcell_batch.training.finder.train import check_finder_path, checkpoint_of, train_finder

RECIPE = """
name = "toy finder"
epochs = 1
epoch_crops = 4
batch_size = 2
canvas = 64
tile = 64
attribution = "nobody"

[sources.lab]
folder = "fields"
boxes = "yolo"
labels = { 0 = "leukocyte", 1 = "red_cell" }
complete = ["leukocyte", "red_cell"]
test = ["f0.png"]
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    (root / "fields").mkdir()
    for number in range(4):
        white = [(60.0 + 10 * number, 60.0, 36.0)]
        red = grid_of_red_cells(200, 150, 20, but_not_at=white)
        Image.fromarray(smear(200, 150, red, white)).save(root / "fields" / f"f{number}.png")
        lines = [f"0 {x / 200} {y / 150} {d / 200} {d / 150}" for x, y, d in white]
        lines += [f"1 {x / 200} {y / 150} {d / 200} {d / 150}" for x, y, d in red]
        (root / "fields" / f"f{number}.txt").write_text("\n".join(lines), encoding="utf-8")
    (root / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    return root


def test_the_commands_train_and_measure(data: Path, tmp_path: Path) -> None:
    out, figures = tmp_path / "finder.safetensors", tmp_path / "figures.json"
    run = CliRunner().invoke(app, ["train-finder", str(data), "--config", str(data / "recipe.toml"), "--out", str(out)])
    assert run.exit_code == 0, run.output
    assert "lab: 1 images" in run.output
    model = open_finder(out)
    assert model.header.name == "toy finder"
    assert model.header.attribution == "nobody"
    assert model.header.training["images"]["lab"]["test"] == 1
    assert model.header.metrics["lab"]["classes"]["leukocyte"]["by_centre"]["labelled"] == 1
    assert model.header.finder is not None
    assert model.header.finder.thresholds == (0.4, 0.4, 0.4)  # it finds nothing yet
    assert not checkpoint_of(out).exists()
    options = ["--recipe", str(data / "recipe.toml"), "--finder", str(out), "--out", str(figures), "--part", "all"]
    run = CliRunner().invoke(app, ["evaluate-finder", str(data), *options, "--backend", "pytorch", "--quiet"])
    assert run.exit_code == 0, run.output
    assert json.loads(figures.read_text(encoding="utf-8"))["lab"]["images"] == 4


def test_a_finder_that_began_with_another_tells_of_both_trainings(data: Path, tmp_path: Path) -> None:
    first = make_small_finder(tmp_path)
    config = resolve(
        TrainFinderConfig, {"init_weights": first.path, "thresholds": (0.5, 0.5, 0.5)}, data / "recipe.toml"
    )
    config = config.model_copy(update={"epoch_crops": 2, "sources": {"lab": config.sources["lab"]}})
    model, _ = train_finder(config, data, tmp_path / "second.safetensors", NullObserver())
    origin = model.header.training["started_from"]
    assert origin == {"name": first.path.name, "sha256": first.sha256, "training": first.header.training}
    assert model.header.finder is not None
    assert model.header.finder.thresholds == (0.5, 0.5, 0.5)


def test_an_interrupted_training_is_not_lost_by_accident(tmp_path: Path) -> None:
    out = tmp_path / "finder.safetensors"
    checkpoint_of(out).parent.mkdir()
    checkpoint_of(out).write_bytes(b"state")
    with pytest.raises(OutputError, match="interrupted training"):
        check_finder_path(out, overwrite=False, resume=False)
    check_finder_path(out, overwrite=False, resume=True)
    assert checkpoint_of(out).exists()
    check_finder_path(out, overwrite=True, resume=False)
    assert not checkpoint_of(out).exists()


def test_a_source_without_images_is_named(data: Path) -> None:
    with pytest.raises(TrainingError, match="'other' has no images"):
        list(field_files({"other": FieldSource(folder="none", boxes="none")}, data))


@pytest.mark.parametrize("folder", [".", "./", "fields", "./fields", "*"])
def test_the_folder_of_a_source_may_be_that_of_the_data(data: Path, folder: str) -> None:
    root = data if "fields" in folder or "*" in folder else data / "fields"
    files = list(field_files({"lab": FieldSource(folder=folder, boxes="yolo")}, root))
    assert [file.path.name for file in files] == [f"f{number}.png" for number in range(4)]


def test_voc_boxes_beside_the_folder_of_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "boxes").mkdir()
    Image.new("RGB", (100, 80)).save(tmp_path / "images" / "a.png")
    corners = "<xmin>1</xmin><ymin>2</ymin><xmax>11</xmax><ymax>22</ymax>"
    voc = f"<annotation><object><name>WBC</name><bndbox>{corners}</bndbox></object></annotation>"
    (tmp_path / "boxes" / "a.xml").write_text(voc, encoding="utf-8")
    monkeypatch.chdir(tmp_path / "images")
    source = FieldSource(folder=".", boxes="voc")
    (file,) = field_files({"lab": source}, Path())
    (box,) = read_boxes(file.path, source, (80, 100, 3))
    assert (box.label, box.width, box.height) == ("WBC", 10, 20)


def test_an_absolute_folder_is_no_source() -> None:
    with pytest.raises(ValueError, match="is absolute: give it below the folder of the data"):
        FieldSource(folder="/fields", boxes="none")


def test_an_unknown_source_is_named(data: Path) -> None:
    config = resolve(TrainFinderConfig, {"leave_out": ("labb",)}, data / "recipe.toml")
    with pytest.raises(UsageError, match="labb"):
        config.used_sources()
    with pytest.raises(UsageError, match="labb"):
        EvaluateFinderConfig(source=("labb",)).chosen(config.sources)


def test_parts_depend_on_the_name_alone() -> None:
    source = FieldSource(folder="x", boxes="none", test=("B-*",), train_only=("B-7*",), test_share=0.3)
    assert part_of("B-1.jpg", source) == "test"
    assert part_of("B-7.jpg", source) == "train"
    parts = [part_of(f"{number}.jpg", source) for number in range(1000)]
    assert 250 < parts.count("test") < 350
    assert 40 < parts.count("validation") < 130


def test_a_damaged_field_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG damaged")
    with pytest.raises(InputError, match=r"a\.png can't be decoded"):
        read_field(FieldFile(tmp_path / "a.png", "x", "train"), FieldSource(folder="x", boxes="none"))


def test_a_field_without_red_cells_needs_a_scale(tmp_path: Path) -> None:
    Image.new("RGB", (100, 80), (240, 230, 220)).save(tmp_path / "a.png")
    file = FieldFile(tmp_path / "a.png", "x", "train")
    assert read_field(file, FieldSource(folder="x", boxes="none")) is None
    field = read_field(file, FieldSource(folder="x", boxes="none", red_cell_pixels=20))
    assert field is not None
    assert field.levels[0].shape == (160, 200, 3)


def test_the_cell_in_the_middle_of_a_picture_counts_as_found_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_small_finder(tmp_path)
    monkeypatch.setattr(evaluation, "ready_finder", lambda _model, _backend: drawn_finder())
    (tmp_path / "one").mkdir()
    for name, x in (("middle", 65.0), ("beside", 20.0)):
        picture = smear(130, 130, grid_of_red_cells(130, 130, 28, but_not_at=[(x, 65, 40)]), [(x, 65, 40)])
        Image.fromarray(picture).save(tmp_path / "one" / f"{name}.png")
    source = FieldSource(folder="one", boxes="centre", labels={"centre": "leukocyte"}, partial=("leukocyte",))
    config = EvaluateFinderConfig(part="all", backend="pytorch", red_cell_pixels=28)
    figures = evaluate_finder(model, tmp_path, {"one": source}, config, NullObserver())
    content = figures["one"].as_dict()["classes"]["leukocyte"]
    assert (content["by_centre"]["labelled"], content["by_centre"]["missed"]) == (2, 1)
    assert content["by_box"] is None
    assert "by box" not in evaluation.as_text(figures)


@pytest.mark.skipif(not (SHARED / "data" / "fields_bccd").is_dir(), reason="the fields are not on this machine")
def test_the_packaged_finder_finds_the_leukocytes_of_held_out_fields() -> None:
    recipe = resolve(TrainFinderConfig, {}, Path("finder/default"))
    sources = {name: recipe.sources[name] for name in ("bccd", "txl_bcdd")}
    config = EvaluateFinderConfig(backend="openvino", precision="fp32")
    figures = evaluate_finder(open_finder(DEFAULT_FINDER), SHARED / "data", sources, config, NullObserver())
    for source in figures.values():
        found = source.by_centre["leukocyte"].as_dict()
        assert found["recall"][0] >= 0.97
        assert found["precision"][0] >= 0.95
