"""`compare`: one row per system, each trained in a process of its own; what is finished is never repeated."""

import csv
import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import wait
from pathlib import Path

from bloodcell_batch.config.comparison import CompareConfig
from bloodcell_batch.errors import BloodcellBatchError, OutputError, UsageError
from bloodcell_batch.files.publishing import written_whole
from bloodcell_batch.files.writing import locked, writing
from bloodcell_batch.progress import NullObserver, Observer
from bloodcell_batch.training.comparison.system_row import FAILED, FINISHED, NOT_RUN, Place, Row, blank, run_system
from bloodcell_batch.training.comparison.systems import System, expanded, identity, read_systems
from bloodcell_batch.training.data.class_names import ClassNames
from bloodcell_batch.training.data.labelled_files import Source
from bloodcell_batch.training.data.sources import open_source

_SUBSET = "subset.csv"


def compare(
    files: Sequence[Path],
    data: Path,
    out: Path,
    options: CompareConfig,
    make_observer: Callable[[], Observer],
    *,
    isolated: bool = True,
) -> list[Row]:
    """Train and measure every system on one split of `data`.

    The same call continues after an interruption: finished rows are read back, an unfinished training goes on after
    its last whole epoch, failed rows are tried again.

    Args:
        files: TOML recipes; a row goes by the name of its file.
        data: see `open_source`.
        out: folder for rows, models and decoded images.
        options: terms that are the same for all systems.
        make_observer: called in this process, and in that of each row.
        isolated: a process per row, which one row can't crash for the others and whose peak memory is its own.

    Raises:
        UsageError: a recipe or an option is wrong.
        InputError: no labelled images.
        OutputError: `out` can't be written.
        LockedError: another comparison is writing there.
    """
    options = expanded(options)
    systems = read_systems(files, options)
    observer = make_observer()
    source = open_source(data, ClassNames(), observer)
    with _locked(out):
        if options.images_per_class is not None:
            data, source = _subset(data, source, options.images_per_class, out / _SUBSET)
        known = _identity_of(source)
        rows = []
        for number, (name, system) in enumerate(systems.items(), start=1):
            observer.note(f"system {number} of {len(systems)}: {name}")
            if name in options.skip:
                rows.append(blank(name, system, options, NOT_RUN))
                continue
            job = _SystemRun(name, system, options, out, identity(system, options, known))
            rows.append(job.finished() or job.run(data, make_observer, isolated=isolated))
            _tell(rows[-1], observer)
        if all(row.status != FAILED for row in rows):
            shutil.rmtree(out / "decoded", ignore_errors=True)
    return rows


def _tell(row: Row, observer: Observer) -> None:
    if row.status == FAILED:
        observer.warn(f"{row.name} failed: {row.reason}")
    else:
        observer.note(f"{row.name}: accuracy {row.accuracy:.2%}, {row.images_per_second:,.0f} images/s")


