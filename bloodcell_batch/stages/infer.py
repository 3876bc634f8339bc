"""Infer: fill batches, run the backend, keep every outcome in its place."""

from collections.abc import Iterable, Iterator

import numpy as np

from bloodcell_batch.backends.contract import Backend
from bloodcell_batch.errors import BackendError
from bloodcell_batch.labels import CLASS_NAMES
from bloodcell_batch.outlier import OutlierScore
from bloodcell_batch.records import DecodedImage, Outcome, RawPrediction

_SUM_TOLERANCE = 1e-2
_MOST_WAITING = 16  # outcomes held back per image of a batch, where nearly all are decided already


def infer(
    outcomes: Iterable[DecodedImage | Outcome], backend: Backend, outlier: OutlierScore, batch_size: int
) -> Iterator[RawPrediction | Outcome]:
    """Predict a stream of images, a batch at a time; what is decided already travels along, so the order never changes.

    Raises:
        BackendError: the backend returned something that is no probability distribution.
    """
    waiting: list[DecodedImage | Outcome] = []
    images = 0
    for outcome in outcomes:
        if not isinstance(outcome, DecodedImage) and not images:
            yield outcome  # nothing in front of it waits
            continue
        waiting.append(outcome)
        images += isinstance(outcome, DecodedImage)
        if images == batch_size or len(waiting) == _MOST_WAITING * batch_size:
            yield from _run(waiting, backend, outlier)
            waiting, images = [], 0
    if images:
        yield from _run(waiting, backend, outlier)


def _run(
    waiting: list[DecodedImage | Outcome], backend: Backend, outlier: OutlierScore
) -> Iterator[RawPrediction | Outcome]:
    pixels = [outcome.pixels for outcome in waiting if isinstance(outcome, DecodedImage)]
    try:
        probabilities, features = backend.infer(np.stack(pixels))
    except (RuntimeError, MemoryError) as error:  # what the runtimes raise when a device or its memory fails
        hint = "Run the same command again to go on where it stopped, or choose another --backend."
        raise BackendError(f"{backend.description} failed: {error}.", hint=hint) from error
    valid = probabilities.shape == (len(pixels), len(CLASS_NAMES)) and (probabilities >= 0).all()
    if not valid or not (np.abs(probabilities.sum(axis=1) - 1) <= _SUM_TOLERANCE).all():
        hint = "Run again with --backend pytorch, and report the machine that `bloodcell-batch doctor` prints."
        raise BackendError(f"{backend.description} returned invalid probabilities.", hint=hint)
    scores = outlier(features)
    rows = iter(zip(probabilities.tolist(), scores.tolist(), strict=True))
    for outcome in waiting:
        if isinstance(outcome, DecodedImage):
            distribution, score = next(rows)
            yield RawPrediction(outcome.file, outcome.facts, tuple(distribution), score)
        else:
            yield outcome
