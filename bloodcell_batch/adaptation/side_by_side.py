"""Jobs of one thread each, as many at a time as there are processors, and what they have done so far."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

import torch

from bloodcell_batch.parallel.cpus import available_cpus
from bloodcell_batch.progress import Observer

_PERIOD_S = 0.5
Result = TypeVar("Result")
Job = Callable[[Callable[[], None]], Result]
"""Calls what it is given before each of its steps."""


def in_one_step(work: Callable[[], Result]) -> Job[Result]:
    """A job that can't be stopped on the way."""

    def job(stepped: Callable[[], None]) -> Result:
        stepped()
        return work()

    return job


class StoppedError(Exception):
    """Another training failed, or the user stopped all."""


def side_by_side(jobs: Sequence[Job[Result]], steps: Sequence[int], task: str, observer: Observer) -> list[Result]:
    """Run jobs in as many threads as there are processors, and report their steps.

    Args:
        jobs: each gets a function to call before each of its steps, which ends it when all are to be stopped.
        steps: how many each job has.
        task: name for the observer.
        observer: told of progress, in the thread that calls this.
    """
    done, stopping = [0] * len(jobs), threading.Event()

    def run(number: int) -> Result:
        torch.set_num_threads(1)

        def stepped() -> None:
            if stopping.is_set():
                raise StoppedError
            done[number] += 1

        result = jobs[number](stepped)
        done[number] = steps[number]
        return result

    observer.started(task, sum(steps))
    try:
        with one_thread_each(), ThreadPoolExecutor(min(available_cpus(), len(jobs))) as pool:
            futures = [pool.submit(run, number) for number in range(len(jobs))]
            try:
                left = set(futures)
                while left:
                    finished, left = wait(left, timeout=_PERIOD_S, return_when=FIRST_COMPLETED)
                    for future in finished:
                        future.result()
                    observer.advanced(sum(done))
            except BaseException:
                stopping.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return [future.result() for future in futures]
    finally:
        observer.finished()


@contextmanager
def one_thread_each() -> Iterator[None]:
    """PyTorch computes on one thread inside, so that sums have one order on every machine; as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
