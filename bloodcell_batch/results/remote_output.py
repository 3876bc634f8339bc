"""Output at a URL: written and journalled in a local folder, then uploaded, the image table last."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from bloodcell_batch.errors import OutputError, UsageError
from bloodcell_batch.files.remote import RemoteFolder
from bloodcell_batch.files.storage import is_url
from bloodcell_batch.files.writing import locked, writing
from bloodcell_batch.results.file_names import result_files, run_record_of, shard_file_of
from bloodcell_batch.results.formats import OUTPUT_FORMATS, output_suffix
from bloodcell_batch.results.run_record import MAX_RECORD_BYTES, RunRecord


@contextmanager
def local_output(out: str, *, overwrite: bool) -> Iterator[str]:
    """A local name to write results to, in place of `out` if that is a URL; they are uploaded when the body is done.

    The folder is the URL's own in the user's cache, so that a run that was cut short finds its journal again.

    Raises:
        UsageError: unknown suffix, or a kind of URL that can't be used here.
        LockedError: another run on this machine is writing the same output.
        OutputError: the results exist already and `overwrite` is off, a person has reviewed them, or they can't be
            written; once they are complete, they stay in the local folder until they are uploaded.
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
    record = run_record_of(Path(name)).name
    if record in there:
        _check_unreviewed(target, record)
        _check_record_is_free(target, name, record)
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


def _check_unreviewed(target: RemoteFolder, record: str) -> None:
    """As `irreplaceable.check_unreviewed`, by what the run record there says."""
    hint = "Choose another --out, or move the results there away."
    try:
        reviews = RunRecord.from_document(json.loads(target.read(record, MAX_RECORD_BYTES))).reviews
    except OSError as error:
        raise OutputError(f"Can't read {target.url}/{record}: {error}.", hint=hint) from error
    except ValueError:
        return  # no record of ours
    if reviews:
        message = f"{target.url}/{record} is of results that a person reviewed: they are never replaced."
        raise OutputError(message, hint=hint)


def _check_record_is_free(target: RemoteFolder, name: str, record: str) -> None:
    """As `irreplaceable.check_results`, by the names there."""
    formats = (str(Path(name).with_suffix(suffix)) for suffix in OUTPUT_FORMATS)
    others = target.existing(*(other for other in formats if other != name))
    if others:
        message = f"{target.url}/{record} may be the run record of {others[0]}, which would be left without one."
        raise OutputError(message, hint=f"Choose another name for --out, or move {others[0]} away.")


def _names(name: str) -> tuple[str, ...]:
    """Every file that a run may write, the one that people look for last."""
    table = Path(name)
    return tuple(path.name for path in (shard_file_of(table), *result_files(table)))
