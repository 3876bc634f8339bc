"""Work done ahead of its consumer, on threads that can be left behind when they hang."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from queue import SimpleQueue
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
_GRACE_S = 2.0
_SEVERAL = 16  # results that the consumer is woken for
_NAP_S = 0.05  # that it sleeps at most
_STOCK = 2  # items for each worker that are there meanwhile


def ahead(
    items: Iterable[Item],
    work: Callable[[Item], Result],
    workers: int,
    window: int,
    timeout: float,
    hung: Callable[[Item], Result],
) -> Iterator[Result]:
    """The results of `work` in the order of `items`.

    Args:
        items: taken at most `window` before the consumer.
        work: releases the interpreter lock for what takes time.
        workers: threads; with 0 everything runs in the calling thread, and nothing is given up.
        window: largest number of items that are waiting or being worked on.
        timeout: seconds after which an item is given up.
        hung: makes the result of an item that was given up; a new thread takes the place of the one that hangs.
    """
    if workers == 0:
        yield from map(work, items)
        return
    threads = _Threads(work, workers, timeout)
    pending: deque[_Task[Item, Result]] = deque()
    try:
        for item in items:
            pending.append(threads.start(item))
            if len(pending) >= window:
                _nap(pending, workers)
                yield threads.result(pending.popleft(), hung)
        while pending:
            _nap(pending, workers)
            yield threads.result(pending.popleft(), hung)
    finally:
        threads.close()


def _nap(pending: Sequence["_Task[Item, Result]"], workers: int) -> None:
    """Sleep until several results are there, or for a moment: to be woken for each costs the workers time, who have to
    hand over the interpreter. While the consumer sleeps nobody brings items, so it leaves the workers some."""
    several = min(_SEVERAL, len(pending) - _STOCK * workers)
    if several > 1 and not pending[0].done.is_set():
        pending[several - 1].done.wait(_NAP_S)


class _Task(Generic[Item, Result]):
    """One item on its way through a thread; `begun` is when a thread took it."""

    __slots__ = ("begun", "done", "error", "item", "result")

    def __init__(self, item: Item) -> None:
        self.item = item
        self.begun: float | None = None
        self.done = threading.Event()
        self.result: Result
        self.error: BaseException | None = None


class _Threads(Generic[Item, Result]):
    """A pool whose threads may hang: a read from a dead network drive may never return, and can't be cancelled."""

    def __init__(self, work: Callable[[Item], Result], workers: int, timeout: float) -> None:
        self._work = work
        self._timeout = min(timeout, threading.TIMEOUT_MAX)
        self._jobs: SimpleQueue[_Task[Item, Result] | None] = SimpleQueue()
        self._closed = False
        self._threads: list[threading.Thread] = []
        self._any_hangs = False
        for _ in range(workers):
            self._add_thread()

    def start(self, item: Item) -> _Task[Item, Result]:
        """Queue an item."""
        job: _Task[Item, Result] = _Task(item)
        self._jobs.put(job)
        return job

    def result(self, job: _Task[Item, Result], hung: Callable[[Item], Result]) -> Result:
        """Wait for a job, no longer than the timeout after a thread took it."""
        while not job.done.wait(self._patience(job)):
            if job.begun is not None and self._patience(job) <= 0:
                self._any_hangs = True
                self._add_thread()
                return hung(job.item)
        if job.error is not None:
            raise job.error
        return job.result

    def close(self) -> None:
        """End every thread after the item that it is at; those that hang end with the program."""
        self._closed = True
        for _ in self._threads:
            self._jobs.put(None)
        deadline = time.monotonic() + (_GRACE_S if self._any_hangs else self._timeout)
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _patience(self, job: _Task[Item, Result]) -> float:
        """Seconds left for a job. One that no thread took yet has all: those in front of it may be given up first."""
        return self._timeout if job.begun is None else job.begun + self._timeout - time.monotonic()

    def _add_thread(self) -> None:
        # A daemon: a thread that hangs must not keep the program from ending.
        thread = threading.Thread(target=self._serve, name=f"ahead-{len(self._threads)}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None and not self._closed:
            job.begun = time.monotonic()
            try:
                job.result = self._work(job.item)
            except BaseException as error:  # noqa: BLE001 - raised again in the thread that asks for the result
                job.error = error
            job.done.set()
