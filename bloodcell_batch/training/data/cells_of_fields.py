"""Cells of fields of view as labelled images: each is read as `classify` cuts it out of its field."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bloodcell_batch.fields.cells import Cell
from bloodcell_batch.fields.crops import crop
from bloodcell_batch.records import ImageFile
from bloodcell_batch.stages.decode import Reader

_CELL_RED_CELLS = 2.0  # diameter of a leukocyte in red cells, where no red cell tells the scale


@dataclass(frozen=True, slots=True)
class CellPlace:
    """Where a cell lies in its field: its `number` there, its `box` (left, upper, width, height) in pixels, and the
    diameter of a red cell there, None where nothing tells it."""

    number: int
    box: tuple[int, int, int, int]
    red_cell_pixels: float | None


def as_file(field: ImageFile, place: CellPlace) -> ImageFile:
    """A name for the cell among the files: `PATH#NUMBER`."""
    return replace(field, path=f"{field.path}#{place.number}")


def reader_of_cells(read: Reader, places: Mapping[str, tuple[ImageFile, CellPlace]]) -> Reader:
    """A reader that also reads cells, by the name that `as_file` gives them; `places` says in which field and where.

    The digest of a cell is of the field's and its number: two cells of one file are two pictures.
    """

    def read_one(file: ImageFile) -> tuple[str, NDArray[np.uint8]]:
        if file.path not in places:
            return read(file)
        field, place = places[file.path]
        sha256, rgb = read(field)
        left, upper, width, height = place.box
        cell = Cell(left + width / 2, upper + height / 2, width, height, 1.0)
        side = place.red_cell_pixels or max(width, height) / _CELL_RED_CELLS
        return hashlib.sha256(f"{sha256}#{place.number}".encode()).hexdigest(), crop(rgb, cell, side)

    return read_one
