"""Output at a URL: written and journalled in a local folder, then uploaded, the image table last."""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from bloodcell_batch.errors import OutputError, UsageError
from bloodcell_batch.files.remote import RemoteFolder
from bloodcell_batch.files.storage import is_url
from bloodcell_batch.files.writing import locked, writing
from bloodcell_batch.results.file_names import result_files, shard_file_of
from bloodcell_batch.results.formats import output_suffix


@contextmanager
def local_output(out: str, *, overwrite: bool) -> Iterator[str]:
    """A local name to write results to, in place of `out` if that is a URL; they are uploaded when the body is done.

    The folder is the URL's own in the user's cache, so that a run that was cut short finds its journal again.

    Raises:
        UsageError: unknown suffix, or a kind of URL that can't be used here.
        LockedError: another run on this machine is writing the same output.
        OutputError: the results exist already and `overwrite` is off, or they can't be written; once they are
            complete, they stay in the local folder until they are uploaded.
    """
    if not is_url(out):
        yield out
        return
    url, _, name = out.rpartition("/")
    if not name or not is_url(f"{url}/"):
        raise UsageError(f"--out {out} names no file.", hint="For example: s3://bucket/results.parquet")
    output_suffix(name)
    target = RemoteFolder(url)
    there = target.existing(*_names(name))
    if there and not overwrite:
        hint = "Choose another name, or add --overwrite to replace it."
        raise OutputError(f"{url}/{there[0]} exists already.", hint=hint)
    folder = platformdirs.user_cache_path("bloodcell-batch") / "output" / hashlib.sha256(out.encode()).hexdigest()[:16]
    hint = "The results are written there before they are uploaded; XDG_CACHE_HOME names another place."
    with writing(f"to {folder}", hint):
        folder.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_suffix(".lock"), f"Another run is writing {out}"):
        for stale in _names(name):  # of an upload that failed
            (folder / stale).unlink(missing_ok=True)
        yield str(folder / name)
        for made in _names(name):
            if (folder / made).exists():
                target.upload(folder / made)
        shutil.rmtree(folder, ignore_errors=True)


def _names(name: str) -> tuple[str, ...]:
    """Every file that a run may write, the one that people look for last."""
    table = Path(name)
    return tuple(path.name for path in (shard_file_of(table), *result_files(table)))
