"""find: a finder's model file on a backend, ready for `fields.finder.find_cells`."""

from bloodcell_batch.backends.contract import Backend
from bloodcell_batch.errors import ModelFileError
from bloodcell_batch.fields.finder import Finder
from bloodcell_batch.model.file import ModelFile


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
