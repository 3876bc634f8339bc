"""Which cells of a run a review shows: by what the program said of them, or at random."""

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import get_args

from bloodcell_batch.config.results import ReviewExportConfig, ReviewScope
from bloodcell_batch.errors import InputError
from bloodcell_batch.records import Status
from bloodcell_batch.results.finished import ResultRow, Results

_SAMPLE = re.compile(r"sample (\d+) seed (\d+)")
_ADAPTATION = re.compile(r"adaptation (\d+)")


@dataclass(frozen=True, slots=True)
class Selection:
    """A choice of cells, which its text in the column `cells` of a review file gives back.

    `scope` says which cells there are to choose from; of these, `sample` are drawn at random (0 takes all), starting
    from `seed`, or `adaptation` are chosen by what they show, which only the file knows.
    """

    scope: ReviewScope
    sample: int = 0
    seed: int = 0
    adaptation: int = 0

    def __str__(self) -> str:
        if self.adaptation:
            return f"adaptation {self.adaptation}"
        return f"sample {self.sample} seed {self.seed}" if self.sample else self.scope

    @classmethod
    def of(cls, config: ReviewExportConfig) -> "Selection":
        """What the options ask for."""
        if config.for_adaptation:
            return cls("all", adaptation=config.for_adaptation)
        return cls("all", config.sample, config.seed) if config.sample else cls(config.cells)

    @classmethod
    def parsed(cls, text: str) -> "Selection":
        """The selection with this text.

        Raises:
            ValueError: there is none.
        """
        sample = _SAMPLE.fullmatch(text)
        if sample:
            return cls("all", int(sample[1]), int(sample[2]))
        adaptation = _ADAPTATION.fullmatch(text)
        if adaptation:
            return cls("all", adaptation=int(adaptation[1]))
        for scope in get_args(ReviewScope):
            if text == scope:
                return cls(scope)
        raise ValueError(text)

    def cells(self, results: Results) -> list[ResultRow]:
        """The cells, by what the program said, whatever was verified since; at random or in the order of the table.
        Where `adaptation` are chosen of them, all that there are to choose from. What counts nowhere is not shown.

        Raises:
            InputError: there are fewer than were to be drawn.
        """
        chosen: dict[ReviewScope, Callable[[ResultRow], bool]] = {
            "flagged": lambda row: row.review,
            "unclassified": lambda row: row.status is Status.UNCLASSIFIED,
            "all": lambda row: row.is_cell,
        }
        rows = [row for row in results.rows if row.is_counted and chosen[self.scope](row)]
        if len(rows) < self.sample:
            hint = "Draw fewer, or take them all with --cells all."
            raise InputError(f"{results.path} has {len(rows)} cells: {self.sample} can't be drawn.", hint=hint)
        return shuffled(rows, self.seed)[: self.sample] if self.sample else rows


def shuffled(rows: Iterable[ResultRow], seed: int) -> list[ResultRow]:
    """The rows in an order that follows from the seed and their paths alone, not from what was said of them."""

    def place(row: ResultRow) -> bytes:
        return hashlib.sha256(f"{seed} {row.picture}".encode("utf-8", "surrogateescape")).digest()

    return sorted(rows, key=place)
