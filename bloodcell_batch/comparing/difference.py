"""What differs between two results of the same images, and how to say it in a few sentences."""

from dataclasses import dataclass
from pathlib import Path

from bloodcell_batch.comparing.changes import Change, Changes, changes_of
from bloodcell_batch.comparing.pairs import Pairs, Side, pair, read_side
from bloodcell_batch.comparing.slides import SlideChange, SlideChanges, slide_changes
from bloodcell_batch.files.names import one_line
from bloodcell_batch.progress import counted

_NAMED = 10


@dataclass(frozen=True)
class Difference:
    """Two results side by side; `limit` is the change of confidence (0-1) that is not told."""

    one: Side
    other: Side
    pairs: Pairs
    changes: Changes
    slides: SlideChanges
    limit: float

    @property
    def compared(self) -> int:
        """Cells that are in both."""
        return len(self.pairs.one)

    @property
    def changed(self) -> int:
        """Those that changed in any way."""
        return len(self.changes.table)

    @property
    def beyond(self) -> tuple[SlideChange, ...]:
        """Slides whose differential changed by more than chance."""
        return tuple(slide for slide in self.slides.slides if slide.beyond)

    @property
    def differs(self) -> bool:
        """Whether a cell changed, or is in one of them only."""
        return bool(self.changed or self.pairs.only_one or self.pairs.only_other or self.pairs.other_image)

    def told(self) -> list[str]:
        """All of it in a few sentences."""
        counts = self.changes.counts
        same = self.compared - self.changed
        first = (
            f"{counted(self.compared, 'cell')} compared: {same:,} unchanged, {counts[Change.LABEL]:,} with another "
            f"label, {counts[Change.STATUS]:,} with another status, {counts[Change.CONFIDENCE]:,} with a confidence "
            f"that moved by more than {self.limit:g}"
        )
        lines = [first]
        pairs = self.pairs
        if pairs.only_one or pairs.only_other:
            lines.append(f"not compared: {pairs.only_one:,} rows only in A, {pairs.only_other:,} only in B")
        if pairs.other_image:
            lines.append(f"not compared: {counted(pairs.other_image, 'cell')} of images with other bytes")
        slides = f"{len(self.beyond):,} of {counted(len(self.slides.slides), 'slide')}"
        what = f"(McNemar's exact test, p below 0.05 after Holm's correction for {counted(self.slides.tests, 'test')})"
        lines.append(f"differentials changed beyond counting error: {slides} {what}")
        lines += [one_line(f"slide {slide.slide_id}: {_classes(slide)}") for slide in self.beyond[:_NAMED]]
        if len(self.beyond) > _NAMED:
            lines.append(f"and {counted(len(self.beyond) - _NAMED, 'more slide')}")
        return lines


def _classes(slide: SlideChange) -> str:
    return ", ".join(f"{test.name} -{test.only_one} +{test.only_other} (p {test.p:.2g})" for test in slide.beyond)


def compare(one: Path, other: Path, limit: float) -> Difference:
    """Compare two image tables of the same images.

    Raises:
        InputError: one can't be read, or they have no cell in common.
    """
    left, right = read_side(one), read_side(other)
    pairs = pair(left, right)
    changes = changes_of(pairs, limit)
    return Difference(left, right, pairs, changes, slide_changes(left, right, pairs, changes), limit)
