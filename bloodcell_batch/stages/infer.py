"""Infer: fill batches, run the backend one batch ahead, keep every outcome in its place."""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from bloodcell_batch.backends.contract import Backend
from bloodcell_batch.errors import BackendError
from bloodcell_batch.labels import CLASS_NAMES
from bloodcell_batch.outlier import OutlierScore
from bloodcell_batch.records import DecodedImage, RawPrediction, Rejection

_SUM_TOLERANCE = 1e-2

_Outcomes = list[DecodedImage | Rejection]
_Scored = tuple[list[list[float]], list[float]]
"""Probabilities and outlier scores, one of each per image."""


def infer(
    outcomes: Iterable[DecodedImage | Rejection], backend: Backend, outlier: OutlierScore, batch_size: int
) -> Iterator[RawPrediction | Rejection]:
    """Predict a stream of images, a batch at a time; rejections travel along, so the order never changes.

    The backend works in a thread of its own: while it computes a batch, the caller handles the outcomes of the one
    before and the next is collected. Closing the iterator waits for the batch that is being computed.

    Raises:
        BackendError: the backend returned something that is no probability distribution.
    """
    # One thread, so the backend never runs twice at the same time.
    pool = ThreadPoolExecutor(1, thread_name_prefix="infer")
    ahead: tuple[_Outcomes, Future[_Scored]] | None = None
    try:
        for batch in _batches(outcomes, batch_size):
            started = pool.submit(_predict, [o.pixels for o in batch if isinstance(o, DecodedImage)], backend, outlier)
            if ahead is not None:
                yield from _placed(*ahead)
            ahead = batch, started
        if ahead is not None:
            yield from _placed(*ahead)
    finally:
        pool.shutdown(cancel_futures=True)


def _batches(outcomes: Iterable[DecodedImage | Rejection], batch_size: int) -> Iterator[_Outcomes]:
    """Lists with `batch_size` images each, the last with fewer, and the rejections between them."""
    waiting: _Outcomes = []
    images = 0
    for outcome in outcomes:
        waiting.append(outcome)
        images += isinstance(outcome, DecodedImage)
        if images == batch_size:
            yield waiting
            waiting, images = [], 0
    if waiting:
        yield waiting


def _predict(pixels: list[NDArray[np.uint8]], backend: Backend, outlier: OutlierScore) -> _Scored:
    if not pixels:
        return [], []
    probabilities, features = backend.infer(np.stack(pixels))
    valid = probabilities.shape == (len(pixels), len(CLASS_NAMES)) and (probabilities >= 0).all()
    if not valid or not (np.abs(probabilities.sum(axis=1) - 1) <= _SUM_TOLERANCE).all():
        hint = "Run again with --backend pytorch, and report the machine that `bloodcell-batch doctor` prints."
        raise BackendError(f"{backend.description} returned invalid probabilities.", hint=hint)
    return probabilities.tolist(), outlier(features).tolist()


def _placed(waiting: _Outcomes, started: Future[_Scored]) -> Iterator[RawPrediction | Rejection]:
    """The outcomes of a batch, each prediction in the place of its image."""
    rows = iter(zip(*started.result(), strict=True))
    for outcome in waiting:
        if isinstance(outcome, Rejection):
            yield outcome
        else:
            distribution, score = next(rows)
            yield RawPrediction(outcome.file, outcome.facts, tuple(distribution), score)
