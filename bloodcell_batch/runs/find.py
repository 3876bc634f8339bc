"""`find`: every leukocyte of a folder of fields as a picture of its own, with tables of where it was."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bloodcell_batch.backends.contract import BackendOptions
from bloodcell_batch.backends.selection import open_backend
from bloodcell_batch.config.finder import FindConfig
from bloodcell_batch.errors import InputError
from bloodcell_batch.fields.cells import Cell, FieldCells, ImageKind
from bloodcell_batch.fields.condition import condition_of
from bloodcell_batch.fields.crops import crop
from bloodcell_batch.fields.finder import Finder, find_cells
from bloodcell_batch.fields.scale import pooled_red_cell_pixels
from bloodcell_batch.files.names import printable
from bloodcell_batch.files.publishing import check_new_folder, folder_whole, written_whole
from bloodcell_batch.files.writing import writing
from bloodcell_batch.images.damage import UndecodableImageError
from bloodcell_batch.images.guards import DecodeLimits
from bloodcell_batch.model.file import open_finder
from bloodcell_batch.progress import Observer
from bloodcell_batch.records import ImageFile
from bloodcell_batch.slides.rules import PATH_RULES
from bloodcell_batch.stages.decode import Reader, make_reader
from bloodcell_batch.stages.find import ready_finder
from bloodcell_batch.stages.scan import scan

CELLS_TABLE, FIELDS_TABLE = "cells.csv", "fields.csv"


@dataclass(frozen=True, slots=True)
class CellRow:
    """A row of `cells.csv`; `crop` is empty where nothing told the scale, positions are in pixels of the field."""

    path: str
    slide_id: str
    cell: int
    crop: str
    x: float
    y: float
    width: float
    height: float
    score: float
    cut_off: bool
    visible: float
    touching: bool


@dataclass(frozen=True, slots=True)
class FieldRow:
    """A row of `fields.csv`; of an image that can't be read, `reason` says why, and all else is empty.

    `faults` are those of `fields.condition`, one space between them, and only of whole fields.
    """

    path: str
    slide_id: str
    reason: str = ""
    kind: str = ""
    red_cell_pixels: float | None = None
    leukocytes: int | None = None
    cut_off: int | None = None
    touching: int | None = None
    red_cells: int | None = None
    platelets: int | None = None
    faults: str = ""


@dataclass(slots=True)
class Totals:
    """What a run of `find` has to tell."""

    images: int = 0
    failed: int = 0
    cells: int = 0
    without_scale: int = 0
    unfit: int = 0

    def as_text(self) -> str:
        """One line."""
        text = f"{self.cells:,} leukocytes in {self.images:,} images"
        if self.without_scale:
            text += f"; {self.without_scale:,} images without a scale: give --red-cell-pixels to cut their cells out"
        if self.unfit:
            text += f"; {self.unfit:,} fields too thick, too thin or out of focus"
        return text + (f"; {self.failed:,} images failed, see {FIELDS_TABLE}" if self.failed else "")


def find_in_folder(root: Path, out: Path, config: FindConfig, observer: Observer) -> Totals:
    """Find, cut out, and write both tables; `out` appears whole or not at all.

    Raises:
        InputError: `root` is missing, no folder, or has no images.
        OutputError: `out` is no empty folder, is named like a table, or can't be written.
        LockedError: another run writes to `out`.
        ModelFileError, BackendError: the finder can't be read, or no backend runs it.
    """
    check_new_folder(out)
    found = scan(root, PATH_RULES[config.slide_by], include_hidden=config.include_hidden)
    if not found.files:
        hint = "Give the folder that holds them, or folders with them."
        raise InputError(f"No images under {found.root}.", hint=hint)
    model = open_finder(config.finder)
    choice = open_backend(model, config.backend, BackendOptions(config.precision, config.batch_size))
    observer.note(f"finder {model.header.name} ({model.sha256[:12]}) on {choice.backend.description}")
    reader = make_reader(found.root, DecodeLimits())
    with folder_whole(out) as fresh:
        search = _Search(ready_finder(model, choice.backend), reader, fresh, config.red_cell_pixels, observer)
        observer.started("looking for cells", len(found.files))
        try:
            for _, slide in groupby(found.files, key=lambda file: file.slide_id):
                search.slide(list(slide))
        finally:
            choice.backend.close()
            observer.finished()
        _write_table(fresh / CELLS_TABLE, CellRow, search.cells)
        _write_table(fresh / FIELDS_TABLE, FieldRow, search.fields)
    return search.totals


class _Search:
    """Goes from slide to slide, and keeps the rows."""

    def __init__(
        self, finder: Finder, reader: Reader, out: Path, red_cell_pixels: float | None, observer: Observer
    ) -> None:
        self._finder, self._reader, self._out = finder, reader, out
        self._known, self._observer = red_cell_pixels, observer
        self.cells: list[CellRow] = []
        self.fields: list[FieldRow] = []
        self.totals = Totals()

    def slide(self, files: Sequence[ImageFile]) -> None:
        """The images of one slide; those that don't tell their scale take that of the others."""
        late: list[tuple[int, ImageFile]] = []
        red_cells: list[tuple[Cell, ...]] = []
        guess: float | None = None
        for file in files:
            found, rgb = self._look(file, self._known, guess)
            if found is None or rgb is None:
                continue
            red_cells.append(found.red_cells)
            guess = found.red_cell_pixels or guess
            if found.red_cell_pixels is None:
                late.append((len(self.fields), file))
                self.fields.append(FieldRow(file.path, file.slide_id))
            else:
                self.fields.append(self._keep(file, found, rgb))
        pooled = pooled_red_cell_pixels(red_cells) if late else None
        for place, file in late:
            found, rgb = self._look(file, pooled, None, again=True)
            if found is not None and rgb is not None:
                self.fields[place] = self._keep(file, found, rgb)

    def _look(
        self, file: ImageFile, scale: float | None, guess: float | None, *, again: bool = False
    ) -> tuple[FieldCells | None, NDArray[np.uint8] | None]:
        try:
            _, rgb = self._reader(file)
        except UndecodableImageError as error:
            self._observer.warn(f"{printable(file.path)} failed: {error.reason} ({error.detail})")
            self.fields.append(FieldRow(file.path, file.slide_id, error.reason.value))
            self.totals.failed += 1
            self.totals.images += 1
            return None, None
        if not again:
            self.totals.images += 1
            self._observer.advanced(self.totals.images)
        # Too few red cells measure falsely: the scale of the field before is the better guess, as in `classify`.
        return find_cells(rgb, self._finder, scale, guess, guess), rgb

    def _keep(self, file: ImageFile, found: FieldCells, rgb: NDArray[np.uint8]) -> FieldRow:
        """The row of a field, after its cells were cut out and listed."""
        cells, scale = found.leukocytes, found.red_cell_pixels
        self.totals.cells += len(cells)
        self.totals.without_scale += scale is None
        for number, cell in enumerate(cells, start=1):
            name = ""
            if scale is not None:
                name = f"{file.path}.{number}.png"
                _write_picture(self._out / name, crop(rgb, cell, scale))
            self.cells.append(_cell_row(file, number, name, cell))
        faults = condition_of(rgb, found).faults if found.kind is ImageKind.FIELD else ()
        self.totals.unfit += bool(faults)
        return FieldRow(
            file.path,
            file.slide_id,
            kind=found.kind.value,
            red_cell_pixels=None if scale is None else round(scale, 2),
            leukocytes=len(cells),
            cut_off=sum(cell.cut_off for cell in cells),
            touching=sum(cell.touching for cell in cells),
            red_cells=len(found.red_cells),
            platelets=len(found.platelets),
            faults=" ".join(faults),
        )


def _cell_row(file: ImageFile, number: int, name: str, cell: Cell) -> CellRow:
    x, y, width, height = (round(value, 1) for value in (cell.x, cell.y, cell.width, cell.height))
    score, visible = round(cell.score, 4), round(cell.visible, 2)
    row = (x, y, width, height, score, cell.cut_off, visible, cell.touching)
    return CellRow(file.path, file.slide_id, number, name, *row)


def _write_picture(path: Path, rgb: NDArray[np.uint8]) -> None:
    picture = io.BytesIO()
    Image.fromarray(rgb).save(picture, "PNG")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as partial:
            partial.write_bytes(picture.getvalue())


def _write_table(path: Path, kind: type[CellRow | FieldRow], rows: Sequence[CellRow | FieldRow]) -> None:
    names = [field.name for field in fields(kind)]
    with writing(path), written_whole(path) as partial, partial.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(_values(row, names) for row in rows)


def _values(row: CellRow | FieldRow, names: Sequence[str]) -> Iterator[object]:
    for name in names:
        value = getattr(row, name)
        if isinstance(value, str):
            yield printable(value)
        elif isinstance(value, bool):
            yield str(value).lower()
        else:
            yield value
