"""The README says what the program does: commands, options, exit codes and formats are checked against the code."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
from conftest import PROJECT
from typer.testing import CliRunner

from bloodcell_batch.cli.app import app
from bloodcell_batch.config.recipe import TrainConfig
from bloodcell_batch.config.resolve import resolve
from bloodcell_batch.errors import ExitCode
from bloodcell_batch.images.file_formats import FORMATS
from bloodcell_batch.results.formats import OUTPUT_FORMATS
from bloodcell_batch.results.tables import IMAGE_COLUMNS

README = (PROJECT / "README.md").read_text(encoding="utf-8")


def block(mark: str) -> str:
    found = re.search(rf"<!-- {mark} -->\n```sh\n(.*?)```", README, re.DOTALL)
    assert found, f"the README has no block marked {mark}"
    return found[1].strip()


def test_two_commands_do_all_the_set_up() -> None:
    for mark in ("example", "tests"):
        assert "\n" not in block(mark)
        assert block(mark).startswith("python3 -m venv .venv && .venv/bin/pip install")
    assert "classify examples/slides" in block("example")
    assert block("tests").endswith(".venv/bin/python -m pytest -q")


def test_continuous_integration_runs_that_block() -> None:
    script = (PROJECT / ".ci" / "run").read_text(encoding="utf-8")
    assert "$(block tests)" in script
    for gate in ("ruff format --check", "ruff check", "mypy"):
        assert gate in script


def test_every_command_and_its_options_exist() -> None:
    runner = CliRunner()
    called = re.findall(r"(?:^|[ /`])bloodcell-batch ([a-z-]+)([^\n`]*)", README, re.MULTILINE)
    assert {"classify", "train", "evaluate", "model-card"} <= {command for command, _ in called}
    for command, rest in called:
        words = [command, *(rest.split()[:1] if command == "review" else [])]
        text = runner.invoke(app, [*words, "--help"], env={"COLUMNS": "300", "TERMINAL_WIDTH": "300"}).output
        for flag in (word for word in shlex.split(rest.replace("…", "")) if word.startswith("--")):
            assert flag in text, (command, flag)


def test_every_option_in_the_table_exists() -> None:
    text = CliRunner().invoke(app, ["classify", "--help"], env={"COLUMNS": "300", "TERMINAL_WIDTH": "300"}).output
    flags = set(re.findall(r"--[a-z][a-z-]+", README.split("## Options that matter")[1].split("## How it counts")[0]))
    assert len(flags) > 8
    missing = {flag for flag in flags if flag not in text} - {"--overwrite", "--out"}
    assert not missing


def test_every_exit_code_is_documented() -> None:
    line = " ".join(README.split("Exit codes:")[1].split("```")[0].split())
    for code in ExitCode:
        assert re.search(rf"\b{int(code)}\b", line), code


def test_formats_are_named() -> None:
    for suffix in OUTPUT_FORMATS:
        assert f"results{suffix}" in README or suffix.strip(".").upper() in README
    for kind in FORMATS:
        assert kind.refused or kind.name in README, kind.name


def test_columns_have_meanings() -> None:
    assert all(column.meaning for column in IMAGE_COLUMNS)


@pytest.mark.parametrize("path", sorted((PROJECT / "configs").glob("*.toml")), ids=lambda path: path.name)
def test_every_recipe_is_valid_and_documented(path: Path) -> None:
    resolve(TrainConfig, {}, path)
    assert path.name in (PROJECT / "configs" / "README.md").read_text(encoding="utf-8")


def test_dependencies_are_imported_somewhere() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (PROJECT / "bloodcell_batch").rglob("*.py"))
    for requirement in project["dependencies"]:
        name = re.split(r"[<>=]", requirement)[0].replace("pillow", "PIL").replace("-", "_")
        if name != "torchvision":  # imported by timm
            assert re.search(rf"^\s*(import|from) {name}\b", sources, re.MULTILINE), name
