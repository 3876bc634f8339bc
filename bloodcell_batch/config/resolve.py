"""From flags, settings and a TOML file to one checked configuration.

Precedence: command-line flag > `--set` > key of the `--config` TOML file > default. Unknown keys are errors.
"""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from bloodcell_batch.config.base import CommandConfig
from bloodcell_batch.errors import UsageError
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
        flags: option values; None means not given.
        file: TOML file whose keys are the fields of `kind`.
        settings: `key=value` texts; a dotted key reaches into a table, the value is TOML or plain text.

    Raises:
        UsageError: unreadable or malformed file, unknown key, or a value out of range; the text names the key.
    """
    values = _read_toml(file) if file else {}
    for setting in settings:
        _set(values, setting)
    values |= {key: value for key, value in flags.items() if value is not None}
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise UsageError(_explain(error, kind, file), hint="See --help for the options and their ranges.") from error


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return read_toml(file)
    except OSError as error:
        raise UsageError(f"Can't read the configuration {file}: {error.strerror}.", hint="Check --config.") from error
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


def _explain(error: ValidationError, kind: type[BaseModel], file: Path | None) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    source = f" (from {file} or a flag)" if file else ""
    if first["type"] == "extra_forbidden":
        table: Any = kind
        for part in first["loc"][:-1]:
            table = table.model_fields[part].annotation
        return f"Unknown key {key!r} in {file or '--set'}; known keys: {', '.join(table.model_fields)}."
    message = first["msg"].removeprefix("Value error, ")
    if not key:
        return f"{message}{source}."
    flag = "--" + key.replace("_", "-")
    return f"{flag} can't be {first['input']!r}{source}: {message[0].lower() + message[1:]}."
