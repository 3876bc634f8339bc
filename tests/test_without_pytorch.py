"""What `requirements-cpu.txt` leaves out, nobody needs to classify, report and review, not even at the first start."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from shutil import copyfile

import pytest
from conftest import PROJECT

from bloodcell_batch.backends.openvino.packaged import PACKAGED, packaged_place, recall_packaged
from bloodcell_batch.model.file import open_network

LEFT_OUT = ("lightning", "matplotlib", "timm", "torch", "torchmetrics", "torchvision")
PROGRAM = f"""
import json, sys
for name in {LEFT_OUT!r}:
    sys.modules[name] = None  # as if it were not installed
from bloodcell_batch.cli.app import program
app = program()
for command in json.loads(sys.argv[1]):
    try:
        app(command)
    except SystemExit as end:
        if end.code:
            print(command, file=sys.stderr)
            raise
"""


def run(*commands: tuple[str | Path, ...], cache: Path) -> subprocess.CompletedProcess[str]:
    """The commands one after the other in one process, up to the first that fails."""
    lines = json.dumps([[str(word) for word in command] for command in commands])
    environment = os.environ | {"XDG_CACHE_HOME": str(cache)}
    command = [sys.executable, "-c", PROGRAM, lines]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_the_whole_way_of_a_slide_from_a_cold_cache(tmp_path: Path) -> None:
    slides, cache = tmp_path / "slides", tmp_path / "cache"
    (slides / "few").mkdir(parents=True)
    for image in sorted((PROJECT / "examples" / "slides" / "drawn-normal").iterdir())[:6]:
        copyfile(image, slides / "few" / image.name)
    table = tmp_path / "r.parquet"
    done = run(
        ("classify", slides, "--out", table),
        ("verify", table),
        ("differential", table),
        ("report", table, "--out", tmp_path / "r.html"),
        ("review", "export", table, "--cells", "all", "--images", slides, "--out", tmp_path / "review.html"),
        ("export-fhir", table, "--out", tmp_path / "r.json"),
        ("find", slides, "--out", tmp_path / "crops"),
        ("doctor",),
        cache=cache,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_what_needs_pytorch_says_so(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text('name = "x"\n')
    done = run(("train", tmp_path, "--config", tmp_path / "recipe.toml", "--out", tmp_path / "m"), cache=tmp_path)
    assert done.returncode == 1
    assert re.search(r"This needs (torch|lightning), which is not installed", done.stderr)
    assert "pip install bloodcell-batch" in done.stderr
    done = run(("classify", tmp_path, "--backend", "pytorch", "--out", tmp_path / "r.csv"), cache=tmp_path)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("path", PACKAGED, ids=lambda path: path.stem)
def test_the_packaged_networks_are_those_of_the_packaged_models(path: Path) -> None:
    assert recall_packaged(open_network(path), "network") is not None, (
        "run python -m bloodcell_batch.export.packaged_networks"
    )


def test_a_damaged_network_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place = packaged_place(PACKAGED[0], "network")
    damaged = bytearray(place.read_bytes())
    damaged[-1] ^= 1
    (tmp_path / place.name).write_bytes(damaged)
    model = open_network(PACKAGED[0])
    monkeypatch.setattr("bloodcell_batch.backends.openvino.packaged.PACKAGED", (tmp_path / PACKAGED[0].name,))
    assert recall_packaged(model, "network") is None


def test_the_slim_requirements_are_the_dependencies_without_learning() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {re.split(r"[<>=]", entry)[0] for entry in project["dependencies"]} - set(LEFT_OUT)
    lines = (PROJECT / "requirements-cpu.txt").read_text(encoding="utf-8").splitlines()
    pinned = {line.split("==")[0]: line for line in lines if line and not line.startswith("#")}
    assert all("==" in line for line in pinned.values())
    assert wanted <= set(pinned)
    assert not set(pinned) & set(LEFT_OUT)
