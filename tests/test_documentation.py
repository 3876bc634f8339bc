"""What README and documentation say exists: commands, options, columns, exit codes, formats, files and links."""

import importlib.util
import re
import shlex
import tomllib
from functools import cache
from pathlib import Path

import pytest
from conftest import PROJECT
from default_tables import IMAGE_COLUMNS, SLIDE_COLUMNS
from program_commands import app
from typer.testing import CliRunner

from bloodcell_batch.config.recipe import TrainConfig
from bloodcell_batch.config.resolve import resolve
from bloodcell_batch.errors import ExitCode

README = (PROJECT / "README.md").read_text(encoding="utf-8")
PAGES = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted((PROJECT / "docs").rglob("*.md"))]
SOURCES = "\n".join(
    path.read_text(encoding="utf-8")
    for folder in ("bloodcell_batch", "tests", "examples", "docs")
    for path in (PROJECT / folder).rglob("*.py")
)
COLUMNS = {column.name for column in IMAGE_COLUMNS} | {column.name for column in SLIDE_COLUMNS}
NOT_OURS = {"--head", "--cpus-per-task", "--array", "--address", "--kills", "--runs", "--cases", "--seed", "--files"}
"""Options of Ray, Slurm and our own measuring scripts, which the pages show, too."""
NOT_OURS |= {"--seasons", "--strict", "--resolution", "--check", "--no-compile", "--no-deps"}

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(PROJECT)))


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
    for gate in ("ruff format --check", "ruff check", "mypy", "mkdocs build --strict"):
        assert gate in script


@cache
def help_of(*words: str) -> str:
    return CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "300", "TERMINAL_WIDTH": "300"}).output


@each_page
def test_every_command_and_its_options_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    for command, rest in re.findall(r"(?:^|[ /`])bloodcell-batch ([a-z-]+)([^\n`]*)", text, re.MULTILINE):
        if command.startswith("-"):
            continue
        words = [command, *(rest.split()[:1] if command == "review" else [])]
        shown = help_of(*words)
        assert "Usage" in shown, command
        line = rest.split("#")[0].replace("…", "")
        for flag in (word for word in shlex.split(line) if word.startswith("--")):
            assert flag in shown, (command, flag)


@each_page
def test_every_option_that_is_named_exists(page: Path) -> None:
    commands = re.findall(r"^│ ([a-z-]+) ", help_of(), re.MULTILINE)
    known = " ".join(
        [
            help_of(),
            *(help_of(*words.split()) for words in (*commands, "review export", "review import", "review agree")),
        ]
    )
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", page.read_text(encoding="utf-8")))
    assert {flag for flag in named - NOT_OURS if flag not in known} == set()


@each_page
def test_every_name_in_code_exists(page: Path) -> None:
    """Columns, statuses, reasons, keys, functions: whatever is written `like_this` is somewhere in the code."""
    named = set(re.findall(r"`([a-z][a-z0-9]*(?:_[a-z0-9]+)+)`", page.read_text(encoding="utf-8")))
    configs = "\n".join(path.read_text(encoding="utf-8") for path in (PROJECT / "configs").rglob("*.toml"))
    missing = {name for name in named - COLUMNS if not re.search(rf"\b{name}\b", SOURCES + configs)}
    assert missing == set()


@each_page
def test_every_file_and_link_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    generated = {PROJECT / "docs" / name for name in re.findall(r'"([a-z]+/[a-z-]+\.md)": ', SOURCES)}
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        place = (page.parent / target).resolve()
        assert target.startswith("http") or place.exists() or place in generated, target
    for file in re.findall(r"`((?:bloodcell_batch|tests|docs|configs|examples)/[\w/.-]+\.\w+)`", text):
        assert (PROJECT / file).exists(), file


def test_the_readme_is_short() -> None:
    assert len(README.encode()) <= 7000


def test_every_recommended_option_of_classify_is_in_the_tutorial() -> None:
    page = (PROJECT / "docs" / "tutorial" / "get-started.md").read_text(encoding="utf-8")
    flags = set(re.findall(r"--[a-z][a-z-]+", page.split("## Options that matter")[1]))
    assert len(flags) > 8
    assert {flag for flag in flags if flag not in help_of("classify")} == set()


@pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None, reason="the extra [docs] is not installed")
def test_reference_pages_are_made_from_the_code() -> None:
    spec = importlib.util.spec_from_file_location("generated_pages", PROJECT / "docs" / "generated_pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    pages = {name: make() for name, make in module.PAGES.items()}
    assert all(f"| `{name}` |" in pages["reference/tables.md"] for name in COLUMNS)
    assert all(f"| {int(code)} |" in pages["reference/exit-codes.md"] for code in ExitCode)
    assert "## `bloodcell-batch review export`" in pages["reference/commands.md"]
    assert "<code>--dedup-distance BITS</code>" in pages["reference/commands.md"]
    assert "| `record_sha256` |" in pages["reference/run-record.md"]


def test_every_exit_code_is_documented() -> None:
    line = " ".join(README.split("Exit codes:")[1].split("```")[0].split())
    for code in ExitCode:
        assert re.search(rf"\b{int(code)}\b", line), code


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