class _SystemRun:
    """The files of one row: its key and its figures in `rows/`, its model in `models/`."""

    def __init__(self, name: str, system: System, options: CompareConfig, out: Path, key: str) -> None:
        self.name, self.system, self.options, self.key, self._out = name, system, options, key, out
        self._row, self._key = out / "rows" / f"{name}.json", out / "rows" / f"{name}.key"
        self._model, self._clock = out / "models" / f"{name}.safetensors", out / "rows" / f"{name}.seconds"

    def finished(self) -> Row | None:
        """The row of an earlier run with the same recipe, terms and images, if it was finished."""
        if not self._row.exists() or not self._begun():
            return None
        try:
            row = Row.from_dict(json.loads(self._row.read_text(encoding="utf-8")))
        except (ValueError, KeyError, TypeError) as error:
            hint = "Delete it, and run the comparison again."
            raise OutputError(f"{self._row} is damaged: {error}.", hint=hint) from error
        return row if row.status == FINISHED else None

    def run(self, data: Path, make_observer: Callable[[], Observer], *, isolated: bool) -> Row:
        """Train and measure, or go on with it; a failure is a row, too."""
        if not self._begun():
            shutil.rmtree(self._model.with_suffix(".training"), ignore_errors=True)
            for path in (self._model, self._clock):
                path.unlink(missing_ok=True)
        _write(self._key, self.key)
        self._row.unlink(missing_ok=True)
        place = Place(data, self._model, self._clock, self._out / "decoded")
        arguments = (self.name, self.system, place, self.options, self._row, make_observer)
        if isolated:
            self._in_child(arguments)
        else:
            make_row(*arguments)
        return Row.from_dict(json.loads(self._row.read_text(encoding="utf-8")))

    def _begun(self) -> bool:
        return self._key.exists() and self._key.read_text(encoding="ascii") == self.key

    def _in_child(self, arguments: tuple[object, ...]) -> None:
        # Spawned, not forked: PyTorch's threads don't survive a fork.
        child = multiprocessing.get_context("spawn").Process(target=_child, args=arguments)
        child.start()
        try:
            child.join()
        finally:
            if child.is_alive():
                child.terminate()
                child.join()
        if child.exitcode == -signal.SIGINT or child.exitcode == 128 + signal.SIGINT:
            raise KeyboardInterrupt
        if not self._row.exists():
            reason = f"its process ended with exit code {child.exitcode}" + (
                ", as happens when memory runs out" if child.exitcode == -9 else ""
            )
            _write(self._row, json.dumps(blank(self.name, self.system, self.options, FAILED, reason).as_dict()))


def make_row(
    name: str,
    system: System,
    place: Place,
    options: CompareConfig,
    out: Path,
    make_observer: Callable[[], Observer],
) -> None:
    """Write the row of a system to `out`, as JSON, whether it fails or not."""
    try:
        row = run_system(name, system, place, options, make_observer())
    except BloodcellBatchError as error:
        row = blank(name, system, options, FAILED, f"{error.message} {error.hint}".strip())
    except Exception as error:  # noqa: BLE001 - whatever a system does must not stop the others; it is in its row
        traceback.print_exc()
        row = blank(name, system, options, FAILED, f"{type(error).__name__}: {error}")
    _write(out, json.dumps(row.as_dict(), indent=2) + "\n")


def _child(*arguments: object) -> None:
    """`make_row` in a process that ends with its parent, even if that is killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()
    try:
        make_row(*arguments)  # type: ignore[arg-type]
    except KeyboardInterrupt:
        os._exit(128 + signal.SIGINT)


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    with writing(f"to {out}", "Correct --out."):
        for folder in (out / "rows", out / "models"):
            folder.mkdir(parents=True, exist_ok=True)
    with locked(out / "lock", f"Another comparison is writing to {out}"):
        yield


def _subset(data: Path, source: Source, count: int, out: Path) -> tuple[Path, Source]:
    """A manifest of `count` images of each class, spread evenly over the order of the files, and links to them beside
    it: a manifest names files below its own folder only."""
    if data.suffix == ".npz":
        raise UsageError("A part of a MedMNIST file can't be taken.", hint="Leave --quick and --images-per-class out.")
    root = (data if data.is_dir() else data.parent).resolve()
    links = out.with_suffix("")
    shutil.rmtree(links, ignore_errors=True)
    links.mkdir()
    lines = []
    for label, name in enumerate(source.classes.names):
        members = [entry for entry in source.entries if entry.label == label]
        step = max(1.0, len(members) / count)
        chosen = [members[int(i * step)] for i in range(min(count, len(members)))]
        for number, entry in enumerate(chosen):
            link = links / f"{name}-{number:06}{Path(entry.file.path).suffix}"
            link.symlink_to(root / entry.file.path)
            lines.append((f"{links.name}/{link.name}", name, _PART_NAMES[entry.part]))
    with written_whole(out) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("path", "label", "split"), *lines])
    return out, open_source(out, ClassNames(source.classes), NullObserver())


_PART_NAMES = {-1: "", 0: "train", 1: "validation", 2: "test"}


def _identity_of(source: Source) -> str:
    listed = [[e.file.path, e.file.size_bytes, e.file.mtime_ns, e.label, e.part] for e in source.entries]
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


def _write(path: Path, text: str) -> None:
    with writing(path, "Free some space."), written_whole(path) as partial:
        partial.write_text(text, encoding="utf-8")
