"""From flags, settings and a TOML file to one checked configuration.

Precedence: command-line flag > `--set` > key of the `--config` TOML file > default. Unknown keys are errors.
"""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from bloodcell_batch.config.base import CommandConfig, Option, choices_of, flag_of, stated
from bloodcell_batch.config.shipped import located, shipped
from bloodcell_batch.errors import UsageError, did_you_mean
from bloodcell_batch.files.toml import read_toml

Config = TypeVar("Config", bound=CommandConfig)


def peek(file: Path | None, key: str) -> object:
    """The value of one key in a TOML file that `resolve` may yet refuse; None without the file or the key."""
    try:
        return _read_toml(file).get(key) if file else None
    except UsageError:
        return None  # `resolve` says what is wrong with the file


def resolve(
    kind: type[Config], flags: Mapping[str, Any], file: Path | None = None, settings: Sequence[str] = ()
) -> Config:
    """Merge flags over settings over a TOML file over the defaults.

    Args:
        kind: the configuration class.
        flags: option values; None means not given. A table adds to that of the file.
        file: TOML file whose keys are the fields of `kind`.
        settings: `key=value` texts; a dotted key reaches into a table, the value is TOML or plain text.

    Raises:
        UsageError: unreadable or malformed file, unknown key, or a value out of range; the text names the key.
    """
    values = _read_toml(file) if file else {}
    for setting in settings:
        _set(values, setting)
    for key, value in flags.items():
        if isinstance(value, dict) and isinstance(values.get(key), dict):
            values[key] = values[key] | value
        elif value is not None:
            values[key] = value
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise UsageError(_explain(error, kind, file), hint="See --help for the options and their ranges.") from error


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return read_toml(located(file))
    except OSError as error:
        names = shipped()
        hint = f"Name a file, or a recipe of the program: {', '.join(name for name in names if '/' not in name)}."
        raise UsageError(
            f"Can't read the configuration {file}: {error.strerror}{did_you_mean(str(file), names) or '.'}", hint=hint
        ) from error
    except ValueError as error:
        raise UsageError(f"The configuration {file} is not valid TOML: {error}.", hint="Correct the file.") from error


def _set(values: dict[str, Any], setting: str) -> None:
    key, equals, text = setting.partition("=")
    *tables, last = key.strip().split(".")
    if not equals or not last:
        raise UsageError(f"--set {setting!r} is not KEY=VALUE.", hint="For example: --set augmentation.blur=0.3")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text.strip()  # quotes around a word would have to survive the shell
    for table in tables:
        values = values.setdefault(table, {})
        if not isinstance(values, dict):
            raise UsageError(f"--set {setting!r}: {table} is not a table.", hint="See --help for the keys.")
    values[last] = value


def _explain(error: ValidationError, kind: type[CommandConfig], file: Path | None) -> str:
    first = error.errors(include_url=False)[0]
    key, message = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
    source = f" (from {file} or a flag)" if file else ""
    if first["type"] == "extra_forbidden":
        return _unknown(key, kind, file)
    if not key:
        return f"{message}{source}."
    table, _, last = key.rpartition(".")
    fields = _fields_of(kind, table)
    suggestion = did_you_mean(str(first["input"]), choices_of(fields[last].annotation)) if last in fields else ""
    said = message[0].lower() + message[1:]
    return f"{_name_of(key, kind)} can't be {first['input']!r}{source}: {said}{suggestion or '.'}"


def _unknown(key: str, kind: type[CommandConfig], file: Path | None) -> str:
    """What to say about a key that there isn't; one of another table may have been meant."""
    table, _, last = key.rpartition(".")
    known = _fields_of(kind, table)
    nested = [f"{name}.{inner}" for name in kind.model_fields for inner in _fields_of(kind, name)]
    elsewhere = [name for name in (*kind.model_fields, *nested) if name.rpartition(".")[2] == last]
    suggestion = did_you_mean(key, (*kind.model_fields, *nested))
    if elsewhere:
        suggestion = f"; did you mean {elsewhere[0]!r}?"
    return f"Unknown key {key!r} in {file or '--set'}{suggestion or '.'} Known keys: {', '.join(known)}."


def _fields_of(kind: type[CommandConfig], table: str) -> dict[str, FieldInfo]:
    """The fields of a configuration, or of the table in it; empty for what is not a table."""
    if not table:
        return kind.model_fields
    inner = kind.model_fields[table].annotation if table in kind.model_fields else None
    return inner.model_fields if isinstance(inner, type) and issubclass(inner, CommandConfig) else {}


def _name_of(key: str, kind: type[CommandConfig]) -> str:
    """The option that sets a key, or the key where no option does."""
    name = key.partition(".")[0]
    field = kind.model_fields[name]
    return flag_of(name, field) if stated(field, Option) else key
