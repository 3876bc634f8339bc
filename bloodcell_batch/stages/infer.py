"""Infer: fill batches, run the backend beside everything else, keep every outcome in its place."""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import repeat
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bloodcell_batch.backends.contract import Backend
from bloodcell_batch.cell_classes import RollUp
from bloodcell_batch.errors import BackendError
from bloodcell_batch.model.outlier_score import OutlierScore
from bloodcell_batch.parallel.blocks import PATIENCE_S
from bloodcell_batch.records import DecodedImage, Outcome, RawPrediction

_SUM_TOLERANCE = 1e-2
_MOST_WAITING = 16  # outcomes held back per image of a batch, where nearly all are decided already
_MOST_RUNNING = 2  # batches: the backend takes the second while the rows of the first are dealt with

_NO_PIXELS = np.empty((0, 0, 0, 3), dtype=np.uint8)
_LARGEST_HALF = float(np.finfo(np.float16).max)


class Numbers(NamedTuple):
    """What `RawPrediction` has of the images of a batch, each in its place; no embeddings where nobody wants them."""

    distributions: list[list[float]]
    scores: list[float]
    embeddings: list[bytes]


def infer(
    outcomes: Iterable[DecodedImage | Outcome],
    backend: Backend,
    outlier: OutlierScore,
    roll_up: RollUp,
    batch_size: int,
    *,
    embeddings: bool = False,
) -> Generator[RawPrediction | Outcome, None, None]:
    """Predict a stream of images, a batch at a time; what is decided already travels along, so the order never changes.
    A batch that takes long to fill runs as it is: its size changes no number.

    The backend's outputs become the classes of `roll_up`, and its features go along if `embeddings`. It works in a
    thread of its own, one batch after the other, and is at rest again when the stream has ended or is closed.

    Raises:
        BackendError: the backend returned something that is not a probability distribution.
    """
    run = partial(_run, backend=backend, outlier=outlier, roll_up=roll_up, embeddings=embeddings)
    thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="infer")
    running: deque[_Batch] = deque()
    waiting, since = _Waiting(batch_size), 0.0
    try:
        for outcome in outcomes:
            while running and running[0].is_done:
                yield from running.popleft().outcomes()
            if not isinstance(outcome, DecodedImage) and not waiting.outcomes and not running:
                yield outcome  # nothing in front of it waits
                continue
            since = since if waiting.outcomes else time.monotonic()
            waiting.add(outcome)
            if waiting.is_full or time.monotonic() - since > PATIENCE_S:
                running.append(_Batch(waiting, run, thread))
                waiting = _Waiting(batch_size)
                if len(running) == _MOST_RUNNING:
                    yield from running.popleft().outcomes()
        running.append(_Batch(waiting, run, thread))
        for batch in running:
            yield from batch.outcomes()
    finally:
        thread.shutdown(cancel_futures=True)


class _Waiting:
    """Outcomes that wait until a batch is full; the pixels of its images are copied into it, and not kept twice."""

    def __init__(self, batch_size: int) -> None:
        self.outcomes: list[DecodedImage | Outcome] = []
        self._size, self._images = batch_size, 0
        self._batch = _NO_PIXELS

    def add(self, outcome: DecodedImage | Outcome) -> None:
        if isinstance(outcome, DecodedImage):
            if not self._images:
                self._batch = np.empty((self._size, *outcome.pixels.shape), dtype=np.uint8)
            self._batch[self._images] = outcome.pixels
            self._images += 1
            outcome = replace(outcome, pixels=_NO_PIXELS)
        self.outcomes.append(outcome)

    @property
    def is_full(self) -> bool:
        return self._images == self._size or len(self.outcomes) == _MOST_WAITING * self._size

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """Of all images so far, uint8 (N, S, S, 3)."""
        return self._batch[: self._images]


class _Batch:
    """Outcomes that wait for the images among them, which the backend has been given."""

    def __init__(self, waiting: _Waiting, run: Callable[[NDArray[np.uint8]], Numbers], thread: Executor) -> None:
        self._waiting = waiting.outcomes
        pixels = waiting.pixels
        self._numbers: Future[Numbers] | None = thread.submit(run, pixels) if len(pixels) else None

    @property
    def is_done(self) -> bool:
        return self._numbers is None or self._numbers.done()

    def outcomes(self) -> Iterator[RawPrediction | Outcome]:
        found = self._numbers.result() if self._numbers else Numbers([], [], [])
        rows = zip(found.distributions, found.scores, found.embeddings or repeat(None), strict=False)
        for outcome in self._waiting:
            if isinstance(outcome, DecodedImage):
                distribution, score, embedding = next(rows)
                yield RawPrediction(
                    outcome.file, outcome.facts, tuple(distribution), score, outcome.cell, outcome.doubt, embedding
                )
            else:
                yield outcome


def _run(
    pixels: NDArray[np.uint8], backend: Backend, outlier: OutlierScore, roll_up: RollUp, *, embeddings: bool
) -> Numbers:
    try:
        probabilities, features = backend.infer(pixels)
    except (RuntimeError, MemoryError) as error:  # what the runtimes raise when a device or its memory fails
        hint = "Run the same command again to go on where it stopped, or choose another --backend."
        raise BackendError(f"{backend.description} failed: {error}.", hint=hint) from error
    valid = probabilities.shape == (len(pixels), len(roll_up.target)) and (probabilities >= 0).all()
    if not valid or not (np.abs(probabilities.sum(axis=1) - 1) <= _SUM_TOLERANCE).all():
        hint = "Run again with --backend pytorch, and report the machine that `bloodcell-batch doctor` prints."
        raise BackendError(f"{backend.description} returned invalid probabilities.", hint=hint)
    kept = as_embeddings(features) if embeddings else []
    return Numbers(reported(probabilities, roll_up).tolist(), outlier(features).tolist(), kept)


def as_embeddings(features: NDArray[np.float32]) -> list[bytes]:
    """Features (N, D) as `Prediction` has them; those beyond the largest float16, 65,504, become that."""
    return [row.tobytes() for row in np.clip(features, -_LARGEST_HALF, _LARGEST_HALF).astype("<f2")]


def reported(probabilities: NDArray[np.floating], roll_up: RollUp) -> NDArray[np.floating]:
    """Probabilities (N, outputs) as those of the classes that are reported (N, classes): kinds of a class add up."""
    if roll_up.changes_nothing:
        return probabilities
    summed = np.zeros((len(probabilities), len(roll_up.reported)), dtype=probabilities.dtype)
    for output, target in enumerate(roll_up.target):
        summed[:, target] += probabilities[:, output]
    return summed
