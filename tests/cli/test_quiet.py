"""Every command with -q, as cron runs it: warnings and errors on stderr, on stdout only what is in no file."""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import PROJECT, draw_picture, encode
from drawn_fields import grid_of_red_cells, smear
from finished_run import Run
from PIL import Image
from processes import PATIENCE_S
from program_commands import COMMANDS
from review_files import filled, write
from small_model import make_small_finder, make_small_model

from bloodcell_batch.errors import ExitCode

DATA = {"doctor", "model-card", "differential to stdout", "evaluate to stdout", "review agree", "benchmark", "diff"}
"""What is asked for is on stdout."""
FOREST = 'classifier = "random_forest"\ninput_size = 32\ntrees = 5\n'
NET = 'architecture = "cell_fcnn"\ninput_size = 28\nepochs = 1\nprecision = "fp32"\n'
FINDER = """
name = "toy finder"
epochs = 1
epoch_crops = 2
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


@dataclass(frozen=True)
class Said:
    """What became of one command."""

    code: int
    stdout: str
    stderr: str


def _slides(folder: Path) -> Path:
    for number in range(6):
        slide = folder / f"slide {number % 2}"
        slide.mkdir(parents=True, exist_ok=True)
        (slide / f"{number}.jpg").write_bytes(encode(draw_picture(number)))
    return folder


def _fields(folder: Path) -> Path:
    (folder / "fields").mkdir(parents=True)
    for number in range(3):
        white = [(60.0 + 10 * number, 60.0, 36.0)]
        red = grid_of_red_cells(200, 150, 20, but_not_at=white)
        Image.fromarray(smear(200, 150, red, white)).save(folder / "fields" / f"f{number}.png")
        lines = [f"{k} {x / 200} {y / 150} {d / 200} {d / 150}" for k, of in enumerate((white, red)) for x, y, d in of]
        (folder / "fields" / f"f{number}.txt").write_text("\n".join(lines), encoding="utf-8")
    (folder / "finder.toml").write_text(FINDER, encoding="utf-8")
    (folder / "one").mkdir()
    shutil.copy(folder / "fields" / "f0.png", folder / "one")
    return folder


def _few(cells: Path, folder: Path) -> Path:
    """Five cells of each of two classes, as few as can be learned."""
    for name in ("lymphocyte", "neutrophil"):
        (folder / name).mkdir(parents=True)
        for file in sorted((cells / name).iterdir())[:5]:
            shutil.copy(file, folder / name)
    return folder


def _reviews(run: Run, folder: Path) -> tuple[Path, Path]:
    """What two people say of the same cells; of one they disagree."""
    first, rows = filled(run, folder)
    rows[0]["verified_label"] = "monocyte" if rows[0]["suggestion"] != "monocyte" else "lymphocyte"
    second = folder / "second.csv"
    write(second, [row | {"verified_by": "B. Reviewer"} for row in rows])
    return first, second


def _plan(run: Run, cells: Path, recipe: Path, key: Path, folder: Path) -> dict[str, list[str]]:
    slides, fields, model = _slides(folder / "slides"), _fields(folder / "smear"), make_small_model(folder).path
    finder, net, forest = make_small_finder(folder).path, folder / "net.toml", folder / "forest.toml"
    first, second = _reviews(run, folder)
    manual = folder / "manual.csv"
    manual.write_text("slide_id,neutrophil\n007,60\n2E5,50\n", encoding="utf-8")
    net.write_text(NET, encoding="utf-8")
    forest.write_text(FOREST, encoding="utf-8")

    def out(name: str) -> list[str]:
        return ["--out", str(folder / name)]

    table, cpu = str(run.table), ["--backend", "pytorch"]
    shard = ["classify", str(slides), *cpu, "--model", str(model), "--force", "--shard"]
    scale = ["--red-cell-pixels", "20"]  # an untrained finder would look for it everywhere
    plain = ["--bootstrap", "0", *cpu]
    return {
        "classify": [*shard, "0/2", *out("0.parquet")],
        "classify again": [*shard, "1/2", *out("1.parquet")],
        "merge": ["merge", str(folder / "0.parquet"), str(folder / "1.parquet"), *out("merged.csv")],
        "differential": ["differential", table, *out("d.csv")],
        "differential to stdout": ["differential", table],
        "report": ["report", table, *out("report.html")],
        "review export": ["review", "export", table, *out("review.html")],
        "review import": ["review", "import", table, str(first), *out("verified.csv")],
        "review agree": ["review", "agree", table, str(first), str(second), *out("settle.html")],
        "concordance": ["concordance", table, str(manual), *out("concordance.html")],
        "diff": ["diff", table, table],
        "sort": ["sort", table, str(folder / "sorted")],
        "export-fhir": ["export-fhir", table, *out("fhir.json")],
        "pseudonymize": ["pseudonymize", table, "--key", str(key), *out("shared.csv")],
        "verify": ["verify", str(folder / "merged.csv"), "--model", str(model)],
        "monitor": ["monitor", str(folder / "merged.csv"), *out("weeks.html")],
        "train": ["train", str(cells), "--config", str(recipe), "--epochs", "1", *out("toy.safetensors")],
        "evaluate": ["evaluate", str(model), str(cells), *plain, *out("figures.json")],
        "evaluate to stdout": ["evaluate", str(model), str(cells), *plain],
        "adapt": [
            "adapt",
            str(_few(cells, folder / "few")),
            "--model",
            str(model),
            "--force",
            *out("ours.safetensors"),
        ],
        "train-finder": ["train-finder", str(fields), "--config", str(fields / "finder.toml"), *out("f.safetensors")],
        "evaluate-finder": [
            *("evaluate-finder", str(fields), "--recipe", str(fields / "finder.toml")),
            *("--finder", str(finder), *cpu, *scale, *out("finder.json")),
        ],
        "find": ["find", str(fields / "one"), *out("crops"), "--finder", str(finder), *cpu, *scale],
        "compare": ["compare", str(forest), "--data", str(cells), *out("comparison")],
        "tune": ["tune", str(net), "--data", str(cells), *out("study"), "--trials", "1", "--workers", "1"],
        "export-onnx": ["export-onnx", str(model), *out("m.onnx")],
        "export-openvino": ["export-openvino", str(model), *out("m.xml")],
        "export-trt": ["export-trt", str(model), *out("m.plan")],
        "model-card": ["model-card", str(model)],
        "doctor": ["doctor"],
        "benchmark": [
            *("benchmark", "--model", str(model), "--images", "10", "--size", "64x64", "--rounds", "1"),
            *("--seconds", "0.01", "--plain-images", "0", "--batch-sizes", "1"),
        ],
    }


@pytest.fixture(scope="module")
def said(run: Run, toy_cells: Path, toy_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Said]:
    """What every command of the plan said."""
    folder, kept, key = (tmp_path_factory.mktemp(name) for name in ("quiet", "said", "key"))
    (key / "key").write_bytes(bytes(range(32)))
    plan = folder / "plan.json"
    words = _plan(run, toy_cells, toy_recipe, key / "key", folder)
    plan.write_text(json.dumps({name: [*line, "-q"] for name, line in words.items()}), encoding="utf-8")
    session = [sys.executable, str(Path(__file__).with_name("quiet_session.py")), str(plan), str(kept)]
    ended = subprocess.run(session, cwd=PROJECT, timeout=PATIENCE_S, capture_output=True, text=True, check=False)
    assert (ended.stdout, ended.stderr) == ("", "")
    codes = json.loads((kept / "codes.json").read_text(encoding="utf-8"))
    return {
        name: Said(code, *((kept / name / stream).read_text(encoding="utf-8") for stream in ("stdout", "stderr")))
        for name, code in codes.items()
    }


CASES = (*COMMANDS, "classify again", "differential to stdout", "evaluate to stdout")


@pytest.mark.parametrize("name", CASES)
def test_a_quiet_command_writes_warnings_and_nothing_else(said: dict[str, Said], name: str) -> None:
    found = said[name]
    assert (found.stdout != "") == (name in DATA), found.stdout
    lines = found.stderr.splitlines()
    # What to do about an error stands below it.
    told = [line for line in lines if line.startswith(("warning: ", "error: ", "       "))]
    assert lines == told
    if name == "export-trt" and found.code == ExitCode.BACKEND_REFUSED:
        assert "error: " in found.stderr  # no GPU here
    else:
        assert found.code == 0, found.stderr
