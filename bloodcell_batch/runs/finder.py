"""The finder of a run of `classify`, and what it says of the slides before the run."""

import hashlib
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bloodcell_batch.backends.contract import BackendOptions
from bloodcell_batch.backends.selection import Choice, open_backend
from bloodcell_batch.config.classify import ClassifyConfig
from bloodcell_batch.fields.cells import FieldCells
from bloodcell_batch.fields.finder import Finder, find_cells
from bloodcell_batch.fields.scale import CropScale
from bloodcell_batch.fields.singles import NotOneCell, not_one_cell
from bloodcell_batch.fields.vote import Sampled, SlideView
from bloodcell_batch.files.storage import open_fetch
from bloodcell_batch.images.damage import UndecodableImageError
from bloodcell_batch.images.guards import DecodeLimits
from bloodcell_batch.model.file import ModelFile, open_finder
from bloodcell_batch.parallel.cpus import available_cpus
from bloodcell_batch.progress import Observer
from bloodcell_batch.records import ImageFile, Rejection
from bloodcell_batch.results.record_entries import BackendEntry
from bloodcell_batch.stages.decode import decode_ahead, make_reader, read_file
from bloodcell_batch.stages.find import for_crops, ready_finder
from bloodcell_batch.stages.recall import EarlierRows
from bloodcell_batch.stages.sample import slide_views, tell, tell_other_scales


class RunFinder:
    """The packaged finder for one run, from any thread once it was opened.

    Args:
        config: options of the run.
        threads: processors to use; all that there are if None.
    """

    def __init__(self, config: ClassifyConfig, threads: int | None = None) -> None:
        self.model: ModelFile = open_finder(None)
        self._config, self._threads = config, threads
        self._lock = threading.Lock()
        self._choice: Choice | None = None
        self._finder: Finder | None = None
        self._small: tuple[Choice, Finder] | None = None

    def open(self) -> None:
        """Open the network.

        Raises:
            BackendError: nothing here runs it.
        """
        self._choice, finder = self._open(self.model)
        self._finder = replace(finder, smaller=self._smaller)

    @property
    def backend(self) -> BackendEntry:
        """What runs it, for the run record; rows depend on its description."""
        choice = self._opened()[0]
        return BackendEntry(name=choice.name, description=choice.backend.description, skipped=list(choice.skipped))

    def look(self, rgb: NDArray[np.uint8], red_cell_pixels: float | None) -> FieldCells:
        """The cells of an image, uint8 (height, width, 3), in whose slide a red cell mostly has `red_cell_pixels`."""
        finder = self._opened()[1]
        if self._config.red_cell_pixels is not None:
            return find_cells(rgb, finder, self._config.red_cell_pixels)
        return find_cells(rgb, finder, first_guess=red_cell_pixels, fallback=red_cell_pixels)

    def look_for_vote(self, rgb: NDArray[np.uint8], _: float | None) -> FieldCells:
        """The same, by the image's own red cells: a diameter that somebody gives, perhaps a wrong one, must not decide
        whether the image shows one cell or many, and counts only where the image has no red cells."""
        finder, given = self._opened()[1], self._config.red_cell_pixels
        found = find_cells(rgb, finder)
        return found if given is None or found.red_cell_pixels is not None else find_cells(rgb, finder, given)

    def check(self, rgb: NDArray[np.uint8], scale: CropScale) -> NotOneCell | None:
        """What is wrong with a picture of one cell, uint8 (height, width, 3), in a slide of `scale`."""
        return not_one_cell(rgb, self._opened()[1], scale)

    def close(self) -> None:
        """Release the networks; closing twice is allowed."""
        for choice in (self._choice, self._small and self._small[0]):
            if choice is not None:
                choice.backend.close()

    def _open(self, model: ModelFile) -> tuple[Choice, Finder]:
        # A TensorRT plan and int8 belong to the classifier's network.
        name = "auto" if self._config.backend == "tensorrt" else self._config.backend
        precision = "auto" if self._config.precision == "int8" else self._config.precision
        choice = open_backend(model, name, BackendOptions(precision, threads=self._threads))
        return choice, ready_finder(model, choice.backend)

    def _smaller(self) -> Finder:
        """Opened by the first picture that fits into its tiles: fields do without.

        Raises:
            BackendError: it can't be opened.
        """
        with self._lock:
            if self._small is None:
                self._small = self._open(for_crops(self.model))
        return self._small[1]

    def _opened(self) -> tuple[Choice, Finder]:
        if self._choice is None or self._finder is None:
            raise RuntimeError("the finder was not opened")
        return self._choice, self._finder


def look_at_slides(
    root: str,
    files: Iterable[ImageFile],
    finder: RunFinder,
    config: ClassifyConfig,
    observer: Observer,
    earlier: EarlierRows | None = None,
) -> dict[str, SlideView]:
    """What the images of each slide under `root` are taken for, by votes of some of them, or by what an `earlier` run
    found where nothing has changed; the observer is told.

    Raises:
        UsageError: the images of a slide decide nothing.
    """
    workers = available_cpus() if config.workers is None else config.workers
    limits = DecodeLimits(max_pixels=round(config.max_megapixels * 1e6))
    reader, fetch = make_reader(root, limits), open_fetch(root)

    def digest(file: ImageFile) -> str | None:
        try:
            return hashlib.sha256(read_file(fetch, file, limits)).hexdigest()
        except UndecodableImageError:
            return None

    def digests(some: Sequence[ImageFile]) -> list[str | Rejection | None]:
        return list(decode_ahead(some, digest, workers, 2 * workers + 1, config.file_timeout))

    def known(slide: str, some: Sequence[ImageFile], looked_at: Sequence[ImageFile]) -> SlideView | None:
        return None if earlier is None else earlier.view_of(slide, some, looked_at, digests)

    def ahead(
        chosen: Iterable[ImageFile], sample: Callable[[ImageFile], Sampled | None]
    ) -> Iterable[Sampled | Rejection | None]:
        return decode_ahead(chosen, sample, workers, 2 * workers + 1, config.file_timeout)

    asked = None if config.images == "auto" else config.images
    views = slide_views(files, asked, reader, finder.look_for_vote, ahead, known)
    tell(views, asked, observer)
    if config.red_cell_pixels is not None:
        tell_other_scales(views, config.red_cell_pixels, observer)
    return views


def marks_of(views: Mapping[str, SlideView]) -> dict[str, str]:
    """What the rows of each slide depend on besides its images and the options."""
    return {slide: view.mark for slide, view in views.items()}
