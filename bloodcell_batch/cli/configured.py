"""From a function and a configuration to a command: its options, its messages, its errors and its audit line."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, Generic, ParamSpec, TypeVar

import typer

from bloodcell_batch.cli.audit_option import audited
from bloodcell_batch.cli.errors_as_text import errors_as_text
from bloodcell_batch.cli.options import (
    LogFormat,
    Settings,
    common_parameters,
    field_parameters,
    in_panels,
    own_parameters,
)
from bloodcell_batch.config.base import CommandConfig, Effect, Option, fields_with, flag_of, stated
from bloodcell_batch.config.resolve import resolve
from bloodcell_batch.errors import UsageError

if TYPE_CHECKING:
    from bloodcell_batch.integrity.audit_log import AuditLine
    from bloodcell_batch.progress import Observer

Config = TypeVar("Config", bound=CommandConfig)
Own = ParamSpec("Own")

_ANY_OPTION = "TOML file with any of the options below; those of the command line win."


@dataclass(frozen=True)
class Call(Generic[Config]):
    """What the command line gives to every command: checked options, a place to report to, and the audit line."""

    settings: Config
    line: AuditLine
    quiet: bool
    log_format: LogFormat

    def observer(self, progress: str = "auto") -> Observer:
        """Where the command reports to; see `make_observer`."""
        from bloodcell_batch.cli.observers import make_observer  # noqa: PLC0415 - keeps --help fast

        return make_observer(quiet=self.quiet, log_format=self.log_format, progress=progress)

    def tell(self, text: str) -> None:
        """Print what the command wrote, or what stands in a file that it wrote; nothing if quiet.

        What is nowhere else is data, for `cli.streams.write_text`.
        """
        from bloodcell_batch.cli.streams import write_text  # noqa: PLC0415 - keeps --help fast

        if not self.quiet:
            write_text(text)


def configured(
    kind: type[Config],
    *,
    config_file: str = _ANY_OPTION,
    settable: bool = False,
    when_interrupted: str = "Run it again.",
) -> Callable[[Callable[Concatenate[Call[Config], Own], None]], Callable[..., None]]:
    """Make a command of a function: its own arguments, the options of a configuration, and those that all have.

    Args:
        kind: its fields with an `Option` become options. With an `audit_log` that changes nothing, the run is logged.
        config_file: help of `--config`; empty for a command without it.
        settable: whether `--set` reaches the other fields.
        when_interrupted: what a person who stopped the command is told to do.
    """

    def decorate(function: Callable[Concatenate[Call[Config], Own], None]) -> Callable[..., None]:
        own = own_parameters(function)
        names = {parameter.name for parameter in own}
        has_log = "audit_log" in fields_with(kind, Effect.NOTHING)  # that of verify is what it looks at

        def run(**given: Any) -> None:  # noqa: ANN401 - what Typer parsed
            arguments = {name: given.pop(name) for name in names}
            quiet, log_format = given.pop("quiet"), given.pop("log_format")
            file, settings = given.pop("config", None), given.pop("setting", None) or ()
            log = (given["audit_log"], file) if has_log else (None, None)
            with errors_as_text(log_format, when_interrupted), audited(*log) as line:
                resolved = resolve(kind, _paired(kind, given), file, settings)
                function(Call(resolved, line, quiet, log_format), **arguments)  # type: ignore[call-arg]  # by name

        run.__name__, run.__doc__ = function.__name__, _reflowed(inspect.getdoc(function) or "")
        run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # what Typer reads
            in_panels(
                [*own, *_from_files(config_file, settable=settable), *field_parameters(kind), *common_parameters()]
            )
        )
        return run

    return decorate


def _reflowed(text: str) -> str:
    """The text with a paragraph a line: Typer would keep our line ends inside its own."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def _from_files(config_file: str, *, settable: bool) -> list[inspect.Parameter]:
    """`--config` and `--set`, as far as the command has them."""
    config = Annotated[Path | None, typer.Option("--config", help=config_file, metavar="FILE")]
    found = [("config", config)] if config_file else []
    found += [("setting", Settings)] if settable else []
    kind = inspect.Parameter.KEYWORD_ONLY
    return [inspect.Parameter(name, kind, default=None, annotation=annotation) for name, annotation in found]


def _paired(kind: type[CommandConfig], flags: Mapping[str, Any]) -> dict[str, Any]:
    """The flags, with those of the form NAME=VALUE as a table.

    Raises:
        UsageError: one has another form.
    """
    found = dict(flags)
    for name, entries in flags.items():
        field = kind.model_fields[name]
        if entries is None or field.default_factory is not dict:
            continue
        pairs = [entry.partition("=") for entry in entries]
        wrong = [entry for entry, (left, _, right) in zip(entries, pairs, strict=True) if not left or not right]
        if wrong:
            flag, option = flag_of(name, field), stated(field, Option) or Option()
            hint = f"Give {flag} {option.metavar}; once for each."
            raise UsageError(f"{flag} {wrong[0]!r} is not {option.metavar}.", hint=hint)
        found[name] = {left: right for left, _, right in pairs}
    return found
