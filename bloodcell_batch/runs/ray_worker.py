"""What runs on the machines of a Ray cluster: one worker holds one backend and classifies whole slides with it."""

import os
import socket
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bloodcell_batch import __version__
from bloodcell_batch.config.classify import ClassifyConfig
from bloodcell_batch.errors import InputError
from bloodcell_batch.fields.vote import SlideView
from bloodcell_batch.files.storage import is_url
from bloodcell_batch.model.file import ModelFile, open_model
from bloodcell_batch.records import ImageFile, Outcome
from bloodcell_batch.results.record_entries import BackendEntry
from bloodcell_batch.runs.finder import RunFinder
from bloodcell_batch.runs.local import OpenedModel, classify_files, open_on_backend
from bloodcell_batch.stages.find import finding


@dataclass(frozen=True, slots=True)
class Job:
    """What every worker of a run must know.

    `root` is the scanned folder as an absolute path or URL, `first` a file in it that must be there; `model` is the
    content of the model file, empty for the one in the package, and `sha256` its digest (hex).
    """

    root: str
    first: str
    model: bytes
    sha256: str
    config: ClassifyConfig


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """What a worker says of itself when it is ready."""

    node: str
    pid: int
    version: str
    backend: str
    description: str
    skipped: tuple[str, ...]
    finder: BackendEntry


class SlideWorker:
    """One worker on `cpus` processors; nothing happens before `open`, so that what goes wrong there can be told."""

    def __init__(self, job: Job, cpus: int) -> None:
        self._job = job
        self._config = job.config.model_copy(update={"workers": cpus})
        self._cpus = cpus
        self._opened: OpenedModel | None = None
        self._finder = RunFinder(self._config, cpus)

    def open(self) -> WorkerFacts:
        """Load the model.

        Raises:
            BloodcellBatchError: this machine doesn't see the images, or can't run the model.
        """
        warnings.filterwarnings("ignore", module=r"PIL\.")
        node = socket.gethostname()
        root = self._job.root
        if not is_url(root) and not os.path.lexists(os.path.join(root, self._job.first)):
            hint = "Every node of the cluster must see the slides under the same path, as on a network drive."
            raise InputError(f"The node {node} doesn't see {self._job.first!r} in {root}.", hint=hint)
        self._opened = open_on_backend(self._open_model(), self._config, self._cpus)
        self._finder.open()
        choice = self._opened.choice
        ready = (choice.name, choice.backend.description, choice.skipped, self._finder.backend)
        return WorkerFacts(node, os.getpid(), __version__, *ready)

    def classify(self, files: Sequence[ImageFile], views: Mapping[str, SlideView]) -> list[Outcome]:
        """The outcomes of some whole slides, in order, whose images are what `views` says."""
        if self._opened is None:
            raise RuntimeError("the worker was not opened")
        find = finding(views, self._finder.look, self._finder.check, self._opened.model.header.preprocessing)
        return list(classify_files(files, self._job.root, self._opened, self._config, find))

    def _open_model(self) -> ModelFile:
        """The model of the run: the file under its own name where it is the same, else a copy (a TensorRT plan lies
        beside the file)."""
        named = self._config.model
        if not self._job.model or (named and named.is_file()):
            model = open_model(named)
            if model.sha256 == self._job.sha256:
                return model
        copy = Path(tempfile.mkdtemp(prefix="bloodcell-batch-")) / "model.safetensors"
        copy.write_bytes(self._job.model)
        return open_model(copy)
