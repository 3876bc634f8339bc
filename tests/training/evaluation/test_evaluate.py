"""`evaluate` from the command line, with the model in the package, on drawn cells."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import draw_picture, encode
from PIL import Image
from program_commands import app
from typer.testing import CliRunner

from bloodcell_batch.model.file import DEFAULT_MODEL


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    for label, name in enumerate(("SEG", "lymphocyte", "smudge")):
        (folder / name).mkdir()
        for i in range(4):
            (folder / name / f"{i}.png").write_bytes(encode(draw_picture(10 * label + i, 64), "PNG"))
    return folder


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["evaluate", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def test_the_report_holds_everything(cells: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "report", tmp_path / "figures.json"
    options = ["--map", "SEG=neutrophil", "--map", "smudge=ignore", "--corruptions", "--corruption-images", "4"]
    code, stdout, stderr = run(DEFAULT_MODEL, cells, *options, "--report", folder, "--out", out, "--workers", 1)
    assert code == 0, stderr
    assert sorted(path.name for path in folder.iterdir()) == [
        "confusion.png",
        "corruptions.png",
        "evaluation.json",
        "evaluation.md",
        "reliability.png",
        "risk_coverage.png",
    ]
    content = json.loads(out.read_text(encoding="utf-8"))
    assert content == json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    metrics = content["metrics"]
    assert metrics["images"] == 8
    assert metrics["per_class"]["basophil"]["recall"] is None
    assert metrics["per_class"]["neutrophil"]["images"] == 4
    low, high = content["intervals_95"]["accuracy"]
    assert low <= metrics["accuracy"] <= high
    assert content["corruptions"]["images"] == 4
    assert len(content["corruptions"]["accuracy"]) == 14
    text = (folder / "evaluation.md").read_text(encoding="utf-8")
    assert f"| accuracy | {metrics['accuracy']:.2%} |" in text
    assert re.search(r"the model leaves [\d.]+% \(\d+ of 8; 95 % limits [\d.]+-[\d.]+%\) for review", text)
    assert re.search(r"\| 90% \| [\d.]+% \(\d of 7; 95 % limits", text)
    assert text.index("| neutrophil |") < text.index("| lymphocyte |")
    assert "No images of monocyte, eosinophil, basophil, ig, erythroblast, platelet" in text
    assert f"severity {content['corruptions']['worst']['severity']}" in stdout
    for name in ("confusion", "corruptions", "reliability", "risk_coverage"):
        with Image.open(folder / f"{name}.png") as picture:
            assert len(picture.convert("RGB").getcolors(1 << 20) or []) > 20


def test_one_argument_means_the_model_in_the_package(cells: Path) -> None:
    code, stdout, _ = run(cells, "--bootstrap", 0)
    assert code == 0
    assert stdout.splitlines()[0].split() == ["images", "8"]
    assert all("limits" not in line for line in stdout.splitlines() if line.startswith("balanced"))
    with_option = run(cells, "--model", DEFAULT_MODEL, "--bootstrap", 0)
    assert with_option[1] == stdout


def test_a_single_class_or_image_gives_figures(tmp_path: Path) -> None:
    (tmp_path / "ig").mkdir()
    (tmp_path / "ig" / "1.png").write_bytes(encode(draw_picture(5, 64), "PNG"))
    out = tmp_path / "f.json"
    code, _, stderr = run(tmp_path, "--out", out)
    assert code == 0, stderr
    assert json.loads(out.read_text(encoding="utf-8"))["metrics"]["auroc"] is None


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--map", "SEG=neutro"], 2, "unknown classes: neutro"),
        (["--map", "SEG"], 2, "is not OTHER=OURS"),
        (["--part", "training"], 1, "No image of 8 in"),
        (["--report", "/proc/none"], 1, "Can't write to /proc/none"),
        (["--out", "/proc/none.json"], 1, "Can't write /proc/none.json"),
        (["--corruption-images", "0"], 2, "--corruption-images"),
    ],
)
def test_wrong_options_are_explained(cells: Path, arguments: list[str], code: int, said: str) -> None:
    found, _, stderr = run(cells, *arguments)
    assert found == code
    assert said in " ".join(stderr.split())


def test_a_full_stdout_costs_no_figures(cells: Path, tmp_path: Path) -> None:
    out, folder = tmp_path / "f.json", tmp_path / "report"
    command = [sys.executable, "-m", "bloodcell_batch", "evaluate", cells, "--out", out, "--report", folder]
    command += ["--bootstrap", "0"]
    with open("/dev/full", "wb") as full:
        done = subprocess.run([*map(str, command)], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert "Can't write to stdout" in done.stderr
    assert json.loads(out.read_text(encoding="utf-8"))["metrics"]["images"] == 8
    assert (folder / "evaluation.md").exists()


def test_a_place_that_cannot_be_written_costs_no_figures(cells: Path) -> None:
    code, stdout, stderr = run(cells, "--out", "/proc/none.json")
    assert code == 1
    assert "Can't write /proc/none.json" in stderr
    assert stdout.startswith("images")


def test_two_models_are_refused(cells: Path) -> None:
    code, _, stderr = run(DEFAULT_MODEL, cells, "--model", DEFAULT_MODEL)
    assert code == 2
    assert "Give one model" in stderr
