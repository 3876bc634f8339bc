"""The audit log: one JSON line per run, only ever appended to, each with the SHA-256 of the line before it.

A line that is changed, deleted or put in between breaks the chain behind it, which `check_chain` shows. Lines deleted
at the end leave no gap: note the digest of the last line elsewhere from time to time, or let the operating system
forbid anything but appending (`chattr +a`). A run that is killed with SIGKILL leaves no line.

Several programs on several machines may write one log: each line is one write while the lock in the file beside it
(its name with `.lock` at the end) is held, which Linux carries to NFS servers as well.
"""

import hashlib
import json
import os
import platform
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from bloodcell_batch import __version__
from bloodcell_batch.config.base import CommandConfig
from bloodcell_batch.errors import InputError, OutputError
from bloodcell_batch.files.writing import writing
from bloodcell_batch.integrity.digests import canonical_json, file_sha256
from bloodcell_batch.progress import ForwardingObserver, Observer, RunCounts

FIRST = "0" * 64
"""`previous` of the first line."""

_VERSION = 1
_CHUNK = 65_536
_MAX_LINE = 10_000_000
_MAX_ERROR = 2000
_LOCK_SECONDS = 60.0
_LOCK_INTERVAL_S = 0.01
_BEGINNING = b'{"previous": "'
_NOTED = ("input_sha256", "model_sha256", "backend")


class AuditLine:
    """What is known of the run so far; nothing is written anywhere without a `path`."""

    def __init__(self, path: Path | None, command: Sequence[str]) -> None:
        self._path = path
        self._fields: dict[str, Any] = {
            "version": _VERSION,
            "program": f"bloodcell-batch {__version__}",
            "user": _user(),
            "host": platform.node(),
            "started": _now(),
            "command": list(command),
        }
        self._outputs: tuple[Path, ...] = ()

    def begin(self, settings: CommandConfig, *, reads: Iterable[Path] = (), writes: Iterable[Path] = ()) -> None:
        """Note the options (the path of the log itself is none), the input files as they are now, and the files that
        the run publishes if it succeeds."""
        if self._path is None:
            return
        rest = settings.model_dump(mode="json", exclude={"audit_log"})
        self._fields["config_sha256"] = hashlib.sha256(canonical_json(rest)).hexdigest()
        self._fields["inputs"] = {str(path): _digest(path) for path in reads}
        self._outputs = tuple(writes)

    def note(self, fields: Mapping[str, object]) -> None:
        """Take over what a run tells its observer and the log wants to know."""
        self._fields |= {name: fields[name] for name in _NOTED if name in fields}

    def counted(self, counts: RunCounts) -> None:
        """Note the counts so far."""
        by_status = {status.value: count for status, count in counts.by_status.items()}
        self._fields["counts"] = {"found": counts.found, **by_status, "ignored": counts.ignored}

    def end(self, exit_code: int, error: str = "", *, published: bool) -> None:
        """Append the line.

        Raises:
            OutputError: that failed.
        """
        if self._path is None:
            return
        outputs = {str(path): _digest(path) for path in self._outputs} if published else {}
        ended = {"finished": _now(), "outputs": outputs, "exit_code": exit_code, "error": error[:_MAX_ERROR] or None}
        append(self._path, self._fields | ended)


class AuditObserver(ForwardingObserver):
    """Passes every event on and notes what the audit log wants to know."""

    def __init__(self, inner: Observer, line: AuditLine) -> None:
        super().__init__(inner)
        self._line = line

    def note(self, text: str, **fields: object) -> None:
        """See `Observer.note`."""
        self._line.note(fields)
        super().note(text, **fields)

    def advanced(self, done: int, counts: RunCounts | None = None) -> None:
        """See `Observer.advanced`."""
        if counts is not None:
            self._line.counted(counts)
        super().advanced(done, counts)


def check_appendable(path: Path) -> None:
    """Fail before the run begins, not after it; an empty log is created.

    Raises:
        OutputError: the log can't be appended to.
    """
    with writing(f"the audit log {path}", "Nothing was run. Correct --audit-log, or its permissions."):
        if path.exists() and not stat.S_ISREG(path.stat().st_mode):
            raise OutputError(f"The audit log {path} is not a regular file.", hint="Give the name of a file.")
        if path.exists() and not _begins_as_log(path):
            hint = "Give the name of an audit log, or of a file that is not there yet."
            raise OutputError(f"{path} is not an audit log: nothing is appended to it.", hint=hint)
        with _locked(path):
            pass


