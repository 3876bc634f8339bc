"""The program with one command is the whole program's command."""

from pathlib import Path

import pytest
from program_commands import app
from typer.testing import CliRunner

from bloodcell_batch.cli import commands
from bloodcell_batch.cli.app import COMMANDS, program


def test_every_module_of_commands_is_in_the_program() -> None:
    files = {path.stem for path in Path(commands.__file__).parent.glob("*.py")} - {"__init__"}
    assert {module for module, _ in COMMANDS.values()} == files


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_alone_says_what_it_says_among_the_others(name: str) -> None:
    runner = CliRunner(env={"COLUMNS": "100", "TERMINAL_WIDTH": "100"})
    alone, among = (runner.invoke(made, [name, "--help"], prog_name="bloodcell-batch") for made in (program(name), app))
    assert alone.exit_code == 0
    assert alone.output == among.output
    assert f"bloodcell-batch {name}" in alone.output


def test_the_whole_program_names_its_commands_in_the_order_of_the_table() -> None:
    output = CliRunner().invoke(program(), ["--help"]).output
    panels = {panel: [name for name, entry in COMMANDS.items() if entry[1] == panel] for _, panel in COMMANDS.values()}
    listed = [words[1] for line in output.splitlines() if len(words := line.split()) > 2 and words[1] in COMMANDS]
    assert listed == [name for names in panels.values() for name in names]


def test_a_misspelt_command_is_looked_for_among_all() -> None:
    assert "Did you mean 'classify'" in CliRunner().invoke(program("clasify"), ["clasify"]).output
