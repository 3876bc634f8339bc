import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PROJECT

from bloodcell_batch.config.comparison import ClassicalConfig
from bloodcell_batch.config.recipe import TrainConfig
from bloodcell_batch.config.resolve import resolve
from bloodcell_batch.config.shipped import located, shipped
from bloodcell_batch.errors import UsageError
from bloodcell_batch.training.comparison.systems import read_system


def test_every_recipe_of_the_project_has_a_name() -> None:
    files = {file.relative_to(PROJECT / "configs") for file in (PROJECT / "configs").rglob("*.toml")}
    assert {f"{name}.toml" for name in shipped()} == {str(file) for file in files}
    assert {"finetune", "default", "models/resnet50"} <= set(shipped())


def test_a_name_stands_for_its_recipe() -> None:
    assert resolve(TrainConfig, {}, Path("finetune")).name == "bloodcell-finetuned"
    assert isinstance(read_system(Path("models/glcm_svm")), ClassicalConfig)
    assert isinstance(read_system(Path("models/resnet50")), TrainConfig)


def test_a_file_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("finetune").write_text('name = "mine"\n', encoding="utf-8")
    assert resolve(TrainConfig, {}, Path("finetune")).name == "mine"
    assert located(Path("finetune.toml")) == Path("finetune.toml")


def test_a_name_with_a_slip_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'finetune'") as caught:
        resolve(TrainConfig, {}, Path("finetun"))
    assert "strong" in caught.value.hint


def test_an_installation_has_them_without_the_checkout(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", reason="builds as pip would")
    project, library = tmp_path / "project", tmp_path / "library"
    shutil.copytree(PROJECT / "bloodcell_batch", project / "bloodcell_batch", ignore=shutil.ignore_patterns("assets"))
    shutil.copytree(PROJECT / "configs", project / "configs")
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, project)
    build = [sys.executable, "setup.py", "--quiet", "build_py", "--build-lib", str(library)]
    # setuptools warns about pyproject.toml's own newer and older forms; what counts is what it builds.
    subprocess.run(build, cwd=project, check=True, capture_output=True)
    ask = "from bloodcell_batch.config.shipped import shipped; print(*shipped().values(), sep='\\n')"
    environment = os.environ | {"PYTHONPATH": str(library)}
    asked = subprocess.run(
        [sys.executable, "-c", ask], cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
    )
    assert set(asked.stdout.splitlines()) == {
        str(library / "bloodcell_batch" / "configs" / f"{name}.toml") for name in shipped()
    }