def _begins_as_log(path: Path) -> bool:
    """Whether the file begins as the lines of a log do, as far as it goes: it may be empty, or cut off."""
    with path.open("rb") as log:
        return _BEGINNING.startswith(log.read(len(_BEGINNING)))


def append(path: Path, fields: Mapping[str, Any]) -> None:
    """Add one line with `fields` and the digest of the line before it, and wait until it is on the disk.

    Raises:
        OutputError: it can't be written whole, or others hold the log for a minute.
    """
    hint = "This run is missing in the audit log. Note it by hand, and make the log writable again."
    with writing(f"the audit log {path}", hint), _locked(path) as log:
        last, torn = _last_line(log)
        previous = hashlib.sha256(last).hexdigest() if last is not None else FIRST
        line = json.dumps({"previous": previous, **fields}).encode("ascii") + b"\n"
        # A line that was cut off, as by a full disk, stays visible as a broken line of its own.
        data = b"\n" + line if torn else line
        if os.write(log, data) != len(data):
            raise OutputError(f"The audit log {path} took only a part of the line.", hint=hint)
        os.fsync(log)


@dataclass(frozen=True, slots=True)
class ChainCheck:
    """The state of a log: lines, digest of the last one, what is wrong as (line number, text), and per line the
    digests of the files that the run published."""

    lines: int
    head: str
    faults: tuple[tuple[int, str], ...]
    published: tuple[frozenset[str], ...]


def check_chain(path: Path) -> ChainCheck:
    """Read a log from its first line to its last.

    Raises:
        InputError: it can't be read.
    """
    faults: list[tuple[int, str]] = []
    published: list[frozenset[str]] = []
    head, number = FIRST, 0
    try:
        with path.open("rb") as log:
            # A bounded line: what is longer is not one of ours.
            for number, line in enumerate(iter(lambda: log.readline(_MAX_LINE), b""), start=1):
                document = _document(line)
                faults.extend((number, fault) for fault in _line_faults(line, document, head))
                outputs = document.get("outputs")
                digests = outputs.values() if isinstance(outputs, dict) else ()
                published.append(frozenset(digest for digest in digests if isinstance(digest, str)))
                head = hashlib.sha256(line.removesuffix(b"\n")).hexdigest()
    except OSError as error:
        hint = "Give the file that --audit-log named."
        raise InputError(f"Can't read the audit log {path}: {error.strerror or error}.", hint=hint) from error
    return ChainCheck(number, head, tuple(faults), tuple(published))


def _document(line: bytes) -> dict[str, Any]:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _line_faults(line: bytes, document: Mapping[str, Any], head: str) -> Iterator[str]:
    if not line.endswith(b"\n"):
        yield "it is cut off"
    elif not document:
        yield "it is not a JSON object"
    elif document.get("previous") != head:
        yield "the line before it was changed, removed, or put in afterwards"


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """The log, open and locked; a `filelock.Timeout`, which is an OSError, if others hold it too long."""
    log = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        # Whoever may write the log may lock it.
        lock = FileLock(path.with_name(f"{path.name}.lock"), mode=stat.S_IMODE(os.fstat(log).st_mode))
        with lock.acquire(timeout=_LOCK_SECONDS, poll_interval=_LOCK_INTERVAL_S):
            yield log
    finally:
        os.close(log)


def _last_line(log: int) -> tuple[bytes | None, bool]:
    """The last line without its end, None in an empty log, and whether its end is missing."""
    end = os.fstat(log).st_size
    if end == 0:
        return None, False
    tail, start = b"", end
    while start > 0 and b"\n" not in tail[:-1] and len(tail) < _MAX_LINE:
        start = max(0, start - _CHUNK)
        os.lseek(log, start, os.SEEK_SET)
        tail = os.read(log, end - start)
    torn = not tail.endswith(b"\n")
    return tail.removesuffix(b"\n").rpartition(b"\n")[2], torn


def _digest(path: Path) -> str | None:
    """SHA-256 of a file; None if there is none, or it can't be read."""
    try:
        return file_sha256(path) if path.is_file() else None
    except OSError:
        return None


def _user() -> str:
    """Who runs this process, by its user id: not by the environment, which anybody can set."""
    try:
        import pwd  # noqa: PLC0415 - Windows has none
    except ModuleNotFoundError:
        return _logged_in()
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _logged_in() -> str:
    """Who is logged in, by the operating system; empty where nobody is."""
    try:
        return os.getlogin()
    except OSError:
        return ""


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
