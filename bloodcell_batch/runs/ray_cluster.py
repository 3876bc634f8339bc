"""`--engine ray`: whole slides are classified on the machines of a Ray cluster, and come back in their order.

The driver scans, counts, keeps the journal and publishes as in any run; only `classify_files` runs elsewhere.
"""

import heapq
import logging
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import (
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
    WorkerCrashedError,
)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from bloodcell_batch import __version__
from bloodcell_batch.config.classify import ClassifyConfig
from bloodcell_batch.errors import BackendError, BloodcellBatchError
from bloodcell_batch.fields.vote import SlideView
from bloodcell_batch.files.storage import is_url
from bloodcell_batch.model.file import ModelFile
from bloodcell_batch.progress import Observer
from bloodcell_batch.records import ImageFile, Outcome
from bloodcell_batch.results.journal import Journal, whole_files
from bloodcell_batch.results.record_entries import joined
from bloodcell_batch.runs.ray_placement import Place, beginning_of_slide, group_size, slide_groups, worker_places
from bloodcell_batch.runs.ray_worker import Job, SlideWorker, WorkerFacts
from bloodcell_batch.stages.recall import EarlierRows

_LOST = (RayActorError, ObjectLostError, WorkerCrashedError, NodeDiedError, OutOfMemoryError)
_QUEUED = 2  # groups of slides at a worker: one that runs and one that waits, so that it is never idle
_AHEAD = 2  # finished groups per worker that may wait for an earlier one
_TRIES = 3
_START_SECONDS = 300  # a cold PyTorch on a network drive takes minutes


@dataclass(slots=True)
class _Worker:
    handle: Any
    place: Place
    opening: "Future[WorkerFacts]"
    queue: "deque[tuple[Future[list[Outcome]], int]]" = field(default_factory=deque)
    facts: WorkerFacts | None = None


