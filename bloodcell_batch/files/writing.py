"""What can go wrong where files are written, as the errors of this program: a full disk, and a run beside this one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from bloodcell_batch.errors import LockedError, OutputError


@contextmanager
def writing(
    what: Path | str, hint: str = "Free some space or choose another --out, then run it again."
) -> Iterator[None]:
    """Turn what goes wrong with a disk into an error that names `what`, as in "Can't write results.csv" or
    "Can't write to the folder".

    Raises:
        OutputError: the body raised an OSError.
        BrokenPipeError: the reader of stdout has seen enough, which is not an error of ours.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"Can't write {what}: {error.strerror or error}.", hint=hint) from error


@contextmanager
def locked(file: Path, busy: str) -> Iterator[None]:
    """Hold the lock in `file`, which is made for it, while the body runs; it ends with the process, however that ends.

    Args:
        file: its folder must exist.
        busy: the message when somebody else holds it.

    Raises:
        LockedError: somebody else holds it.
        OutputError: it can't be made.
    """
    lock = FileLock(file)
    with writing(f"the lock {file}"):
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            hint = "Wait until it has finished, or choose another --out."
            raise LockedError(f"{busy}.", hint=hint) from error
    try:
        yield
    finally:
        lock.release()
