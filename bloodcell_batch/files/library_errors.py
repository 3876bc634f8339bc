"""The guard of library calls that read a file: what they raise on damaged bytes is an error of that file."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")


class DamagedFileError(ValueError):
    """A library could not read a file; the text is the library's own."""


@contextmanager
def library_reads() -> Iterator[None]:
    """Guards one call of a library that reads a file's bytes. Our own code stays outside: its errors are not damage.

    Every error counts, because no library documents what damaged bytes make it raise: zipfile, NumPy, openpyxl and
    Pillow gave AttributeError, AssertionError, RuntimeError, TypeError and a dozen others to mutated files.

    Raises:
        DamagedFileError: for whatever the library raised, except
        OSError: the file can't be read,
        MemoryError: memory is full; both pass.
    """
    try:
        yield
    except (OSError, MemoryError):
        raise
    except Exception as error:
        raise DamagedFileError(str(error) or type(error).__name__) from error


def read_one_by_one(items: Iterator[Item]) -> Iterator[Item]:
    """What a library's iterator gives, each step guarded as in `library_reads`."""
    ended = object()
    while True:
        with library_reads():
            item = next(items, ended)
        if item is ended:
            return
        yield item  # type: ignore[misc]  # not the sentinel
