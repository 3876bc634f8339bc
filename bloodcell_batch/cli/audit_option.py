"""`--audit-log`: the one place where the end of a run, however it comes, becomes a line of the audit log."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from bloodcell_batch.cli.errors_as_text import TerminatedError
from bloodcell_batch.config.resolve import peek
from bloodcell_batch.errors import BloodcellBatchError, ExitCode

if TYPE_CHECKING:
    from bloodcell_batch.integrity.audit_log import AuditLine

_PUBLISHED = {int(ExitCode.COMPLETE), int(ExitCode.COMPLETE_WITH_FAILED_FILES)}


@contextmanager
def audited(flag: Path | None, config: Path | None) -> Iterator[AuditLine]:
    """Append a line when the block ends: done, refused, failed or interrupted.

    Args:
        flag: value of `--audit-log`.
        config: TOML file that may name the log instead.

    Raises:
        OutputError: the log can't be written; before the block begins, if that can be seen by then.
    """
    from bloodcell_batch.integrity.audit_log import AuditLine, check_appendable  # noqa: PLC0415 - keeps --help fast

    named = peek(config, "audit_log")
    path = flag or (Path(named) if isinstance(named, str) else None)
    if path is not None:
        check_appendable(path)
    line = AuditLine(path, sys.argv)
    try:
        yield line
    except typer.Exit as stop:
        line.end(stop.exit_code, published=stop.exit_code in _PUBLISHED)
        raise
    except BloodcellBatchError as error:
        line.end(error.exit_code, error.message, published=False)
        raise
    except KeyboardInterrupt:
        line.end(ExitCode.INTERRUPTED, "interrupted", published=False)
        raise
    except TerminatedError:
        line.end(ExitCode.TERMINATED, "terminated", published=False)
        raise
    except BaseException as error:
        line.end(ExitCode.ERROR, f"{type(error).__name__}: {error}", published=False)
        raise
    line.end(ExitCode.COMPLETE, published=True)
