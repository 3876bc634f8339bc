"""Which cells of a run to name so that a model can be adapted to it: unlike each other, some of them uncertain."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bloodcell_batch.backends.contract import BackendOptions
from bloodcell_batch.backends.selection import open_backend
from bloodcell_batch.config.classify import ClassifyConfig
from bloodcell_batch.config.results import ReviewExportConfig
from bloodcell_batch.errors import InputError
from bloodcell_batch.files.names import printable
from bloodcell_batch.images.guards import DecodeLimits
from bloodcell_batch.model.file import ModelFile, open_model
from bloodcell_batch.parallel.blocks import blocks_of
from bloodcell_batch.parallel.cpus import available_cpus
from bloodcell_batch.progress import Observer
from bloodcell_batch.records import DecodedImage, Rejection
from bloodcell_batch.reports.review.selection import shuffled
from bloodcell_batch.results.finished import ResultRow, Results
from bloodcell_batch.stages.decode import decode_ahead, make_decoder
from bloodcell_batch.stages.dedup import DuplicateFilter
from bloodcell_batch.stages.scan import scan
from bloodcell_batch.statistics.representatives import representatives

_MOST_CANDIDATES = 5000  # of a large run: more take minutes and change little
_WINDOW = 64


@dataclass(frozen=True, slots=True)
class Picked:
    """The chosen cells, in the order of choice, how many there were to choose from, and how many pictures of these
    were left out as copies of others."""

    rows: list[ResultRow]
    candidates: int
    copies: int


def cells_for_adaptation(
    results: Results, count: int, folder: Path, config: ReviewExportConfig, observer: Observer
) -> Picked:
    """Choose cells by what the model of the run sees in the images under `folder`.

    Of a large run, candidates are the least certain cells and as many random ones. A cell that a person has named is
    not chosen again, nor is a copy of a picture, also of one in another slide.

    Raises:
        InputError: the model is not that of the run, there are too few cells, or several in one image.
        BloodcellBatchError: the folder or the model can't be read.
    """
    model = _model_of(results, config.model)
    cells = [row for row in results.rows if row.is_counted]
    if any(row.cell is not None for row in cells):
        hint = "Use --sample, or --cells flagged."
        raise InputError(f"{results.path} has fields of view: --for-adaptation takes images of one cell.", hint=hint)
    named = [row for row in cells if row.verified_label]
    rows = {
        row.file: row for row in (*_candidates(cells, config.seed), *shuffled(named, config.seed)[:_MOST_CANDIDATES])
    }
    images, copies = _without_copies(rows, folder, model, observer)
    taken = {path for path, row in rows.items() if row.verified_label}
    taken |= {printable(copy.duplicate_of) for copy in copies if printable(copy.file.path) in taken}
    found, features = _features(images, model, observer)
    chosen = representatives(
        features,
        np.array([_uncertainty(rows[path]) for path in found]),
        count,
        np.array([path in taken for path in found], dtype=bool),
        config.seed,
    )
    if len(chosen) < count:
        hint = "Choose fewer, or name the folder that was classified with --images."
        raise InputError(
            f"{results.path} has {len(chosen)} different cells without a verified label whose images are there: "
            f"{count} can't be chosen.",
            hint=hint,
        )
    return Picked([rows[found[place]] for place in chosen], len(found) + len(copies), len(copies))


def _model_of(results: Results, path: Path | None) -> ModelFile:
    model = open_model(path)
    made_by = results.record.model
    if model.sha256 != made_by.sha256:
        message = f"{results.path} was made by the model {made_by.name} ({made_by.sha256[:12]}), not by "
        hint = "Name the file of that model with --model."
        raise InputError(f"{message}{path or 'the one in the package'} ({model.sha256[:12]}).", hint=hint)
    return model


def _candidates(cells: Iterable[ResultRow], seed: int) -> list[ResultRow]:
    """The cells without a verified label; of many, the least certain and as many random ones."""
    free = [row for row in cells if not row.verified_label]
    if len(free) <= _MOST_CANDIDATES:
        return free
    uncertain = sorted(free, key=lambda row: (-_uncertainty(row), row.file))[: _MOST_CANDIDATES // 2]
    chosen = {row.file for row in uncertain}
    others = [row for row in shuffled(free, seed) if row.file not in chosen]
    return [*uncertain, *others[: _MOST_CANDIDATES - len(uncertain)]]


def _uncertainty(row: ResultRow) -> float:
    """1 minus the gap between the two largest probabilities."""
    second, first = sorted(row.probabilities)[-2:]
    return 1 - (first - second)


def _without_copies(
    rows: dict[str, ResultRow], folder: Path, model: ModelFile, observer: Observer
) -> tuple[list[DecodedImage], list[Rejection]]:
    """The decoded images of the rows, and those that are copies of them, whatever their slides."""
    found = scan(folder, lambda _: "", include_hidden=True)  # one slide: a copy is one anywhere
    files = [file for file in found.files if printable(file.path) in rows]
    decoder = make_decoder(found.root, model.header.preprocessing, DecodeLimits())
    distance = ClassifyConfig.model_fields["dedup_distance"].default
    side = model.header.preprocessing.input_size
    observer.started("reading images", len(files))
    decoded = _unchanged(decode_ahead(files, decoder, available_cpus(), _WINDOW), rows, observer)
    outcomes = list(DuplicateFilter("near", distance, side * side * 3)(decoded))
    observer.finished()
    images = [outcome for outcome in outcomes if isinstance(outcome, DecodedImage)]
    copies = [outcome for outcome in outcomes if isinstance(outcome, Rejection)]
    missing = len(rows) - len(outcomes)
    if missing:
        observer.warn(f"{missing} cells can't be chosen: their files are missing or changed", count=missing)
    return images, copies


def _unchanged(
    outcomes: Iterable[DecodedImage | Rejection], rows: dict[str, ResultRow], observer: Observer
) -> Iterator[DecodedImage]:
    """The images whose bytes are those that were classified."""
    for done, outcome in enumerate(outcomes, start=1):
        observer.advanced(done)
        if isinstance(outcome, DecodedImage) and outcome.facts.sha256 == rows[printable(outcome.file.path)].sha256:
            yield outcome


def _features(
    images: list[DecodedImage], model: ModelFile, observer: Observer
) -> tuple[list[str], NDArray[np.float32]]:
    """Paths as in the table, and features (N, D) in the same order."""
    options = BackendOptions(views=1)  # only its features count
    backend = open_backend(model, "auto", options).backend
    parts: list[NDArray[np.float32]] = []
    observer.started("looking at cells", len(images))
    try:
        for block in blocks_of(images, options.batch):
            parts.append(backend.infer(np.stack([image.pixels for image in block]))[1])
            observer.advanced(min(len(images), len(parts) * options.batch))
    finally:
        backend.close()
        observer.finished()
    features = np.concatenate(parts) if parts else np.zeros((0, 1), dtype=np.float32)
    return [printable(image.file.path) for image in images], features
