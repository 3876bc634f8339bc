"""Folders and files at URLs, such as s3://bucket/slides, through fsspec: list, read, upload."""

import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from bloodcell_batch.errors import InputError, OutputError, UsageError

_PAUSES = (0.2, 1.0)  # seconds before the second and the third try
_PERMANENT = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
_TIMES = ("LastModified", "last_modified", "mtime", "updated", "created")
_ACCESS = "Check the URL and the credentials; those of S3 are found where the AWS tools find them."

_T = TypeVar("_T")


class RemoteFile(NamedTuple):
    """A file below a URL: its path relative to it, bytes, and when it was changed (ns since 1970, 0 if unknown)."""

    path: str
    size_bytes: int
    mtime_ns: int


class RemoteFolder:
    """A folder at a URL.

    Raises:
        UsageError: fsspec, or the package that it needs for such URLs, is not installed.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            import fsspec.core  # noqa: PLC0415 - an extra, which local runs don't need

            self._system, base = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            hint = "Install it: pip install 'bloodcell-batch[remote]' (S3; other stores need their fsspec package)."
            raise UsageError(f"Can't use {url}: {error}.", hint=hint) from error
        self._base = base.rstrip("/")
        self._transient: tuple[type[Exception], ...] = (OSError, *_errors_of_clients())

    def files(self) -> Iterator[RemoteFile]:
        """Every file below it, sorted by path.

        Raises:
            InputError: there is nothing, or it can't be listed.
        """
        self._system.invalidate_cache()
        try:
            found = self._persistently(lambda: self._system.find(self._base, detail=True))
        except self._transient as error:
            raise InputError(f"Can't list {self.url}: {error}.", hint=_ACCESS) from error
        if not found:
            raise InputError(f"There are no files under {self.url}.", hint=_ACCESS)
        for name in sorted(found):
            yield RemoteFile(name[len(self._base) :].lstrip("/"), int(found[name]["size"] or 0), _time_of(found[name]))

    def read(self, path: str, at_most: int) -> bytes:
        """The first `at_most` bytes of a file below it, in one request; fewer if it is shorter.

        Raises:
            OSError: it can't be read, not at the third try either.
        """
        name = f"{self._base}/{path}"

        def fetch() -> bytes:
            if at_most > 1:
                return bytes(self._system.cat_file(name, start=0, end=at_most))
            with self._system.open(name, "rb") as handle:  # S3 refuses a range of an empty file
                return bytes(handle.read(at_most))

        try:
            return self._persistently(fetch)
        except OSError:
            raise
        except self._transient as error:
            raise OSError(str(error)) from error

    def existing(self, *names: str) -> list[str]:
        """Those of the files directly in it that are there.

        Raises:
            OutputError: it can't be asked.
        """

        def is_there(name: str) -> bool:
            return self._persistently(lambda: bool(self._system.exists(f"{self._base}/{name}")))

        try:
            return [name for name in names if is_there(name)]
        except self._transient as error:
            raise OutputError(f"Can't write to {self.url}: {error}.", hint=_ACCESS) from error

    def upload(self, file: Path) -> None:
        """Upload a whole file into it, under its own name.

        Raises:
            OutputError: it can't be written.
        """
        try:
            self._persistently(lambda: self._system.put_file(str(file), f"{self._base}/{file.name}"))
        except self._transient as error:
            hint = f"The results are complete in {file.parent}: copy them yourself, or run the same command again."
            raise OutputError(f"Can't write {self.url}/{file.name}: {error}.", hint=hint) from error

    def _persistently(self, act: Callable[[], _T]) -> _T:
        for pause in _PAUSES:
            try:
                return act()
            except _PERMANENT:
                raise
            except self._transient:
                time.sleep(pause)
        return act()


def _errors_of_clients() -> tuple[type[Exception], ...]:
    """What the clients below fsspec raise for a broken connection, of those that are installed."""
    found: list[type[Exception]] = []
    try:
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - only for S3

        found.append(BotoCoreError)
    except ModuleNotFoundError:
        pass
    try:
        from aiohttp import ClientError  # noqa: PLC0415 - only for stores over HTTP

        found.append(ClientError)
    except ModuleNotFoundError:
        pass
    return tuple(found)


def _time_of(info: dict[str, Any]) -> int:
    value = next((info[name] for name in _TIMES if info.get(name)), 0)
    if isinstance(value, datetime):
        return int(value.timestamp()) * 1_000_000_000 + value.microsecond * 1000
    return int(value * 1_000_000_000) if isinstance(value, int | float) else 0
