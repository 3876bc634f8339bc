"""Typer's options, made from the fields of the configurations, and those that commands share beside them."""

import inspect
from collections.abc import Callable, Iterable
from copy import copy
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import typer
from pydantic.fields import FieldInfo
from typer.models import ArgumentInfo, OptionInfo

from bloodcell_batch.backends import BACKEND_NAMES
from bloodcell_batch.config.base import CommandConfig, Option, Panel, choices_of, flag_of, stated, value_type
from bloodcell_batch.results.formats import format_names

_FEWEST_IN_PANELS = 13
_CHOICES = {"backend": BACKEND_NAMES}
"""Choices of fields whose values another room lists."""


class LogFormat(StrEnum):
    """Form of what is said on stderr."""

    TEXT = "text"
    JSON = "json"


class ProgressDisplay(StrEnum):
    """How progress is shown on stderr."""

    AUTO = "auto"
    RICH = "rich"
    PLAIN = "plain"
    NONE = "none"


Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet", "-q", help="Say nothing but warnings and errors, and print no figures that are also in a file."
    ),
]
Log = Annotated[
    LogFormat,
    typer.Option(
        "--log-format",
        help="Form of the messages on stderr.",
        metavar="text|json",
        rich_help_panel=Panel.OUTPUT.value,
    ),
]
ShowProgress = Annotated[
    ProgressDisplay,
    typer.Option(
        "--progress",
        help="Progress on stderr; auto is rich (a bar) on a terminal and plain lines elsewhere.",
        metavar="auto|rich|plain|none",
        rich_help_panel=Panel.OUTPUT.value,
    ),
]
ResultsTable = Annotated[
    Path,
    typer.Argument(
        help="Table that classify (or review import) wrote; its run record is beside it.", metavar="RESULTS"
    ),
]
TableOut = Annotated[
    list[str],
    typer.Option(
        help=f"Result table, {format_names()}; NAME.slides.* and NAME.run.json are written beside it "
        "(a workbook holds all of it). Once for each format. It may be a URL. Use - for CSV on stdout.",
        metavar="FILE",
    ),
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="Any key of the recipe; repeatable.", metavar="KEY=VALUE")
]


def own_parameters(function: Callable[..., object]) -> list[inspect.Parameter]:
    """The parameters of a command that are its own: all but the first, which is what the command line gives it."""
    _, *own = inspect.signature(function, eval_str=True).parameters.values()
    return [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]


def field_parameters(kind: type[CommandConfig]) -> list[inspect.Parameter]:
    """One parameter for every field that has an `Option`. Its default is None, meaning "not given"."""
    return [
        _parameter(name, field, option)
        for name, field in kind.model_fields.items()
        if (option := stated(field, Option)) is not None
    ]


def common_parameters() -> list[inspect.Parameter]:
    """`--quiet` and `--log-format`, which every command has."""
    return [
        inspect.Parameter("quiet", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Quiet),
        inspect.Parameter("log_format", inspect.Parameter.KEYWORD_ONLY, default=LogFormat.TEXT, annotation=Log),
    ]


def in_panels(parameters: Iterable[inspect.Parameter]) -> list[inspect.Parameter]:
    """The parameters in the order of their panels; a command with few options gets none."""
    order = [panel.value for panel in Panel]
    found = sorted(
        parameters, key=lambda parameter: order.index(_info(parameter).rich_help_panel or Panel.COMMON.value)
    )
    few = sum(isinstance(_info(parameter), OptionInfo) for parameter in found) < _FEWEST_IN_PANELS
    return [_without_panel(parameter) for parameter in found] if few else found


def _info(parameter: inspect.Parameter) -> OptionInfo | ArgumentInfo:
    info: OptionInfo | ArgumentInfo = get_args(parameter.annotation)[1]
    return info


def _without_panel(parameter: inspect.Parameter) -> inspect.Parameter:
    info = copy(_info(parameter))
    info.rich_help_panel = None
    return parameter.replace(annotation=Annotated[get_args(parameter.annotation)[0], info])


def _parameter(name: str, field: FieldInfo, option: Option) -> inspect.Parameter:
    choices = _CHOICES.get(name) or choices_of(field.annotation)
    info = typer.Option(
        *(option.flags or (flag_of(name, field),)),
        help=_help(field),
        show_default=False,
        metavar=option.metavar or "|".join(choices) or None,
        rich_help_panel=None if option.panel is Panel.COMMON else option.panel.value,
        autocompletion=_completion(choices),
    )
    default = inspect.Parameter.empty if field.is_required() else None
    kind = _typed(value_type(field.annotation))
    annotation = Annotated[kind | None, info]  # type: ignore[valid-type]  # a type only at run time
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _typed(kind: Any) -> Any:  # noqa: ANN401 - types
    """How Typer takes values of a type: choices as plain text or numbers, several values as a list."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is tuple:
        return list[value_type(arguments[0])]  # type: ignore[misc]  # a type only at run time
    return list[str] if origin is dict else kind


def _completion(choices: tuple[str, ...]) -> Callable[[str], list[str]] | None:
    def matching(incomplete: str) -> list[str]:
        return [choice for choice in choices if choice.startswith(incomplete)]

    return matching if choices else None


def _help(field: FieldInfo) -> str:
    parts = [f"{field.description}.", _limits(field.metadata)]
    default = field.default
    told = not field.is_required() and field.default_factory is None
    if told and default is not None and default is not False and default not in ((), "", Path()):
        shown = ", ".join(map(str, default)) if isinstance(default, tuple) else default
        shown = f"{shown:g}" if isinstance(shown, float) else shown
        parts.append(f"Default: {shown}.")
    return " ".join(filter(None, parts))


def _limits(metadata: list[Any]) -> str:
    """The numeric range of a field in words; empty if it has none."""
    low = next((f"{rule.ge:,}" for rule in metadata if getattr(rule, "ge", None) is not None), "")
    low = low or next((f"above {rule.gt:,}" for rule in metadata if getattr(rule, "gt", None) is not None), "")
    high = next((f"{rule.le:,}" for rule in metadata if getattr(rule, "le", None) is not None), "")
    high = high or next((f"below {rule.lt:,}" for rule in metadata if getattr(rule, "lt", None) is not None), "")
    if low and high:
        return f"Range: {low} to {high}."
    if low.startswith("above") or high:
        return f"{(low or high).capitalize()}."
    return f"At least {low}." if low not in {"", "0"} else ""
