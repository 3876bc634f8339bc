"""Output at a URL: written and journalled in a local folder, then uploaded, the image table last."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from bloodcell_batch.errors import OutputError, UsageError
from bloodcell_batch.files.remote import RemoteFolder
from bloodcell_batch.files.storage import is_url
from bloodcell_batch.files.writing import locked, writing
from bloodcell_batch.results.file_names import OutputPaths, output_paths, run_record_of, shard_file_of
from bloodcell_batch.results.formats import OUTPUT_FORMATS
from bloodcell_batch.results.run_record import MAX_RECORD_BYTES, RunRecord


@contextmanager
def local_output(outs: Sequence[str], *, overwrite: bool, embeddings: str | None = None) -> Iterator[tuple[str, ...]]:
    """Local names to write results to, in place of `outs` if these are URLs; they are uploaded when the body is done.

    Several are formats of one run, of one name in one folder. The local folder is the URL's own in the user's cache,
    so that a run that was cut short finds its journal again. A file of `embeddings` beside them gets its name there.

    Raises:
        UsageError: unknown suffix, a kind of URL that can't be used here, or the run record of another table is in the
            way.
        LockedError: another run on this machine is writing the same output.
        OutputError: the results exist already and `overwrite` is off, a person has reviewed them, or they can't be
            written; once they are complete, they stay in the local folder until they are uploaded.
    """
    if not any(map(is_url, outs)):
        yield tuple(outs)
        return
    out = outs[0]
    url, _, name = out.rpartition("/")
    if not name or not is_url(f"{url}/"):
        raise UsageError(f"--out {out} names no file.", hint="For example: s3://bucket/results.parquet")
    names = [other.removeprefix(f"{url}/") for other in outs]
    paths = output_paths(names, embeddings=None if embeddings is None else Path(embeddings).name)
    target = RemoteFolder(url)
    there = target.existing(*_written(paths))
    if there and not overwrite:
        hint = "Choose another name, or add --overwrite to replace it."
        raise OutputError(f"{url}/{there[0]} exists already.", hint=hint)
    record = run_record_of(Path(name)).name
    if record in there:
        _check_unreviewed(target, record)
        _check_record_is_free(target, names, record)
    folder = platformdirs.user_cache_path("bloodcell-batch") / "output" / hashlib.sha256(out.encode()).hexdigest()[:16]
    hint = "The results are written there before they are uploaded; XDG_CACHE_HOME names another place."
    with writing(f"to {folder}", hint):
        folder.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_suffix(".lock"), f"Another run is writing {out}"):
        for stale in _written(paths):  # of an upload that failed
            (folder / stale).unlink(missing_ok=True)
        yield tuple(str(folder / one) for one in names)
        for made in _written(paths):
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


def _check_record_is_free(target: RemoteFolder, names: Sequence[str], record: str) -> None:
    """As `irreplaceable.check_results`, by the names there."""
    formats = (str(Path(names[0]).with_suffix(suffix)) for suffix in OUTPUT_FORMATS)
    others = target.existing(*(other for other in formats if other not in names))
    if others:
        message = f"{target.url}/{record} may be the run record of {others[0]}, which would be left without one."
        raise UsageError(message, hint=f"Choose another name for --out, or move {others[0]} away.")


def _written(paths: OutputPaths) -> tuple[str, ...]:
    """Every file that a run may write, the one that people look for last."""
    shards = [] if paths.images is None else [shard_file_of(paths.images)]
    return tuple(path.name for path in (*shards, *paths.all()))
