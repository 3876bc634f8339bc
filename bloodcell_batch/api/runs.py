"""Classify folders, join shards, read results."""

import os
from collections.abc import Sequence
from pathlib import Path

from bloodcell_batch.config.classify import ClassifyConfig
from bloodcell_batch.config.merge import MergeConfig
from bloodcell_batch.progress import LoggedWarnings, Observer
from bloodcell_batch.results.finished import Results, load_results
from bloodcell_batch.runs.merge import merge_shards
from bloodcell_batch.runs.pipeline import RunResult, classify_slides

AnyPath = str | os.PathLike[str]
Outputs = AnyPath | Sequence[AnyPath]


def classify(
    folder: AnyPath, out: Outputs, config: ClassifyConfig | None = None, observer: Observer | None = None
) -> RunResult:
    """Classify every image under `folder` and publish the tables and the run record at `out`, as `classify` does.

    The same call after an interruption goes on where it stopped.

    Args:
        folder: folder with one folder of images per slide, or its URL.
        out: image table to write, `NAME.parquet`, `NAME.csv` or `NAME.xlsx`, or several of these for several formats;
            it may be a URL.
        config: options; the defaults if not given.
        observer: told what happens; if not given, warnings go to the logger `bloodcell_batch`.

    Returns:
        Counts of files by status, the differential of every slide, folders that could not be read, and the duration.

    Raises:
        BloodcellBatchError: nothing was published; its `message` and `hint` say why and what to do.
    """
    return classify_slides(os.fspath(folder), _names(out), config, observer or LoggedWarnings())


def merge(
    tables: Sequence[AnyPath], out: Outputs, config: MergeConfig | None = None, observer: Observer | None = None
) -> RunResult:
    """Publish at `out` the tables that an undivided run would have published, byte for byte.

    Args:
        tables: the image tables of all shards, in any order and format.
        out: as for `classify`.
        config: options; the defaults if not given.
        observer: told what happens; if not given, warnings go to the logger `bloodcell_batch`.

    Raises:
        BloodcellBatchError: shards are missing or don't fit together; nothing was published.
    """
    return merge_shards([Path(table) for table in tables], _names(out), config, observer or LoggedWarnings())


def _names(out: Outputs) -> tuple[str, ...]:
    return (os.fspath(out),) if isinstance(out, str | os.PathLike) else tuple(os.fspath(one) for one in out)


def read_results(table: AnyPath) -> Results:
    """Read an image table that `classify`, `merge` or a review wrote, with the run record beside it.

    Returns:
        `images`, the image table as Arrow; `slide_table`, the differentials counted from its rows as Arrow (each has
        `to_pandas()`); `slides`, the same as objects; `record`, the run record.

    Raises:
        InputError: one of the files is missing or unreadable, or they are not of the same run.
    """
    return load_results(Path(table))
