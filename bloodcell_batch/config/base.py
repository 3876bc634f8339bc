"""What all configurations share: one frozen model per command, in which everything about an option is said once.

A field states its type, default, range and description as pydantic has it; beside them, `Option` says how it is given
on the command line, and `Effect` what it can change.
"""

from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from pathlib import PurePath
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, field_serializer
from pydantic.fields import FieldInfo

from bloodcell_batch.files.names import printable


class Panel(StrEnum):
    """Headings of a long `--help`, in their order; the first is for the options that most people need."""

    COMMON = "Options"
    SLIDES = "Slides and duplicates"
    SPEED = "Network and speed"
    OUTPUT = "Output"
    SCHEDULERS = "For schedulers"
    ADVANCED = "Advanced"


@dataclass(frozen=True)
class Option:
    """How a field is given on the command line. A field without one is set by a TOML file (or `--set`) only.

    Attributes:
        metavar: word for the value in `--help`; needless for switches and where there are choices.
        flags: names of the option; made from the name of the field if empty.
        panel: heading under which a long `--help` lists it.
    """

    metavar: str = ""
    flags: tuple[str, ...] = ()
    panel: Panel = Panel.COMMON


class Effect(Enum):
    """What a field can change, which decides whether two runs (or trainings) are alike; RESULT unless stated."""

    RESULT = auto()
    """Rows, figures or weights: two runs that differ in it are different runs."""
    RECORDED = auto()
    """Rows, but through something that the run record states better: the model's SHA-256, thresholds, slides."""
    NOTHING = auto()
    """No row, no figure, no weight."""
    MACHINE = auto()
    """As NOTHING, and it means nothing on another machine, so no recipe carries it there."""


class CommandConfig(BaseModel):
    """Base of all configurations: immutable, and strict about unknown keys."""

    # Built when first used: building the schemas of all commands would be a third of the time of --help.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    @field_serializer("*", when_used="json", check_fields=False)
    def _recorded(self, value: object) -> object:
        return recorded(value)


def recorded(value: object) -> object:
    """A value as JSON holds it; bytes of a path that are not UTF-8 are written as in the tables."""
    if isinstance(value, str | PurePath):
        return printable(str(value))
    if isinstance(value, list | tuple):
        return [recorded(entry) for entry in value]
    if isinstance(value, dict):
        return {name: recorded(entry) for name, entry in value.items()}
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value


Metadata = TypeVar("Metadata", Option, Effect)


def stated(field: FieldInfo, kind: type[Metadata]) -> Metadata | None:
    """What a field says of that kind beside its type; the last word, if a model says it again."""
    return next((entry for entry in reversed(field.metadata) if isinstance(entry, kind)), None)


def fields_with(kind: type[CommandConfig], *effects: Effect) -> set[str]:
    """Names of the fields of a configuration that have one of these effects."""
    return {name for name, field in kind.model_fields.items() if (stated(field, Effect) or Effect.RESULT) in effects}


def not_compared(kind: type[CommandConfig]) -> set[str]:
    """Names of the fields in which two runs may differ and still be the same run."""
    return fields_with(kind, Effect.RECORDED, Effect.NOTHING, Effect.MACHINE)


def flag_of(name: str, field: FieldInfo) -> str:
    """The option of a field in full, `--batch-size` of `batch_size`; what it would be called if it has none."""
    option, named = stated(field, Option), "--" + name.replace("_", "-")
    return next((flag for flag in option.flags if flag.startswith("--")), named) if option else named


def value_type(annotation: Any) -> Any:  # noqa: ANN401 - types
    """The type of a field's values without None and metadata; for choices, the type of each choice."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return value_type(arguments[0])
    if origin in {Union, UnionType}:
        return value_type(next(argument for argument in arguments if argument is not type(None)))
    return type(arguments[0]) if origin is Literal else annotation


def choices_of(annotation: Any) -> tuple[str, ...]:  # noqa: ANN401 - types
    """The values that a field of few choices can have, as text; empty for other fields."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return tuple(map(str, arguments))
    inner = arguments[:1] if origin is Annotated else arguments if origin in {Union, UnionType} else ()
    return tuple(choice for argument in inner for choice in choices_of(argument))
