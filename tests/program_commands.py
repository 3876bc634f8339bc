"""All commands of the program, those of groups by both words."""

import typer.core
from typer.main import get_command

from bloodcell_batch.cli.app import program


def commands(group: typer.core.TyperGroup, prefix: str = "") -> dict[str, typer.core.TyperCommand]:
    found: dict[str, typer.core.TyperCommand] = {}
    for name, command in group.commands.items():
        if isinstance(command, typer.core.TyperGroup):
            found |= commands(command, f"{name} ")
        else:
            assert isinstance(command, typer.core.TyperCommand)
            found[prefix + name] = command
    return found


app = program()
PROGRAM = get_command(app)
assert isinstance(PROGRAM, typer.core.TyperGroup)
COMMANDS = commands(PROGRAM)
