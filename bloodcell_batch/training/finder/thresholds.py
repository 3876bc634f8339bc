"""From which score on a found cell counts: decided on the fields held out for validation, and on no others.

Pictures of one cell don't take part: they are no fields, and what they show is chosen.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from bloodcell_batch.backends.contract import BackendOptions
from bloodcell_batch.backends.selection import open_backend
from bloodcell_batch.config.finder import FieldSource
from bloodcell_batch.fields.cells import Cell
from bloodcell_batch.fields.finder import Finder, find_cells
from bloodcell_batch.model.file import ModelFile
from bloodcell_batch.progress import Observer
from bloodcell_batch.stages.find import ready_finder
from bloodcell_batch.training.finder.boxes import LabelledBox
from bloodcell_batch.training.finder.data import decoded, field_files, read_boxes
from bloodcell_batch.training.finder.matching import Matches, match_by_centre

UNDECIDED = (0.4, 0.4, 0.4)
"""Thresholds of a leukocyte, a red cell and a platelet, where nothing decides."""

_TRIED = tuple(hundredths / 100 for hundredths in range(25, 80, 5))
_DECIDED = {"leukocyte": 0, "platelet": 2}  # the scale needs red cells, and not all of them: theirs stays as it is

Look = tuple[Sequence[Cell], Sequence[LabelledBox]]


def chosen_thresholds(
    model: ModelFile, data: Path, sources: Mapping[str, FieldSource], observer: Observer
) -> tuple[float, float, float]:
    """The thresholds with the best F1 by centre on the validation part of the sources with complete boxes.

    Where several are best, the lowest: a missed cell is in no table, while the classifier still looks at what was found
    by mistake. A class without a labelled cell there keeps 0.4.

    Raises:
        InputError: boxes that can't be read.
        BackendError: no backend runs the finder.
    """
    fields = {name: source for name, source in sources.items() if source.boxes != "centre"}
    files = [file for file in field_files(fields, data) if file.part == "validation"]
    looks: dict[str, list[Look]] = {name: [] for name in _DECIDED}
    choice = open_backend(model, "auto", BackendOptions(batch=16))
    observer.started("choosing thresholds", len(files))
    try:
        ready = ready_finder(model, choice.backend)
        keen = (_TRIED[0], UNDECIDED[1], _TRIED[0])
        finder = Finder(ready.infer, ready.tile, ready.stride, ready.red_cell_side, keen)
        for done, file in enumerate(files, start=1):
            source = sources[file.source]
            rgb = decoded(file.path)
            found = find_cells(rgb, finder)
            boxes = read_boxes(file.path, source, rgb.shape)
            for name, cells in (("leukocyte", found.leukocytes), ("platelet", found.platelets)):
                if name in source.complete:
                    labelled = [box for box in boxes if source.labels.get(box.label) == name]
                    looks[name].append((cells, labelled))
            observer.advanced(done)
    finally:
        choice.backend.close()
        observer.finished()
    thresholds = list(UNDECIDED)
    for name, place in _DECIDED.items():
        thresholds[place] = best_threshold(looks[name]) or UNDECIDED[place]
    observer.note("thresholds: " + ", ".join(f"{threshold:.2f}" for threshold in thresholds))
    return thresholds[0], thresholds[1], thresholds[2]


def best_threshold(looks: Sequence[Look]) -> float | None:
    """The lowest of those with the highest F1; None if no labelled cell is found at all."""
    scores = [_f1(looks, threshold) for threshold in _TRIED]
    return None if max(scores) == 0 else _TRIED[scores.index(max(scores))]


def _f1(looks: Sequence[Look], threshold: float) -> float:
    total = Matches()
    for cells, labelled in looks:
        total += match_by_centre([cell for cell in cells if cell.score >= threshold], labelled)
    return float(total.as_dict()["f1"] or 0)
