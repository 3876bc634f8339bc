import threading
import weakref
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from processes import PATIENCE_S

from bloodcell_batch.backends.contract import Outputs
from bloodcell_batch.cell_classes import DEFAULT_CLASSES, rolled_up
from bloodcell_batch.errors import BackendError, ExitCode
from bloodcell_batch.model.outlier_score import OutlierScore
from bloodcell_batch.records import (
    DecodedImage,
    ImageFacts,
    ImageFile,
    Outcome,
    Quality,
    RawPrediction,
    Reason,
    Rejection,
    Status,
)
from bloodcell_batch.stages.infer import infer

CLASSES = len(DEFAULT_CLASSES.names)
FACTS = ImageFacts("00" * 32, bytes(32), 96, 96, Quality(100.0, 40.0, 10.0), bytes(16))
OUTLIER = OutlierScore(
    mean=np.zeros(2, dtype=np.float32),
    directions=np.eye(2, dtype=np.float32)[:1],
    scale=np.ones(1, dtype=np.float32),
    centers=np.zeros((CLASSES, 1), dtype=np.float32),
    residual=np.full(1, 4, dtype=np.float32),
)

Change = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def _features(values: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.stack([values, np.full(len(values), 20)], axis=1).astype(np.float32)


class EchoBackend:
    """Says of each image the class that its first pixel names, and gives the pixel as feature."""

    description = "an echo"

    def __init__(self, change: Change = lambda probabilities: probabilities) -> None:
        self.batches: list[int] = []
        self._change = change

    def infer(self, images: NDArray[np.uint8]) -> Outputs:
        assert images.dtype == np.uint8
        assert images.shape[1:] == (4, 4, 3)
        self.batches.append(len(images))
        values = images[:, 0, 0, 0]
        probabilities = np.full((len(images), CLASSES), 0.01, dtype=np.float32)
        probabilities[np.arange(len(images)), values % CLASSES] = 1 - 0.01 * (CLASSES - 1)
        return self._change(probabilities), _features(values)

    def close(self) -> None:
        pass


def _image(number: int) -> DecodedImage:
    pixels = np.full((4, 4, 3), number, dtype=np.uint8)
    return DecodedImage(ImageFile(f"{number:03d}", "s", 1, 0), FACTS, pixels)


def _bad(number: int) -> Rejection:
    return Rejection(ImageFile(f"{number:03d}", "s", 1, 0), Status.FAILED, Reason.CORRUPT, "test")


def _infer(
    outcomes: Sequence[DecodedImage | Rejection], batch_size: int, backend: EchoBackend | None = None
) -> list[RawPrediction | Outcome]:
    return list(infer(outcomes, backend or EchoBackend(), OUTLIER, rolled_up(DEFAULT_CLASSES), batch_size))


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 40, 100])
def test_every_image_gets_its_own_prediction_in_order(batch_size: int) -> None:
    mixed = [_bad(i) if i % 3 == 0 or 20 <= i < 27 else _image(i) for i in range(40)]
    outcomes = _infer(mixed, batch_size)
    scores = OUTLIER(_features(np.arange(40, dtype=np.uint8)))
    assert len(set(scores.tolist())) == 40
    assert [outcome.file for outcome in outcomes] == [outcome.file for outcome in mixed]
    for number, (before, after) in enumerate(zip(mixed, outcomes, strict=True)):
        if isinstance(before, Rejection):
            assert after is before
            continue
        assert isinstance(after, RawPrediction)
        assert after.facts is before.facts
        assert int(np.argmax(after.probabilities)) == number % CLASSES
        assert len(after.probabilities) == CLASSES
        assert after.outlier_score == pytest.approx(float(scores[number]))


@pytest.mark.parametrize(
    ("images", "batch_size", "batches"),
    [(10, 4, [4, 4, 2]), (8, 4, [4, 4]), (3, 4, [3]), (1, 1, [1]), (5, 1, [1] * 5), (0, 4, [])],
)
def test_batches_are_filled_with_images_only(images: int, batch_size: int, batches: list[int]) -> None:
    backend = EchoBackend()
    mixed = [part for i in range(images) for part in (_bad(100 + i), _image(i))]
    _infer([*mixed, _bad(99)], batch_size, backend)
    assert backend.batches == batches


def test_outcomes_leave_while_the_next_batch_runs() -> None:
    taken = []

    def source() -> Iterator[DecodedImage]:
        for number in range(20):
            taken.append(number)
            yield _image(number)

    stream = infer(source(), EchoBackend(), OUTLIER, rolled_up(DEFAULT_CLASSES), 3)
    next(stream)
    assert 3 <= len(taken) <= 6
    stream.close()


def test_pictures_that_wait_are_kept_once() -> None:
    pixels: list[weakref.ref[NDArray[np.uint8]]] = []

    def source() -> Iterator[DecodedImage]:
        for number in range(20):
            image = _image(number)
            pixels.append(weakref.ref(image.pixels))
            yield image
            del image
            assert sum(one() is not None for one in pixels) <= 1

    outcomes = list(infer(source(), EchoBackend(), OUTLIER, rolled_up(DEFAULT_CLASSES), 6))
    assert [outcome.file.path for outcome in outcomes] == [f"{number:03d}" for number in range(20)]


