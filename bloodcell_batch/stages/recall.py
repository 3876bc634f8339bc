"""Recall: what an interrupted or an earlier run found out about a file takes the place of doing it again."""

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from types import MappingProxyType

import pyarrow as pa

from bloodcell_batch.cell_classes import ClassList
from bloodcell_batch.errors import InputError, UsageError
from bloodcell_batch.fields.vote import SlideView
from bloodcell_batch.files.names import printable
from bloodcell_batch.images.damage import UndecodableImageError
from bloodcell_batch.progress import Observer
from bloodcell_batch.records import (
    SEEN_BEFORE,
    DecodedImage,
    ImageFile,
    KnownImage,
    LoadedImage,
    Outcome,
    Prediction,
    Rejection,
)
from bloodcell_batch.results.formats import read_table
from bloodcell_batch.results.run_record import read_record
from bloodcell_batch.results.stored_rows import as_known, outcomes_of
from bloodcell_batch.results.tables import image_schema

Decoder = Callable[[ImageFile], DecodedImage | Rejection]
Loader = Callable[[ImageFile], LoadedImage | Rejection]


class EarlierRows:
    """The image table of an earlier result, a slide at a time, asked while the files pass by; that run reported
    `classes` and took the slides for `views`."""

    def __init__(
        self, images: pa.Table, classes: ClassList, views: Mapping[str, SlideView] = MappingProxyType({})
    ) -> None:
        self._classes, self._views = classes, views
        self._images = images.select(image_schema(classes).names)
        self._ranges: dict[str, list[int]] = {}
        for position, slide in enumerate(images.column("slide_id").to_pylist()):
            found = self._ranges.setdefault(slide, [position, position])
            found[1] = position + 1
        self._waiting: dict[ImageFile, tuple[Outcome, ...]] = {}
        self._lock = threading.Lock()
        self.kept = 0

    def passing(self, files: Iterable[ImageFile]) -> Iterator[ImageFile]:
        """Pass the files on, and hold the rows of each until they are taken."""
        slide: str | None = None
        rows: dict[str, tuple[Outcome, ...]] = {}
        for file in files:
            if file.slide_id != slide:
                slide = file.slide_id
                rows = self._rows_of(printable(slide))
            earlier = rows.pop(printable(file.path), None)
            if earlier is not None:
                self._waiting[file] = earlier
            yield file

    def take(self, file: ImageFile) -> tuple[Outcome, ...]:
        """The earlier outcomes of a file that has passed, once; from any thread."""
        return self._waiting.pop(file, ())

    def view_of(
        self,
        slide: str,
        files: Sequence[ImageFile],
        looked_at: Sequence[ImageFile],
        digests: Callable[[Sequence[ImageFile]], Sequence[object]],
    ) -> SlideView | None:
        """What that run took a slide for, if another look at it could find nothing else: it has the same files, of the
        same sizes, and those of them that are looked at have the same `digests`: SHA-256 in hex, or whatever else
        where a file can't be read."""
        view = self._views.get(printable(slide))
        start, stop = self._ranges.get(printable(slide), (0, 0))
        rows = self._images.select(["path", "size_bytes", "sha256"]).slice(start, stop - start).to_pylist()
        before = {row["path"]: row for row in rows}
        sizes = {path: row["size_bytes"] for path, row in before.items()}
        if view is None or {printable(file.path): file.size_bytes for file in files} != sizes:
            return None
        expected = [before[printable(file.path)]["sha256"] for file in looked_at]
        if None in expected:  # of files that could not be read then
            return None
        return view if list(digests(looked_at)) == expected else None

    def forget_others(self, views: Mapping[str, SlideView]) -> None:
        """Hold no rows of slides that are taken for something else now: their rows depend on it."""
        for slide, now in views.items():
            before = self._views.get(printable(slide))
            if before is not None and before.mark != now.mark:
                self._ranges.pop(printable(slide), None)

    def count(self) -> None:
        """One more row is kept; from any thread."""
        with self._lock:
            self.kept += 1

    def _rows_of(self, slide: str) -> dict[str, tuple[Outcome, ...]]:
        start, stop = self._ranges.get(slide, (0, 0))
        batches = self._images.slice(start, stop - start).to_batches()
        outcomes = (outcome for batch in batches for outcome in outcomes_of(batch, self._classes))
        return {path: tuple(rows) for path, rows in groupby(outcomes, key=lambda outcome: outcome.file.path)}


def load_earlier(images: Path | None, key: Mapping[str, str], observer: Observer) -> EarlierRows | None:
    """The earlier result at `images` if its rows hold for a run of this `key`.

    Raises:
        UsageError: the results go to stdout.
        InputError: there is something that is not a result of ours, or it was changed since.
    """
    if images is None:
        raise UsageError("--update needs a file.", hint="Give --out the name of an earlier result.")
    if not images.exists():
        return None
    hint = "Use --overwrite to classify everything again, or another --out."
    try:
        record = read_record(images)
    except InputError as error:
        raise InputError(f"{images} can't be updated: {error.message}", hint=hint) from error
    if not record.key:
        raise InputError(f"{images} can't be updated: its run record is not one that `classify` wrote.", hint=hint)
    change = record.change_since_written(images)
    if change:
        raise InputError(f"{change}: its rows can't be kept.", hint=hint)
    changed = [name for name, value in key.items() if record.key.get(name) != value]
    if changed:
        was, now = record.key.get(changed[0]), key[changed[0]]
        observer.warn(f"everything is classified again: {changed[0]} was {was} and now is {now}")
        return None
    classes = record.model.class_list
    views = {slide: shown.view for slide, shown in record.slides_show.items()}
    return EarlierRows(read_table(images, image_schema(classes)), classes, views)


def unless_unchanged(
    load: Loader, read: Callable[[ImageFile], bytes], earlier_rows: EarlierRows
) -> Callable[[ImageFile], LoadedImage | KnownImage | Rejection]:
    """A loader that reads a file with an earlier outcome, and decodes it only if its SHA-256 is another.

    The time of change is not asked: it can be the same for another picture. What failed is tried again.
    """

    def load_or_recall(file: ImageFile) -> LoadedImage | KnownImage | Rejection:
        earlier = earlier_rows.take(file)
        facts = earlier[0].facts if earlier else None
        if facts is None or earlier[0].file.size_bytes != file.size_bytes or _hangs_on_others(earlier):
            return load(file)
        try:
            same = hashlib.sha256(read(file)).hexdigest() == facts.sha256
        except UndecodableImageError:
            same = False  # decoding it finds the same reason, and makes it a row
        if not same:
            return load(file)
        earlier_rows.count()
        return as_known(earlier, file)

    return load_or_recall


def _hangs_on_others(rows: Iterable[Outcome]) -> bool:
    """Whether a row says that another field shows its cell, which may be gone now."""
    return any(row.reason in SEEN_BEFORE for row in rows)


def recall(
    outcomes: Iterable[DecodedImage | KnownImage | Rejection], decoder: Decoder
) -> Iterator[DecodedImage | Prediction | Rejection]:
    """The earlier rows of every known image that is not a duplicate; one that was a duplicate is decoded."""
    for outcome in outcomes:
        if isinstance(outcome, KnownImage):
            yield from outcome.rows or (decoder(outcome.file),)
        else:
            yield outcome
