"""Repeated cross-validation of an adaptation: every cell judged by networks that did not see it.

Trainings run beside each other, one thread each. The answers of each are kept in a folder as soon as they are there, so
that an interrupted adaptation goes on where it stopped.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from bloodcell_batch.adaptation.folds import grouped_folds
from bloodcell_batch.adaptation.side_by_side import Job, side_by_side
from bloodcell_batch.adaptation.trainings import Answers, Depth, Trainings
from bloodcell_batch.files.publishing import written_whole
from bloodcell_batch.files.writing import writing
from bloodcell_batch.progress import Observer

FOLDS, REPEATS = 4, 2
_HINT = "Free some space or correct --out, then run it again."


@dataclass(frozen=True, slots=True)
class Fold:
    """One training of the cross-validation: its number from 1, and the cells that it tests."""

    number: int
    repeat: int
    tested: NDArray[np.int64]


class KeptAnswers:
    """Answers of finished trainings, in a folder; those of another adaptation are thrown away."""

    def __init__(self, folder: Path, identity: str) -> None:
        self._folder, self._mark = folder, folder / "identity"
        self._identity = identity

    def begin(self) -> int:
        """Make the folder; returns the number of answers that an interrupted adaptation left there.

        Raises:
            OutputError: it can't be written.
        """
        with writing(f"to {self._folder}", _HINT):
            if not self._mark.is_file() or self._mark.read_text(encoding="utf-8") != self._identity:
                self.end()
                self._folder.mkdir(parents=True)
                with written_whole(self._mark) as partial:
                    partial.write_text(self._identity, encoding="utf-8")
        return len(list(self._folder.glob("*.safetensors")))

    def read(self, name: str) -> Answers | None:
        """Answers of that name, None where there are none."""
        try:
            tensors = safetensors.numpy.load((self._folder / f"{name}.safetensors").read_bytes())
            return Answers(tensors["logits"], tensors["scores"])
        except (FileNotFoundError, KeyError, safetensors.SafetensorError):
            return None

    def write(self, name: str, answers: Answers) -> None:
        """Keep answers; OutputError if that fails."""
        data = safetensors.numpy.save({"logits": answers.logits, "scores": answers.scores})
        with writing(f"to {self._folder}", _HINT), written_whole(self._folder / f"{name}.safetensors") as partial:
            partial.write_bytes(data)

    def end(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self._folder, ignore_errors=True)


def folds_of(labels: NDArray[np.int64], groups: NDArray[np.int64], seed: int) -> list[Fold]:
    """The folds of all repeats."""
    count = min(FOLDS, len(np.unique(groups)))
    return [
        Fold(repeat * count + place + 1, repeat, tested)
        for repeat in range(REPEATS)
        for place, tested in enumerate(grouped_folds(labels, groups, count, seed + repeat))
    ]


def cross_validate(
    trainings: Trainings, folds: list[Fold], depth: Depth, kept: KeptAnswers, observer: Observer
) -> list[Answers]:
    """Answers about all cells, one for each repeat.

    Raises:
        OutputError: an answer can't be kept.
    """
    cells = sum(len(fold.tested) for fold in folds if fold.repeat == 0)

    def answered(fold: Fold, stepped: Callable[[], None]) -> Answers:
        name = f"{depth}-{fold.number}"
        found = kept.read(name)
        if found is None:
            learned = trainings.learn(depth, np.setdiff1d(np.arange(cells), fold.tested), fold.number, stepped)
            found = trainings.answers(learned, fold.tested)
            kept.write(name, found)
        return found

    jobs = [_bound(answered, fold) for fold in folds]
    found = side_by_side(jobs, [trainings.steps_of(depth)] * len(jobs), f"cross-validating the {depth}", observer)
    return [
        _joined([(fold, answers) for fold, answers in zip(folds, found, strict=True) if fold.repeat == repeat], cells)
        for repeat in range(REPEATS)
    ]


def _bound(function: Callable[[Fold, Callable[[], None]], Answers], fold: Fold) -> Job[Answers]:
    return lambda stepped: function(fold, stepped)


def _joined(found: list[tuple[Fold, Answers]], cells: int) -> Answers:
    turns, _, classes = found[0][1].logits.shape
    logits = np.empty((turns, cells, classes), dtype=np.float32)
    scores = np.empty(cells, dtype=np.float32)
    for fold, answers in found:
        logits[:, fold.tested], scores[fold.tested] = answers.logits, answers.scores
    return Answers(logits, scores)
