import json
from pathlib import Path

import numpy as np
import pytest
from program_commands import app
from typer.testing import CliRunner

from bloodcell_batch.config.recipe import TrainConfig
from bloodcell_batch.config.resolve import resolve
from bloodcell_batch.errors import ModelFileError, TrainingError
from bloodcell_batch.model.file import open_model
from bloodcell_batch.progress import NullObserver
from bloodcell_batch.training.fit.cross_validation import cross_validate, recipe_of
from bloodcell_batch.training.fit.train import train


def test_every_image_is_tested_once(toy_cells: Path, toy_recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "folds.json"
    options = ["--folds", "3", "--recipe", str(toy_recipe), "--out", str(out)]
    result = CliRunner().invoke(app, ["evaluate", str(toy_cells), *options])
    assert result.exit_code == 0, result.stderr
    folds = json.loads(out.read_text(encoding="utf-8"))["folds"]
    assert len(folds) == 3
    assert sum(fold["images"] for fold in folds) == 160
    counts = np.sum([[row["images"] for row in fold["per_class"].values()] for fold in folds], axis=0)
    assert counts.tolist() == [20] * 8
    accuracies = [fold["accuracy"] for fold in folds]
    row = next(line.split() for line in result.stdout.splitlines() if line.startswith("accuracy "))
    assert row[1:3] == [f"{np.mean(accuracies):.2%}", f"{np.std(accuracies, ddof=1):.2%}"]
    assert np.mean(accuracies) > 0.6


def test_the_recipe_of_a_model_starts_without_its_first_weights(
    toy_cells: Path, toy_recipe: Path, tmp_path: Path
) -> None:
    config = resolve(TrainConfig, {"epochs": 1}, toy_recipe)
    first = train(config, toy_cells, tmp_path / "a.safetensors")
    assert first is not None
    second = train(config.model_copy(update={"init_weights": (first[0].path,)}), toy_cells, tmp_path / "b.safetensors")
    assert second is not None
    recipe = recipe_of(second[0].header)
    assert recipe.init_weights == ()
    assert recipe.model_copy(update={"workers": config.workers}) == config


def test_a_recipe_of_another_release_is_refused(toy_cells: Path, toy_recipe: Path, tmp_path: Path) -> None:
    result = train(resolve(TrainConfig, {"epochs": 1}, toy_recipe), toy_cells, tmp_path / "a.safetensors")
    assert result is not None
    header = open_model(result[0].path).header
    old = header.model_copy(update={"training": {"recipe": {"epochz": 3}}})
    with pytest.raises(ModelFileError, match="epochz"):
        recipe_of(old)


def test_too_few_images_for_the_folds(toy_cells: Path, toy_recipe: Path) -> None:
    with pytest.raises(TrainingError, match="20 different images for 21 folds"):
        cross_validate(resolve(TrainConfig, {}, toy_recipe), toy_cells, 21, NullObserver())


def pooled(cells: Path, folder: Path, sites: tuple[str, ...], *, lacking: str = "") -> Path:
    """The drawn cells, dealt out to the laboratories in turn; the last of them has none of the class `lacking`."""
    for path in cells.glob("*/*"):
        site = sites[int(path.stem) % len(sites)]
        if (site, path.parent.name) != (sites[-1], lacking):
            place = folder / site / path.parent.name / path.name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.hardlink_to(path)
    return folder


def test_every_laboratory_is_left_out_once(toy_cells: Path, toy_recipe: Path, tmp_path: Path) -> None:
    out, data = tmp_path / "folds.json", pooled(toy_cells, tmp_path / "data", ("Basel", "Graz", "Żory"))
    options = ["--folds", "laboratory", "--recipe", str(toy_recipe), "--out", str(out)]
    result = CliRunner().invoke(app, ["evaluate", str(data), *options])
    assert result.exit_code == 0, result.stderr
    folds = json.loads(out.read_text(encoding="utf-8"))["folds"]
    assert {fold["fold"]: fold["images"] for fold in folds} == {"Basel": 56, "Graz": 56, "Żory": 48}
    assert result.stdout.splitlines()[0].split() == ["fold", "mean", "sd", "Basel", "Graz", "Żory"]
    assert np.mean([fold["accuracy"] for fold in folds]) > 0.6


def test_a_laboratory_that_the_others_cannot_replace_stays(toy_cells: Path, toy_recipe: Path, tmp_path: Path) -> None:
    class Listener(NullObserver):
        def __init__(self) -> None:
            self.warnings: list[str] = []

        def warn(self, text: str, **_fields: object) -> None:
            self.warnings.append(text)

    listener, config = Listener(), resolve(TrainConfig, {"epochs": 1}, toy_recipe)
    data = pooled(toy_cells, tmp_path / "data", ("Basel", "Graz"), lacking="basophil")
    found = cross_validate(config, data, None, listener)
    assert found.names == ("Graz",)
    assert found.as_text().splitlines()[0].split() == ["fold", "mean", "sd", "Graz"]
    assert "nan" not in found.as_text()
    assert [text for text in listener.warnings if text.startswith("Basel can't be left out: Too few images")]
    with pytest.raises(TrainingError, match="all of one laboratory"):
        cross_validate(config, toy_cells, None, listener)


def test_folds_are_a_number_or_laboratories(toy_cells: Path) -> None:
    for wrong in ("1", "site", "2.5"):
        result = CliRunner().invoke(app, ["evaluate", str(toy_cells), "--folds", wrong])
        assert result.exit_code == 2
        assert f"--folds {wrong} is neither" in result.stderr
