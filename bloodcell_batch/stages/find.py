"""Find: a field of view becomes its cells, one after the other; an image of a single cell passes as it is."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from bloodcell_batch.backends.contract import Backend
from bloodcell_batch.errors import ModelFileError
from bloodcell_batch.fields.finder import Finder
from bloodcell_batch.model.file import ModelFile
from bloodcell_batch.records import CellBox, DecodedImage, Outcome, Reason, Rejection, Status


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


def cells_of(outcomes: Iterable[DecodedImage | Outcome]) -> Iterator[DecodedImage | Outcome]:
    """The cells of each field in its place in the stream, and a row that says so where it has none."""
    for outcome in outcomes:
        if not isinstance(outcome, DecodedImage) or outcome.crops is None:
            yield outcome
            continue
        for crop in outcome.crops:
            yield DecodedImage(outcome.file, outcome.facts, crop.pixels, cell=crop.box, doubt=crop.box.doubt)
        if not outcome.crops:
            yield _empty(outcome)


def _empty(field: DecodedImage) -> Rejection:
    facts = field.facts
    whole = CellBox(0, 0, 0, facts.width, facts.height, 0.0, Reason.NO_CELL)
    return Rejection(field.file, Status.UNCLASSIFIED, Reason.NO_CELL, facts=facts, cell=whole)


def for_crops(model: ModelFile) -> ModelFile:
    """The same finder for tiles of half the side, which hold a cut-out cell; a quarter of the work.

    Open it as the finder itself: `ready_finder(for_crops(model), open_backend(for_crops(model)).backend)`. A TensorRT
    plan has one size of tiles and refuses it; another backend then runs it, or `model` itself serves as well.
    """
    preprocessing = model.header.preprocessing
    half = preprocessing.model_copy(update={"input_size": preprocessing.input_size // 2})
    return replace(model, header=model.header.model_copy(update={"preprocessing": half}))
