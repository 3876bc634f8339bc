"""Infer: fill batches, run the backend, keep every outcome in its place."""

from collections.abc import Iterable, Iterator

import numpy as np

from bloodcell_batch.backends.contract import Backend
from bloodcell_batch.errors import BackendError
from bloodcell_batch.labels import CLASS_NAMES
from bloodcell_batch.outlier import OutlierScore
from bloodcell_batch.records import DecodedImage, RawPrediction, Rejection

_SUM_TOLERANCE = 1e-2


def infer(
    outcomes: Iterable[DecodedImage | Rejection], backend: Backend, outlier: OutlierScore, batch_size: int
) -> Iterator[RawPrediction | Rejection]:
    """Predict a stream of images, a batch at a time; rejections travel along, so the order never changes.

    Raises:
        BackendError: the backend returned something that is no probability distribution.
    """
    waiting: list[DecodedImage | Rejection] = []
    images = 0
    for outcome in outcomes:
        waiting.append(outcome)
        images += isinstance(outcome, DecodedImage)
        if images == batch_size:
            yield from _run(waiting, backend, outlier)
            waiting, images = [], 0
    yield from _run(waiting, backend, outlier)


def _run(
    waiting: list[DecodedImage | Rejection], backend: Backend, outlier: OutlierScore
) -> Iterator[RawPrediction | Rejection]:
    pixels = [outcome.pixels for outcome in waiting if isinstance(outcome, DecodedImage)]
    if not pixels:
        yield from (outcome for outcome in waiting if isinstance(outcome, Rejection))
        return
    probabilities, features = backend.infer(np.stack(pixels))
    valid = probabilities.shape == (len(pixels), len(CLASS_NAMES)) and (probabilities >= 0).all()
    if not valid or not (np.abs(probabilities.sum(axis=1) - 1) <= _SUM_TOLERANCE).all():
        hint = "Run again with --backend pytorch, and report the machine that `bloodcell-batch doctor` prints."
        raise BackendError(f"{backend.description} returned invalid probabilities.", hint=hint)
    scores = outlier(features)
    rows = iter(zip(probabilities.tolist(), scores.tolist(), strict=True))
    for outcome in waiting:
        if isinstance(outcome, Rejection):
            yield outcome
        else:
            distribution, score = next(rows)
            yield RawPrediction(outcome.file, outcome.facts, tuple(distribution), score)
