"""The accuracy of a model on corrupted images: every corruption at every severity."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bloodcell_batch.images.preprocessing import Preprocessing, resize_to_input
from bloodcell_batch.progress import Observer
from bloodcell_batch.training.data.labelled import short_digest
from bloodcell_batch.training.data.labelled_files import LabelledFile, Source
from bloodcell_batch.training.evaluation.corruptions import CORRUPTIONS, SEVERITIES, corrupt

Classifier = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Inputs uint8 (N, S, S, 3) to probabilities float32 (N, C)."""

_CHUNK = 16
_CELLS = [(name, severity) for name in CORRUPTIONS for severity in SEVERITIES]


@dataclass(frozen=True, slots=True)
class CorruptionReport:
    """Accuracies 0-1: `clean` of the same images uncorrupted, `accuracy` per corruption (five severities each)."""

    images: int
    clean: float
    accuracy: dict[str, tuple[float, ...]]

    @property
    def mean(self) -> float:
        """Mean over all corruptions and severities."""
        return float(np.mean(list(self.accuracy.values())))

    @property
    def worst(self) -> tuple[str, int, float]:
        """Corruption, severity and accuracy of the worst cell of the table."""
        cells = [(name, i + 1, value) for name, row in self.accuracy.items() for i, value in enumerate(row)]
        return min(cells, key=lambda cell: cell[2])

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        name, severity, value = self.worst
        return {
            "images": self.images,
            "clean_accuracy": self.clean,
            "mean_accuracy": self.mean,
            "worst": {"corruption": name, "severity": severity, "accuracy": value},
            "accuracy": {name: list(row) for name, row in self.accuracy.items()},
        }


def run_corruptions(
    source: Source, preprocessing: Preprocessing, classify: Classifier, workers: int, observer: Observer
) -> CorruptionReport:
    """Classify every image of `source` under every corruption; only a few images are in memory at a time.

    Args:
        source: readable images only.
        preprocessing: of the model.
        classify: the backend.
        workers: threads that corrupt; 0 for none.
        observer: told of progress.
    """
    hits = np.zeros(1 + len(_CELLS), dtype=np.int64)
    observer.started("corrupted images", len(source.entries))
    for done, entries, batch in _batches(source, preprocessing, workers):
        guesses = classify(batch.reshape(-1, *batch.shape[2:])).argmax(axis=1).reshape(len(entries), -1)
        labels = np.array([entry.label for entry in entries])
        hits += (guesses == labels[:, None]).sum(axis=0)
        observer.advanced(done)
    observer.finished()
    shares = hits / len(source.entries)
    rows = shares[1:].reshape(len(CORRUPTIONS), len(SEVERITIES))
    accuracy = {name: tuple(float(value) for value in row) for name, row in zip(CORRUPTIONS, rows, strict=True)}
    return CorruptionReport(len(source.entries), float(shares[0]), accuracy)


def pick_images(source: Source, paths: set[str], count: int, seed: int = 0) -> Source:
    """About `count` of the images in `paths`, the same share of every class, whatever the order they are listed in."""
    entries = sorted((entry for entry in source.entries if entry.file.path in paths), key=lambda entry: entry.file.path)
    if len(entries) <= count:
        return replace(source, entries=tuple(entries))
    rng = np.random.default_rng(seed)
    labels = np.array([entry.label for entry in entries])
    chosen: list[int] = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        chosen += rng.permutation(members)[: max(1, round(len(members) * count / len(entries)))].tolist()
    return replace(source, entries=tuple(entries[i] for i in sorted(chosen)))


def _batches(
    source: Source, preprocessing: Preprocessing, workers: int
) -> Iterator[tuple[int, tuple[LabelledFile, ...], NDArray[np.uint8]]]:
    """Images done so far, entries, and their inputs uint8 (n, 1 + corruptions x severities, S, S, 3)."""

    def variants(entry: LabelledFile) -> NDArray[np.uint8]:
        sha256, rgb = source.read(entry.file)
        changed = (corrupt(name, rgb, severity, short_digest(sha256)) for name, severity in _CELLS)
        return np.stack([resize_to_input(picture, preprocessing) for picture in (rgb, *changed)])

    with ThreadPoolExecutor(max(1, workers), thread_name_prefix="corrupt") as pool:
        for start in range(0, len(source.entries), _CHUNK):
            entries = source.entries[start : start + _CHUNK]
            yield start + len(entries), entries, np.stack(list(pool.map(variants, entries)))
