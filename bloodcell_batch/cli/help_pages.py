"""What Typer's help pages would say otherwise: types where no value is given, groups of commands at the end."""

from typing import Any

import typer
import typer.core

_AFTER = {"review": "report"}
"""Groups of commands, and the command that each follows."""


class Command(typer.core.TyperCommand):
    """A command whose help shows no types: a switch with `<bool>` looks as if it took a value."""

    def get_params(self, ctx: typer.Context) -> list[Any]:  # type: ignore[override]  # Typer's class of contexts is private
        """The parameters, with that of `--help`."""
        return _without_types(super().get_params(ctx))


class Group(typer.core.TyperGroup):
    """A group of commands with such a help page."""

    def get_params(self, ctx: typer.Context) -> list[Any]:  # type: ignore[override]  # Typer's class of contexts is private
        """The parameters, with that of `--help`."""
        return _without_types(super().get_params(ctx))

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        """In the order in which people need them."""
        names = super().list_commands(ctx)
        for group, before in _AFTER.items():
            if group in names and before in names:
                names.remove(group)
                names.insert(names.index(before) + 1, group)
        return names


def _without_types(parameters: list[Any]) -> list[Any]:
    for parameter in parameters:
        if isinstance(parameter, typer.core.TyperArgument):
            _name_only(parameter)
        elif isinstance(parameter, typer.core.TyperOption) and parameter.is_flag:
            parameter.metavar = ""
    return parameters


def _name_only(argument: typer.core.TyperArgument) -> None:
    name = argument.display_name_raw
    shown = f"{name}..." if argument.nargs != 1 and not {" ", "."} & {*name} else name
    argument.display_type_rich = lambda ctx: None  # type: ignore[method-assign]  # noqa: ARG005 - Typer's signature
    argument.get_usage_pieces = lambda ctx: [shown]  # type: ignore[method-assign]  # noqa: ARG005
