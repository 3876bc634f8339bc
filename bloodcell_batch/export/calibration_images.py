"""Real images for int8: some to calibrate with, others to compare on, which the model was never trained on."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from bloodcell_batch.config.export import ExportOpenVinoConfig
from bloodcell_batch.errors import InputError
from bloodcell_batch.export.parity_images import evenly
from bloodcell_batch.images.guards import DecodeLimits
from bloodcell_batch.model.file import ModelFile
from bloodcell_batch.parallel.cpus import available_cpus
from bloodcell_batch.progress import Observer, counted
from bloodcell_batch.records import DecodedImage, ImageFile, Rejection
from bloodcell_batch.stages.decode import Reader, decode_ahead, decoder_of, make_reader
from bloodcell_batch.stages.scan import scan
from bloodcell_batch.training.data.class_names import ClassNames
from bloodcell_batch.training.data.labelled import hashing_decoder, short_digest
from bloodcell_batch.training.data.labelled_files import TRAIN
from bloodcell_batch.training.data.seen import Seen, as_hashes
from bloodcell_batch.training.data.sources import open_source

LEAST_COMPARED = 500
"""Fewer images can't show a loss of a tenth of a percent."""
_WINDOW = 64

Decoded = TypeVar("Decoded")


@dataclass(frozen=True, slots=True)
class Cells:
    """Images with their class as an index into the model's, or None where the folder does not tell."""

    images: tuple[DecodedImage, ...]
    labels: NDArray[np.int64] | None

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """Network inputs (N, S, S, 3)."""
        return np.stack([image.pixels for image in self.images])


@dataclass(frozen=True, slots=True)
class _File:
    file: ImageFile
    label: int | None


def load_cells(model: ModelFile, data: Path, config: ExportOpenVinoConfig, observer: Observer) -> tuple[Cells, Cells]:
    """Images to calibrate with and images to compare on, chosen in the same way on every run, of `data`: a folder, or
    any source of labelled images.

    Calibration takes images that the model was trained on where the folder has enough of them, else others. Copies of
    one file are used once.

    Raises:
        InputError: too few images that the model was not trained on.
    """
    read, files = _list(data, ClassNames(model.header.class_list), observer)
    trained, fresh = _by_training(model, read, files, observer)
    if len(trained) >= config.calibration_images:
        calibration = evenly(trained, config.calibration_images)
    else:
        calibration = evenly(fresh, config.calibration_images)
        used = {entry.file.path for entry in calibration}
        fresh = [entry for entry in fresh if entry.file.path not in used]
    compared = _decoded(model, read, evenly(fresh, config.max_images), observer)
    if len(compared.images) < LEAST_COMPARED:
        text = f"{counted(len(compared.images), 'image')} under {data} can be compared; int8 needs {LEAST_COMPARED}"
        hint = f"Besides {config.calibration_images} for calibration, only images that the model was not trained on "
        raise InputError(f"Only {text}.", hint=hint + "count; --max-images limits them, too.")
    return _decoded(model, read, calibration, observer), compared


def _list(data: Path, names: ClassNames, observer: Observer) -> tuple[Reader, list[_File]]:
    """The images of a source, with labels unless it is a folder without folders named after classes."""
    if data.is_dir() and not any(names.name_of(place.name) for place in data.iterdir() if place.is_dir()):
        found = scan(data)
        observer.note(f"{data} has no folders named after classes: int8 is compared with float32, not with the truth")
        return make_reader(found.root, DecodeLimits()), [_File(file, None) for file in found.files]
    source = open_source(data, names, observer)
    return source.read, [_File(entry.file, entry.label) for entry in source.entries]


def _by_training(
    model: ModelFile, read: Reader, files: Sequence[_File], observer: Observer
) -> tuple[list[_File], list[_File]]:
    """The images that the model was trained on, in whatever file, and the others; the first of equal files."""
    unique: dict[int, tuple[_File, bytes]] = {}
    decoder = hashing_decoder(read, model.header.preprocessing)
    for entry, outcome in _read(files, decoder, observer):
        image, hashes = outcome
        unique.setdefault(short_digest(image.facts.sha256), (entry, hashes))
    digests = np.array(list(unique), dtype=np.uint64)
    known = Seen.by(model).recognise(digests, as_hashes([hashes for _, hashes in unique.values()]))
    entries = [entry for entry, _ in unique.values()]
    trained = known.parts == TRAIN
    return [entries[i] for i in np.flatnonzero(trained)], [entries[i] for i in np.flatnonzero(~trained)]


def _decoded(model: ModelFile, read: Reader, files: Sequence[_File], observer: Observer) -> Cells:
    decoder = decoder_of(read, model.header.preprocessing)
    kept = list(_read(files, decoder, observer))
    known = [entry.label for entry, _ in kept if entry.label is not None]
    labels = np.array(known, dtype=np.int64) if len(known) == len(kept) else None
    return Cells(tuple(image for _, image in kept), labels)


def _read(
    files: Sequence[_File], decoder: Callable[[ImageFile], Decoded | Rejection], observer: Observer
) -> Iterator[tuple[_File, Decoded]]:
    """Those of the files that can be decoded; the observer is told of the others."""
    observer.started("reading images", len(files))
    decoded = decode_ahead([entry.file for entry in files], decoder, available_cpus(), _WINDOW)
    for done, (entry, outcome) in enumerate(zip(files, decoded, strict=True), start=1):
        if isinstance(outcome, Rejection):
            observer.warn(f"left out {outcome.file.path}: {outcome.reason} ({outcome.detail})")
        else:
            yield entry, outcome
        observer.advanced(done)
    observer.finished()
