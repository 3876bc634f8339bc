"""The command line is made from the configurations: every option, its help, its choices."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import pytest
import typer
from conftest import PROJECT
from program_commands import COMMANDS, app
from pydantic import Field
from pydantic_core import PydanticUndefined
from typer.testing import CliRunner

from bloodcell_batch.cli.configured import Call, configured
from bloodcell_batch.cli.options import field_parameters
from bloodcell_batch.config.base import CommandConfig, Option, Panel
from bloodcell_batch.errors import ExitCode

WIDE = {"COLUMNS": "200", "TERMINAL_WIDTH": "200"}


def options_of(command: str) -> dict[str, typer.core.TyperOption]:
    return {
        flag: parameter
        for parameter in COMMANDS[command].params
        if isinstance(parameter, typer.core.TyperOption)
        for flag in parameter.opts
    }


class SampleConfig(CommandConfig):
    count: Annotated[int, Option("N", flags=("--count", "-c"))] = Field(3, ge=1, le=9000, description="How many")
    share: Annotated[float | None, Option("SHARE")] = Field(None, gt=0, description="Which share")
    form: Annotated[Literal["round", "square"] | None, Option()] = Field(None, description="Which form")
    size: Annotated[Literal[1, 2, 4], Option()] = Field(1, description="Which size")
    steps: Annotated[tuple[int, ...], Option("N")] = Field((1, 2), description="Which steps; repeatable")
    names: Annotated[dict[str, int], Option("NAME=N")] = Field(default_factory=dict, description="Names; repeatable")
    dry: Annotated[bool, Option()] = Field(False, description="Only look")
    file_only: int = Field(0, description="Not an option")


SEEN: list[SampleConfig] = []
sample = typer.Typer(pretty_exceptions_enable=False)


@sample.command()
@configured(SampleConfig, settable=True)
def look(call: Call[SampleConfig], place: Annotated[str, typer.Argument()]) -> None:
    """Look at a place, which takes more than
    one line to say.
    """
    assert place == "here"
    SEEN.append(call.settings)


def looked(*arguments: str) -> SampleConfig:
    result = CliRunner().invoke(sample, ["here", *arguments])
    assert result.exit_code == 0, result.output
    return SEEN.pop()


def test_values_of_every_kind_arrive() -> None:
    assert looked() == SampleConfig()
    numbers = looked("-c", "5", "--share", "0.5", "--size", "4", "--steps", "7", "--steps", "8")
    words = looked("--form", "round", "--names", "a=1", "--names", "b=2", "--dry")
    given = numbers.model_copy(update={name: getattr(words, name) for name in ("form", "names", "dry")})
    assert given.model_dump() == {
        "count": 5,
        "share": 0.5,
        "form": "round",
        "size": 4,
        "steps": (7, 8),
        "names": {"a": 1, "b": 2},
        "dry": True,
        "file_only": 0,
    }
    assert looked("--set", "file_only=4", "--count", "2") == SampleConfig(file_only=4, count=2)


def test_a_table_of_the_file_is_added_to(tmp_path: Path) -> None:
    file = tmp_path / "o.toml"
    file.write_text("[names]\na = 1\nb = 1\n", encoding="utf-8")
    assert looked("--config", str(file), "--names", "b=2").names == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--names", "a"], "--names 'a' is not NAME=N."),
        (["--form", "sqare"], "--form can't be 'sqare': input should be 'round' or 'square'; did you mean 'square'?"),
        (["--size", "3"], "--size can't be 3: input should be 1, 2 or 4."),
        (["--count", "0"], "--count can't be 0"),
        (["--set", "file_onli=1"], "Unknown key 'file_onli' in --set; did you mean 'file_only'?"),
        (["--set", "file_only=x"], "file_only can't be 'x'"),
    ],
)
def test_wrong_values_are_answered_with_what_would_be_right(arguments: list[str], words: str) -> None:
    result = CliRunner().invoke(sample, ["here", *arguments])
    assert result.exit_code == ExitCode.USAGE
    assert words in result.stderr


def test_help_says_ranges_defaults_and_choices() -> None:
    text = re.sub(r"[│\s]+", " ", CliRunner().invoke(sample, ["--help"], env=WIDE).output)
    for words in (
        "--count -c N How many. Range: 1 to 9,000. Default: 3.",
        "--share SHARE Which share. Above 0.",
        "--form round|square Which form.",
        "--size 1|2|4 Which size. Default: 1.",
        "--steps N Which steps; repeatable. Default: 1, 2.",
        "--names NAME=N Names; repeatable.",
        "Look at a place, which takes more than one line to say.",
    ):
        assert words in text, (words, text)
    assert "file-only" not in text
    assert "--no-dry" not in text


def test_choices_are_completed() -> None:
    parameters = {parameter.name: parameter for parameter in field_parameters(SampleConfig)}
    info = parameters["form"].annotation.__metadata__[0]
    assert info.autocompletion("s") == ["square"]
    assert info.autocompletion("") == ["round", "square"]
    assert parameters["count"].annotation.__metadata__[0].autocompletion is None
    result = CliRunner().invoke(
        app,
        [],
        prog_name="bloodcell-batch",
        env={
            "_BLOODCELL_BATCH_COMPLETE": "complete_bash",
            "COMP_WORDS": "bloodcell-batch classify in --backend op",
            "COMP_CWORD": "4",
        },
    )
    assert result.stdout.split() == ["openvino"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_can_be_quiet_and_speak_json(command: str) -> None:
    assert {"--quiet", "-q", "--log-format"} <= set(options_of(command))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_help_that_a_person_understands(command: str) -> None:
    for flag, option in options_of(command).items():
        assert option.help, flag
        assert option.help.endswith("."), flag
    text = CliRunner().invoke(app, [*command.split(), "--help"], env=WIDE).output
    for word in (str(PydanticUndefined), "factory", "None", " anew", "if unset"):
        assert word not in text


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_no_types_and_loses_no_word(command: str) -> None:
    text = CliRunner().invoke(app, [*command.split(), "--help"], env=WIDE).output
    assert not re.search(r"<(bool|path|str|list)", text)
    described = " ".join((COMMANDS[command].help or "").split())
    assert " ".join(text.split()).find(described) > 0  # brackets would be taken for colours


def test_commands_stand_in_panels_and_the_review_after_the_report() -> None:
    text = CliRunner().invoke(app, ["--help"], env=WIDE).output
    found = re.findall(r"^│ ([a-z][a-z-]+)  ", text, re.MULTILINE)
    assert set(found) == {command.split()[0] for command in COMMANDS}
    assert found[found.index("report") + 1] == "review"
    panels = [text.index(f"─ {panel} ─") for panel in ("Slides", "Models", "This machine")]
    assert panels == sorted(panels)


def test_the_common_options_of_classify_come_first() -> None:
    text = CliRunner().invoke(app, ["classify", "--help"], env=WIDE).output
    places = [text.index(f"─ {panel} ─") for panel in Panel]
    assert places == sorted(places)
    first = set(re.findall(r"--[a-z-]+", text[: places[1]]))
    assert first == {
        *("--out", "--config", "--model", "--backend", "--slide-by", "--dedup", "--min-confidence", "--overwrite"),
        *("--update", "--quiet", "--help"),
    }


def test_a_command_with_few_options_has_no_headings() -> None:
    text = CliRunner().invoke(app, ["merge", "--help"], env=WIDE).output
    assert not [panel for panel in Panel if panel is not Panel.COMMON and f"─ {panel} ─" in text]


def texts(path: Path) -> Iterator[str]:
    """The strings of a module that can reach a person: all but docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documentation = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.value


ADVICE = {
    **{
        path: "train" for room in ("fit", "data") for path in (PROJECT / "bloodcell_batch/training" / room).glob("*.py")
    },
    PROJECT / "bloodcell_batch/training/fit/tuning.py": "tune",
    PROJECT / "bloodcell_batch/training/fit/cross_validation.py": "evaluate",
}


@pytest.mark.parametrize(("path", "command"), ADVICE.items(), ids=lambda value: getattr(value, "name", value))
def test_advice_names_options_that_the_command_has(path: Path, command: str) -> None:
    for text in texts(path):
        named = next((name for name in COMMANDS if re.search(rf"\b{name}\b.* --", text)), command)
        assert set(re.findall(r"--[a-z][a-z0-9-]+", text)) <= set(options_of(named)), text


OF_OTHERS = {"--help", "--version", "--head"}  # the last of `ray start`


def test_messages_name_options_that_exist() -> None:
    known = {flag for command in COMMANDS for flag in options_of(command)}
    for path in (PROJECT / "bloodcell_batch").rglob("*.py"):
        for text in texts(path):
            unknown = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", text)) - known - OF_OTHERS
            assert not unknown, (path, text)