class RayClassifier:
    """Workers on a Ray cluster that classify the slides of one run.

    Args:
        root: the scanned folder, which every node must see under the same path.
        files: the image files that will be classified; only their number and the first one matter here.
        model: model file; nodes that don't have it get a copy.
        config: options; `ray_address` names a running cluster, without it Ray is started on this machine.
        observer: told which workers there are, and which were lost.

    Raises:
        BackendError: Ray can't be reached, or no worker could be opened; the text says why.
    """

    def __init__(
        self, root: str, files: Sequence[ImageFile], model: ModelFile, config: ClassifyConfig, observer: Observer
    ) -> None:
        self._observer = observer
        self._config = config
        self._workers: list[_Worker] = []
        self._failures: list[str] = []
        self._views: Mapping[str, SlideView] = {}
        self._tries: dict[int, int] = {}
        _connect(config.ray_address)
        try:
            places = worker_places(ray.nodes(), config.workers)  # type: ignore[no-untyped-call]
            self._replacements = _TRIES * len(places)
            self._job = ray.put(_job(root, files, model, config))
            self._size = group_size(len(files), len(places), config.batch_size)
            for place in places:
                self._start(place)
            while not self._open_workers():
                self._wait_for_something({}, [])
        except BaseException:
            self.close()
            raise
        facts = self._open_workers()
        self.name = ", ".join(sorted({one.backend for one in facts}))
        count = f"{len(places)} workers" if len(places) > 1 else "1 worker"
        self.description = f"{count} of Ray: {', '.join(sorted({one.description for one in facts}))}"
        self.skipped = facts[0].skipped
        self.finder_backend = joined([one.finder for one in facts])

    def classify(
        self,
        files: Sequence[ImageFile],
        journal: Journal,
        earlier: EarlierRows | None,
        views: Mapping[str, SlideView],
    ) -> Generator[Outcome, None, None]:
        """The outcome of every file, in order; whole slides, as duplicates are looked for within each, whose images are
        what `views` says.

        A slide that the journal has in part is done again as a whole. There is no `earlier` here.

        Raises:
            BloodcellBatchError: a worker can't go on, or the same slides lost their worker again and again.
        """
        self._views = views
        yield from chain.from_iterable(journal.outcomes(files))
        if journal.resumed < len(files):
            first = beginning_of_slide(files, journal.resumed)
            again = whole_files(self._classify(files[first:]))
            yield from chain.from_iterable(islice(again, journal.resumed - first, None))

    def _classify(self, files: Sequence[ImageFile]) -> Iterator[Outcome]:
        groups = slide_groups(files, self._size)
        waiting = list(range(len(groups)))
        done: dict[int, list[Outcome]] = {}
        try:
            for turn, group in enumerate(groups):
                while turn not in done:
                    self._hand_out(groups, waiting, turn)
                    self._wait_for_something(done, waiting)
                # Our own file objects in the place of their copies: they are kept until the end of the run.
                for rows, file in zip(whole_files(done.pop(turn)), group, strict=True):
                    yield from (replace(outcome, file=file) for outcome in rows)
        except RayError as error:
            hint = "Run the same command again when the cluster is well."
            raise BackendError(f"The Ray cluster failed: {_first_line(error)}.", hint=hint) from error

    def close(self) -> None:
        """End the workers and leave the cluster; closing twice is allowed."""
        if not ray.is_initialized():
            return
        for worker in self._workers:
            with suppress(RayError):
                ray.kill(worker.handle)
        self._workers.clear()
        ray.shutdown()

    def _start(self, place: Place) -> None:
        affinity = NodeAffinitySchedulingStrategy(place.node_id, soft=True)
        remote: Any = ray.remote(SlideWorker)
        options = remote.options(num_cpus=place.cpus, num_gpus=place.gpus, scheduling_strategy=affinity)
        handle = options.remote(self._job, place.cpus)
        self._workers.append(_Worker(handle, place, handle.open.remote().future()))

    def _open_workers(self) -> list[WorkerFacts]:
        return [worker.facts for worker in self._workers if worker.facts]

    def _hand_out(self, groups: Sequence[Sequence[ImageFile]], waiting: list[int], turn: int) -> None:
        """Give groups to the workers with the shortest queues, not too far ahead of the one whose turn it is."""
        limit = turn + len(self._workers) * (_QUEUED + _AHEAD)
        while waiting and waiting[0] <= limit:
            ready = [worker for worker in self._workers if worker.facts and len(worker.queue) < _QUEUED]
            if not ready:
                return
            worker = min(ready, key=lambda worker: len(worker.queue))
            index = heapq.heappop(waiting)
            views = {file.slide_id: self._views[file.slide_id] for file in groups[index]}
            worker.queue.append((worker.handle.classify.remote(groups[index], views).future(), index))

    def _wait_for_something(self, done: dict[int, list[Outcome]], waiting: list[int]) -> None:
        """Wait until a worker has opened, finished a group or was lost, and act on it."""
        by_future: dict[Future[Any], _Worker] = {
            worker.queue[0][0] if worker.facts else worker.opening: worker
            for worker in self._workers
            if worker.queue or not worker.facts
        }
        if not by_future:
            reasons = "; ".join(dict.fromkeys(self._failures))
            hint = "See `ray status`, and the logs of Ray on its nodes."
            raise BackendError(f"No Ray worker is left: {reasons}.", hint=hint)
        none_open = not self._open_workers()
        # Not ray.wait: a signal that arrives in its C code would end in a SystemError.
        ready = wait(by_future, _START_SECONDS if none_open else None, FIRST_COMPLETED).done
        if not ready:
            hint = "Are all its processors taken? See `ray status`."
            raise BackendError(f"The Ray cluster gave no worker within {_START_SECONDS} s.", hint=hint)
        future = ready.pop()
        worker = by_future[future]
        try:
            answer = future.result()
        except _LOST as error:
            self._give_up_worker(worker, _first_line(error), waiting)
        except RayTaskError as error:
            self._refuse(worker, error)
        else:
            if worker.facts:
                done[worker.queue.popleft()[1]] = answer
            else:
                self._welcome(worker, answer)

    def _welcome(self, worker: _Worker, facts: WorkerFacts) -> None:
        if facts.version != __version__:
            hint = "Install the same version on every node."
            message = f"The node {facts.node} has bloodcell-batch {facts.version}, this is {__version__}."
            raise BackendError(message, hint=hint)
        others = {one.backend for one in self._open_workers()} - {facts.backend}
        if others:
            self._observer.warn(f"the workers run on different backends ({facts.backend}, {', '.join(others)})")
        worker.facts = facts
        text = f"worker {len(self._open_workers())} on {facts.node}: {facts.description}"
        self._observer.note(text, node=facts.node, pid=facts.pid, backend=facts.backend)

    def _give_up_worker(self, worker: _Worker, reason: str, waiting: list[int]) -> None:
        """A worker is gone: its slides go back to the others, and another worker takes its place."""
        where = worker.facts.node if worker.facts else "its node"
        self._failures.append(reason)
        self._workers.remove(worker)
        if worker.queue:
            first = worker.queue[0][1]  # the one that ran; those behind it can't be to blame
            self._tries[first] = self._tries.get(first, 0) + 1
            if self._tries[first] == _TRIES:
                hint = "One of its images may take too much memory: classify it without --engine ray."
                message = f"A group of slides has lost its worker {_TRIES} times, the last time so: {reason}."
                raise BackendError(message, hint=hint)
        for _, index in worker.queue:
            heapq.heappush(waiting, index)
        if self._replacements:
            self._replacements -= 1
            self._observer.warn(f"the worker on {where} was lost ({reason}); its slides are done again")
            self._start(worker.place)

    def _refuse(self, worker: _Worker, error: RayTaskError) -> None:
        """Our own code raised: what it says is for the user."""
        cause = error.cause
        if isinstance(cause, BloodcellBatchError):
            raise type(cause)(cause.message, hint=cause.hint) from error
        where = worker.facts.node if worker.facts else "a node"
        hint = "Is bloodcell-batch installed there as it is here? Run `bloodcell-batch doctor` on the node."
        raise BackendError(f"The worker on {where} failed: {_first_line(cause)}.", hint=hint) from error


