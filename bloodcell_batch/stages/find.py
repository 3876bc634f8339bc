"""Find: a field of view becomes its cells, one after the other; an image of a single cell passes as it is."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bloodcell_batch.backends.contract import Backend
from bloodcell_batch.errors import ModelFileError
from bloodcell_batch.fields.cells import Cell, FieldCells, ImageKind
from bloodcell_batch.fields.condition import condition_of
from bloodcell_batch.fields.crops import crop
from bloodcell_batch.fields.finder import Finder
from bloodcell_batch.fields.same_cell import cell_hash
from bloodcell_batch.fields.scale import CropScale
from bloodcell_batch.fields.screen import plainly_one_cell
from bloodcell_batch.fields.singles import NotOneCell
from bloodcell_batch.fields.tiles import background_colour
from bloodcell_batch.fields.vote import SMALLEST_FIELD, SlideView
from bloodcell_batch.images.preprocessing import Preprocessing, resize_to_input
from bloodcell_batch.model.file import ModelFile
from bloodcell_batch.records import CellBox, Crop, DecodedImage, Found, ImageFile, Outcome, Reason, Rejection, Status
from bloodcell_batch.stages.decode import Finding

Look = Callable[[NDArray[np.uint8], float | None], FieldCells]
"""Pixels, and the diameter of a red cell in most images of the slide, if it is known, to the cells."""
Check = Callable[[NDArray[np.uint8], CropScale], NotOneCell | None]
"""What is wrong with a picture of one cell, see `fields.singles.not_one_cell`."""

_CELL_RED_CELLS = 2.0  # diameter of a leukocyte in red cells: all that is left where no red cell tells the scale


def ready_finder(model: ModelFile, backend: Backend) -> Finder:
    """The finder of a model file that `open_finder` opened and that runs on `backend`.

    Raises:
        ModelFileError: the model is a classifier.
    """
    rule = model.header.finder
    if rule is None:
        raise ModelFileError(f"{model.path} is no finder.", hint="Open it with open_finder.")
    side = model.header.preprocessing.input_size
    return Finder(backend.infer, side, rule.stride, rule.red_cell_side, rule.thresholds)


def finding(views: Mapping[str, SlideView], look: Look, check: Check, preprocessing: Preprocessing) -> Finding:
    """What each image shows, by what its slide is taken for.

    Args:
        views: of every slide.
        look: the finder; from any thread.
        check: the same for pictures of single cells that don't plainly show one.
        preprocessing: that of the classifier, for the crops.
    """

    def found_in(file: ImageFile, rgb: NDArray[np.uint8]) -> Found:
        view = views[file.slide_id]
        if view.images == "fields":
            return _as_field(rgb, look(rgb, view.red_cell_pixels), preprocessing, view.red_cell_pixels)
        side = max(rgb.shape[:2])
        larger = side > view.longest  # than those that were looked at
        why = view.why_not_one_cell(look(rgb, None), side) if larger else _checked(rgb, view.crop_scale, check)
        return Found(doubt=None if why is None else Reason(why))

    return found_in


def _checked(rgb: NDArray[np.uint8], scale: CropScale | None, check: Check) -> NotOneCell | None:
    """Why a picture as large as the cells of its slide is none of a single cell."""
    if scale is None or max(rgb.shape[:2]) < SMALLEST_FIELD or plainly_one_cell(rgb, scale.red_cell_pixels):
        return None
    return check(rgb, scale)


def _as_field(rgb: NDArray[np.uint8], seen: FieldCells, preprocessing: Preprocessing, of_slide: float | None) -> Found:
    """Cells are hashed at the scale of their slide: that of the field errs by a few percent in each field."""
    background = background_colour(rgb) if seen.leukocytes else None
    crops = []
    for number, cell in enumerate(seen.leukocytes, start=1):
        side = seen.red_cell_pixels or max(cell.width, cell.height) / _CELL_RED_CELLS
        pixels = resize_to_input(crop(rgb, cell, side, background), preprocessing)
        doubt = Reason.CUT_OFF if cell.cut_off else None if seen.red_cell_pixels else Reason.UNKNOWN_SCALE
        box = _box(number, cell, rgb.shape[1], rgb.shape[0], doubt)
        crops.append(Crop(replace(box, phash=cell_hash(rgb, cell, of_slide or side, background)), pixels))
    scale = None if seen.red_cell_pixels is None else round(seen.red_cell_pixels, 2)
    faults = condition_of(rgb, seen).faults if seen.kind is ImageKind.FIELD else ()
    return Found(tuple(crops), None, scale, len(seen.red_cells), len(seen.platelets), faults)


def _box(number: int, cell: Cell, width: int, height: int, doubt: Reason | None) -> CellBox:
    """Whole pixels, at least one each way, inside the image."""
    left = min(max(0, round(cell.x - cell.width / 2)), width - 1)
    upper = min(max(0, round(cell.y - cell.height / 2)), height - 1)
    right = min(max(left + 1, round(cell.x + cell.width / 2)), width)
    lower = min(max(upper + 1, round(cell.y + cell.height / 2)), height)
    return CellBox(number, left, upper, right - left, lower - upper, round(cell.score, 4), doubt)


def cells_of(outcomes: Iterable[DecodedImage | Outcome]) -> Iterator[DecodedImage | Outcome]:
    """The cells of each field in its place in the stream, and a row that says so where it has none."""
    for outcome in outcomes:
        if not isinstance(outcome, DecodedImage) or outcome.crops is None:
            yield outcome
            continue
        for cell in outcome.crops:
            yield DecodedImage(outcome.file, outcome.facts, cell.pixels, cell=cell.box, doubt=cell.box.doubt)
        if not outcome.crops:
            yield _empty(outcome)


def _empty(field: DecodedImage) -> Rejection:
    facts = field.facts
    whole = CellBox(0, 0, 0, facts.width, facts.height, 0.0, Reason.NO_CELL)
    return Rejection(field.file, Status.UNCLASSIFIED, Reason.NO_CELL, facts=facts, cell=whole)


def for_crops(model: ModelFile) -> ModelFile:
    """The same finder for tiles of half the side, which hold a cut-out cell; a quarter of the work.

    Open it as the finder itself, for its `smaller`: `ready_finder(for_crops(model), open_backend(for_crops(model))
    .backend)`. A TensorRT plan has one size of tiles and refuses it; another backend then runs it.
    """
    preprocessing = model.header.preprocessing
    half = preprocessing.model_copy(update={"input_size": preprocessing.input_size // 2})
    return replace(model, header=model.header.model_copy(update={"preprocessing": half}))