class SlowBackend(EchoBackend):
    """Works on a batch until it is told to finish it."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.finish = threading.Event(), threading.Event()
        self.busy = False

    def infer(self, images: NDArray[np.uint8]) -> Outputs:
        self.busy = True
        self.begun.set()
        assert self.finish.wait(PATIENCE_S)
        outputs = super().infer(images)
        self.busy = False
        return outputs


def test_the_next_images_are_taken_while_the_backend_works() -> None:
    backend = SlowBackend()
    taken: list[bool] = []

    def source() -> Iterator[DecodedImage]:
        for number in range(6):
            if number == 3:
                assert backend.begun.wait(PATIENCE_S)
            taken.append(backend.busy)
            if number == 5:
                backend.finish.set()
            yield _image(number)

    outcomes = list(infer(source(), backend, OUTLIER, rolled_up(DEFAULT_CLASSES), 3))
    assert taken == [False, False, False, True, True, True]
    assert [outcome.file.path for outcome in outcomes] == [f"{number:03d}" for number in range(6)]


def test_the_backend_is_at_rest_when_the_stream_is_closed() -> None:
    backend = SlowBackend()

    def source() -> Iterator[DecodedImage | Rejection]:
        yield _bad(0)
        for number in range(1, 9):
            yield _image(number)

    stream = infer(source(), backend, OUTLIER, rolled_up(DEFAULT_CLASSES), 2)
    next(stream)
    waiting = threading.Timer(0.2, backend.finish.set)
    waiting.start()
    next(stream)
    stream.close()
    assert not backend.busy
    assert backend.batches in ([2], [2, 2], [2, 2, 2])
    waiting.join()


def test_many_decided_outcomes_are_not_held_back_for_ever() -> None:
    backend = EchoBackend()
    mixed: list[DecodedImage | Rejection] = [_image(0), *(_bad(number) for number in range(1, 100))]
    taken = 0

    def source() -> Iterator[DecodedImage | Rejection]:
        nonlocal taken
        for outcome in mixed:
            taken += 1
            yield outcome

    stream = infer(source(), backend, OUTLIER, rolled_up(DEFAULT_CLASSES), 2)
    next(stream)
    assert taken <= 2 * 16 * 2
    assert [outcome.file for outcome in stream] == [outcome.file for outcome in mixed[1:]]


def test_a_batch_that_takes_long_to_fill_runs_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    backend, taken = EchoBackend(), 0
    clock = iter(range(10_000))
    monkeypatch.setattr("bloodcell_batch.stages.infer.time.monotonic", lambda: 1.5 * next(clock))

    def slow() -> Iterator[DecodedImage]:
        nonlocal taken
        for number in range(12):
            taken += 1
            yield _image(number)

    stream = infer(slow(), backend, OUTLIER, rolled_up(DEFAULT_CLASSES), 1000)
    next(stream)
    assert taken < 12
    assert len(list(stream)) == 11
    assert sum(backend.batches) == 12
    assert max(backend.batches) == 2


def test_only_rejections_never_reach_the_backend() -> None:
    backend = EchoBackend()
    rejections = [_bad(number) for number in range(5)]
    assert _infer(rejections, 2, backend) == rejections
    assert backend.batches == []
    assert _infer([], 2, backend) == []


def test_values_are_plain_python_numbers() -> None:
    (outcome,) = _infer([_image(3)], 2)
    assert isinstance(outcome, RawPrediction)
    assert type(outcome.outlier_score) is float
    assert {type(value) for value in outcome.probabilities} == {float}


def _set(value: float) -> Change:
    def change(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
        probabilities[-1, 0] = value
        return probabilities

    return change


def _negative(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    probabilities[-1] = 0
    probabilities[-1, :3] = (1.5, -0.7, 0.2)
    return probabilities


@pytest.mark.parametrize(
    "change",
    [
        _set(float("nan")),
        _set(float("inf")),
        _set(0.5),
        _set(-0.5),
        _negative,
        lambda probabilities: probabilities * 0,
        lambda probabilities: probabilities * 1.02,
        lambda probabilities: -np.log(probabilities),
        lambda probabilities: probabilities[:-1],
        lambda probabilities: np.concatenate([probabilities, probabilities]),
        lambda probabilities: probabilities[:, :-1] / probabilities[:, :-1].sum(axis=1, keepdims=True),
    ],
    ids=[
        *["nan", "infinite", "sum above 1", "sum below 1", "negative but summing to 1", "zeros", "slightly off"],
        *["logarithms", "a row too few", "rows too many", "seven classes"],
    ],
)
def test_what_is_no_distribution_stops_the_run(change: Change) -> None:
    with pytest.raises(BackendError, match="an echo returned invalid probabilities") as caught:
        _infer([_image(number) for number in range(3)], 3, EchoBackend(change))
    assert caught.value.exit_code == ExitCode.BACKEND_REFUSED
    assert caught.value.hint


def test_rounding_of_low_precision_is_no_error() -> None:
    assert len(_infer([_image(1)], 1, EchoBackend(lambda probabilities: probabilities * np.float32(1.005)))) == 1