def _job(root: str, files: Sequence[ImageFile], model: ModelFile, config: ClassifyConfig) -> Job:
    absolute = {name: value.absolute() for name, value in config if isinstance(value, Path)}
    data = model.path.read_bytes() if config.model is not None else b""
    first = files[0].path if files else ""
    return Job(
        root if is_url(root) else str(Path(root).absolute()),
        first,
        data,
        model.sha256,
        config.model_copy(update=absolute),
    )


def _connect(address: str | None) -> None:
    """Join the cluster, or start one on this machine.

    Raises:
        BackendError: there is none at that address.
    """
    ours = signal.getsignal(signal.SIGTERM)
    options: dict[str, Any] = {"address": address} if address else {"address": "local", "include_dashboard": False}
    try:
        ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        hint = "Start one with `ray start --head`, or leave --ray-address out to use this machine. "
        hint += "If the cluster asks for a token, set RAY_AUTH_MODE=token, as Ray's documentation says."
        raise BackendError(f"There is no Ray cluster at {address}: {_first_line(error)}.", hint=hint) from error
    except SystemExit:  # Ray's handler of SIGTERM, which takes the place of ours for this moment
        signal.signal(signal.SIGTERM, ours)
        signal.raise_signal(signal.SIGTERM)
        raise
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, ours)


def _first_line(error: BaseException) -> str:
    lines = [line for line in str(error).strip().splitlines() if line]
    return (lines[0] if lines else type(error).__name__).rstrip(".")
