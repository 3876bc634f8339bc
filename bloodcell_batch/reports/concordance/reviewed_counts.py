"""Differentials of people, out of results in which every cell of a slide was verified."""

from collections import Counter
from pathlib import Path

from bloodcell_batch.cell_classes import OTHER_LABELS, ClassList
from bloodcell_batch.errors import InputError
from bloodcell_batch.progress import Observer, counted
from bloodcell_batch.reports.concordance.manual_counts import ManualCount, load_manual_counts
from bloodcell_batch.results.finished import Results, load_results
from bloodcell_batch.training.data.manifest import table_columns
from bloodcell_batch.training.data.reviewed_results import is_results, no_truth

_SLIDE_TABLE = {"wbc_counted", "adequacy"}
_NAMED = 5


def load_counts(path: Path, ours: Results, observer: Observer) -> tuple[ManualCount, ...]:
    """The counts to compare `ours` with: percentages by hand, or reviewed results.

    Raises:
        InputError: unreadable, neither of the two, or a person's labels are on both sides.
    """
    if path.suffix.lower() == ".parquet" or is_results(path):
        return _reviewed(path, ours, observer)
    if set(table_columns(path)) >= _SLIDE_TABLE:
        hint = "Give counts by hand or by an analyser, or the image table of results in which every cell is verified."
        raise InputError(f"{path} is a slide table of this program, not the truth to compare it with.", hint=hint)
    return load_manual_counts(path, ours.classes.leukocytes)


def _reviewed(path: Path, ours: Results, observer: Observer) -> tuple[ManualCount, ...]:
    theirs = load_results(path)
    if not any(row.verified_label for row in theirs.rows):
        raise no_truth(path)
    if any(row.verified_label for row in ours.rows):
        hint = "Compare the results as they were before the review."
        raise InputError(f"{ours.path} has verified labels, too: a person would be compared with a person.", hint=hint)
    counts, partial = [], []
    for slide, rows in theirs.by_slide.items():
        cells = [row.verified_label for row in rows if row.is_counted]
        if not all(cells):
            partial.append(slide)
            continue
        named = Counter(_counted_as(label, theirs.classes, ours.classes, path) for label in cells)
        total = sum(named[name] for name in ours.classes.leukocytes)
        if total:
            percent = {name: 100 * named[name] / total for name in ours.classes.leukocytes}
            counts.append(ManualCount(slide, percent))
    if partial:
        some = ", ".join(partial[:_NAMED])
        observer.warn(f"left out, not all cells verified: {counted(len(partial), 'slide')} of {path}: {some}")
    if not counts:
        hint = "What was verified of a slide in part is no fair sample of it: review it with --cells all."
        raise InputError(f"{path} has no slide with leukocytes of which every cell is verified.", hint=hint)
    return tuple(counts)


def _counted_as(label: str, theirs: ClassList, ours: ClassList, path: Path) -> str:
    """The class of `ours` that a verified label counts as; InputError where there is none."""
    entry = theirs.by_name.get(label)
    for name in (label, entry.parent if entry else ""):
        if name in ours.names or name in OTHER_LABELS:
            return name
    hint = f"The results have: {', '.join(ours.reading_order)}. Compare runs of models with the same classes."
    raise InputError(f"{path} has cells of the class {label}, which the results don't have.", hint=hint)
