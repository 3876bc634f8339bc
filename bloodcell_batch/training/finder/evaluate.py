"""`evaluate-finder`: found cells against labelled boxes, source by source."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bloodcell_batch.backends.contract import BackendOptions
from bloodcell_batch.backends.selection import open_backend
from bloodcell_batch.config.finder import EvaluateFinderConfig, FieldSource
from bloodcell_batch.errors import InputError
from bloodcell_batch.fields.cells import FIELD_CLASSES, Cell, FieldCells
from bloodcell_batch.fields.finder import Finder, find_cells
from bloodcell_batch.model.file import ModelFile
from bloodcell_batch.progress import Observer
from bloodcell_batch.stages.find import ready_finder
from bloodcell_batch.statistics.binomial import clopper_pearson
from bloodcell_batch.training.finder.boxes import LabelledBox
from bloodcell_batch.training.finder.data import FieldFile, decoded, field_files, labelled_rows, read_boxes, red_cell_of
from bloodcell_batch.training.finder.matching import Matches, match_by_box, match_by_centre

_CLOSE = 0.15  # share by which a measured diameter may differ
_MIDDLE = 0.4  # share of a picture's sides that count as its middle


@dataclass
class SourceFigures:
    """What was counted on one source."""

    images: int = 0
    by_centre: dict[str, Matches] = field(default_factory=dict)
    by_box: dict[str, Matches] = field(default_factory=dict)
    scale_known: int = 0
    scale_compared: int = 0
    scale_close: int = 0
    kinds: Counter[str] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, Any]:
        """The counts and the shares that they make."""
        classes = {
            name: {
                "by_centre": self.by_centre[name].as_dict(),
                "by_box": self.by_box[name].as_dict() if name in self.by_box else None,
            }
            for name in self.by_centre
        }
        close = None
        if self.scale_compared:
            limits = clopper_pearson(self.scale_close, self.scale_compared)
            close = [self.scale_close / self.scale_compared, *limits]
        scale = {"known": self.scale_known, "compared": self.scale_compared, "within_15_percent": close}
        return {"images": self.images, "classes": classes, "red_cell_diameter": scale, "kinds": dict(self.kinds)}


def evaluate_finder(
    model: ModelFile,
    data: Path,
    sources: Mapping[str, FieldSource],
    config: EvaluateFinderConfig,
    observer: Observer,
) -> dict[str, SourceFigures]:
    """Look at every image of the wanted sources and part, and compare.

    Raises:
        InputError: no image of the wanted part, or boxes that can't be read.
        TrainingError: a source has no images.
        BackendError: no backend runs the finder.
    """
    sources = config.chosen(sources)
    files = [file for file in field_files(sources, data) if config.part in {"all", file.part}]
    if not files:
        hint = "Give --part all, or another folder."
        raise InputError(f"No image in {data} belongs to the part {config.part!r}.", hint=hint)
    choice = open_backend(model, config.backend, BackendOptions(config.precision, config.batch_size))
    observer.note(f"finder {model.header.name} ({model.sha256[:12]}) on {choice.backend.description}")
    figures = {file.source: SourceFigures() for file in files}
    observer.started("looking for cells", len(files))
    try:
        finder = ready_finder(model, choice.backend)
        for done, file in enumerate(files, start=1):
            _add(figures[file.source], file, sources[file.source], finder, config.red_cell_pixels)
            observer.advanced(done)
    finally:
        choice.backend.close()
        observer.finished()
    return figures


def _add(
    figures: SourceFigures, file: FieldFile, source: FieldSource, finder: Finder, red_cell_pixels: float | None
) -> None:
    rgb = decoded(file.path)
    found = find_cells(rgb, finder, red_cell_pixels)
    boxes = read_boxes(file.path, source, rgb.shape)
    figures.images += 1
    figures.kinds[found.kind.value] += 1
    figures.scale_known += found.red_cell_pixels is not None
    for name, cells in _by_class(found).items():
        if name not in (*source.complete, *source.partial):
            continue
        labelled = [box for box in boxes if source.labels.get(box.label) == name]
        if source.boxes == "centre":
            labelled = [_usual(box, rgb.shape) for box in labelled]
        else:
            figures.by_box[name] = figures.by_box.get(name, Matches()) + match_by_box(cells, labelled)
        figures.by_centre[name] = figures.by_centre.get(name, Matches()) + match_by_centre(cells, labelled)
    true = red_cell_of(labelled_rows(boxes, source), rgb.shape)
    if true is not None:
        figures.scale_compared += 1
        measured = found.red_cell_pixels
        figures.scale_close += measured is not None and abs(math.log(measured / true)) <= math.log1p(_CLOSE)


def _usual(box: LabelledBox, shape: Sequence[int]) -> LabelledBox:
    """The cell in the middle of a picture, of which only that is known: it counts as found if a centre lies near it."""
    return LabelledBox(box.label, box.x, box.y, _MIDDLE * shape[1], _MIDDLE * shape[0])


def _by_class(found: FieldCells) -> dict[str, Sequence[Cell]]:
    return dict(zip(FIELD_CLASSES, (found.leukocytes, found.red_cells, found.platelets), strict=True))


def as_text(figures: Mapping[str, SourceFigures]) -> str:
    """The figures as lines of text."""
    lines = []
    for name, source in figures.items():
        content = source.as_dict()
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(content["kinds"].items()))
        lines.append(f"{name}: {source.images} images ({kinds})")
        for cell, both in content["classes"].items():
            centre, box = both["by_centre"], both["by_box"]
            text = f"  {cell}: {centre['labelled']} labelled, recall {_limits(centre['recall'])}, "
            text += f"precision {_limits(centre['precision'])}, F1 {_percent(centre['f1'])}"
            lines.append(text if box is None else text + f"; by box (IoU 0.5) F1 {_percent(box['f1'])}")
        scale = content["red_cell_diameter"]
        text = f"  scale: known in {scale['known']}"
        if scale["compared"]:
            text += f"; within 15 % of the boxes' in {_limits(scale['within_15_percent'])} of {scale['compared']}"
        lines.append(text)
    return "\n".join(lines)


def _limits(share: Sequence[float] | None) -> str:
    return "-" if share is None else f"{share[0]:.1%} ({share[1]:.1%}-{share[2]:.1%})"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"
