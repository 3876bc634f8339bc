"""A model that learnt nothing does not classify in silence."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import draw_picture, encode
from program_commands import app
from small_model import make_small_model
from typer.testing import CliRunner

from bloodcell_batch.errors import ExitCode
from bloodcell_batch.model.evidence import doubt
from bloodcell_batch.model.file import ModelFile, open_model, save_model
from bloodcell_batch.statistics.binomial import chance_of_at_least


def figures(right: Sequence[float], wrong: Sequence[float]) -> dict[str, Any]:
    """Figures in which so many images of each class are right."""
    return {
        "per_class": {
            str(place): {
                "images": int(hits + misses),
                "recall": hits / (hits + misses) if hits + misses else None,
            }
            for place, (hits, misses) in enumerate(zip(right, wrong, strict=True))
        }
    }


NONE = "holds no figures"
CHANCE = "is not better than chance"


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        pytest.param(figures([99] * 8, [1] * 8), "", id="good"),
        pytest.param(figures([2] * 8, [0] * 8), "", id="few images, all right"),
        pytest.param(figures([900, 40, 40], [10, 5, 5]), "", id="one class is most of all"),
        pytest.param(figures([40] + [0] * 7, [0] + [20] * 7), CHANCE, id="always the commonest"),
        pytest.param(figures([13] * 8, [87] * 8), CHANCE, id="guessed"),
        pytest.param(figures([18] * 8, [82] * 8), "", id="little, but surely, better"),
        pytest.param(figures([0] * 8, [9] * 8), CHANCE, id="always wrong"),
        pytest.param(figures([1, 1, 0], [0, 0, 0]), CHANCE, id="too few to tell"),
        pytest.param(figures([0] * 8, [0] * 8), "was measured on no test images", id="no images"),
        pytest.param(figures([4.5] * 8, [0.5] * 8), "", id="means of repeated cross-validation"),
        pytest.param({"per_class": {}}, "was measured on no test images", id="no classes"),
        pytest.param({}, NONE, id="never trained"),
        pytest.param({"accuracy": 0.99}, NONE, id="a mere claim"),
        pytest.param({"per_class": {"ig": {"images": 9}}}, NONE, id="no recall"),
        pytest.param({"per_class": {"ig": {"images": -1, "recall": 1.0}}}, NONE, id="negative"),
        pytest.param({"per_class": {"ig": {"images": 9, "recall": 1.5}}}, NONE, id="more than all"),
        pytest.param({"per_class": "ig"}, NONE, id="text"),
    ],
)
def test_doubt(metrics: dict[str, Any], expected: str) -> None:
    found = doubt(open_model().header.model_copy(update={"metrics": metrics}))
    assert found.startswith(expected)
    assert bool(found) == bool(expected)


def test_the_shipped_model_is_beyond_doubt() -> None:
    assert doubt(open_model().header) == ""


def test_the_exact_test() -> None:
    assert chance_of_at_least(0, 0, 0.5) == chance_of_at_least(0, 9, 0.5) == 1
    assert chance_of_at_least(2, 3, 0.5) == pytest.approx(0.5)
    assert chance_of_at_least(7, 16, 1 / 8) == pytest.approx(0.0019407753)
    for count, share in ((3, 0.5), (-1, 0.5), (1, 1.5)):
        with pytest.raises(ValueError, match="no binomial"):
            chance_of_at_least(count, 2, share)


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    return make_small_model(tmp_path_factory.mktemp("untrained"))


@pytest.fixture
def slides(tmp_path: Path) -> Path:
    folder = tmp_path / "slides" / "s"
    folder.mkdir(parents=True)
    for seed in range(3):
        (folder / f"{seed}.jpg").write_bytes(encode(draw_picture(seed)))
    return folder.parent


def classify(slides: Path, model: ModelFile, *options: str) -> tuple[int, str]:
    words = ["classify", str(slides), "--out", str(slides.parent / "r.csv"), "--model", str(model.path)]
    result = CliRunner().invoke(app, [*words, "--backend", "pytorch", *options])
    return result.exit_code, " ".join(result.stderr.split())


def test_an_untrained_model_is_refused_and_can_be_forced(untrained: ModelFile, slides: Path) -> None:
    code, said = classify(slides, untrained)
    assert code == ExitCode.BACKEND_REFUSED
    assert f"The model {untrained.path} holds no figures of test images" in said
    assert "--force uses it all the same" in said
    assert [path.name for path in slides.parent.iterdir()] == ["slides"]
    code, said = classify(slides, untrained, "--force", "--quiet")
    assert code == 0
    assert "warning: the model small holds no figures" in said
    record = json.loads((slides.parent / "r.run.json").read_text(encoding="utf-8"))
    assert record["config"]["force"] is True
    assert "never trained" in record["model"]["doubt"]


def test_force_leaves_no_trace_where_there_is_no_doubt(slides: Path) -> None:
    code, said = classify(slides, open_model(), "--force")
    assert code == 0
    assert "warning: the model" not in said
    record = json.loads((slides.parent / "r.run.json").read_text(encoding="utf-8"))
    assert "doubt" not in record["model"]


@pytest.mark.parametrize(
    ("recipe", "images", "told"),
    [
        ({"pretrained": False, "init_weights": None}, 128, True),
        ({"pretrained": False, "init_weights": None}, 1000, False),
        ({"pretrained": True, "init_weights": None}, 128, False),
        ({"pretrained": False, "init_weights": "default"}, 128, False),
    ],
)
def test_a_model_that_had_little_to_learn_from_is_told_of(
    untrained: ModelFile, slides: Path, recipe: dict[str, Any], images: int, *, told: bool
) -> None:
    training = {"recipe": recipe, "split": {"train": images}}
    header = untrained.header.model_copy(update={"metrics": figures([9] * 8, [1] * 8), "training": training})
    model = save_model(slides.parent / "m.safetensors", header, untrained.load_tensors(""))
    code, said = classify(slides, model, "--quiet")
    assert code == 0
    assert ("from random weights on fewer than 1,000 images" in said) == told


def test_doctor_says_that_classify_would_refuse_it(untrained: ModelFile) -> None:
    result = CliRunner().invoke(app, ["doctor", "--model", str(untrained.path)])
    assert result.exit_code == ExitCode.BACKEND_REFUSED
    assert "model small" in result.stdout
    assert "holds no figures" in " ".join(result.stderr.split())
