"""The absolute counts of a run's slides from the file that `--wbc` names."""

from dataclasses import dataclass, field
from pathlib import Path

from bloodcell_batch.differential.absolute import AbsoluteCounts, Corrected, of_slides
from bloodcell_batch.differential.white_counts import load_white_counts
from bloodcell_batch.errors import InputError
from bloodcell_batch.progress import counted
from bloodcell_batch.results.finished import Results
from bloodcell_batch.results.pseudonyms import Pseudonyms

_NAMED = 5
CORRECTION = {
    Corrected.ANALYSER: "the analyser had corrected it for nucleated red cells",
    Corrected.HERE: "corrected here for nucleated red cells: times 100 / (100 + nRBC per 100 leukocytes)",
    Corrected.NOBODY: "not corrected for nucleated red cells: no class stands for them",
}
"""Who corrected a leukocyte count, for people."""


@dataclass(frozen=True, slots=True)
class RunAbsoluteCounts:
    """Absolute counts by slide, and what a person should know about the file."""

    by_slide: dict[str, AbsoluteCounts] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


def load_absolute_counts(path: Path | None, results: Results, names: Pseudonyms | None) -> RunAbsoluteCounts:
    """Absolute counts of the slides of `results`, which has pseudonyms where there are `names`; nothing without a file.

    Raises:
        InputError: the file is not what it should be, or none of its slides is in the results.
    """
    if path is None:
        return RunAbsoluteCounts()
    given = {names.slide(slide) if names else slide: count for slide, count in load_white_counts(path).items()}
    found = of_slides(results.slides, results.classes, given)
    if not found:
        some = ", ".join(repr(slide) for slide in list(given)[:3]) or "none"
        hint = "slide_id must be spelled as in the results; a spreadsheet may have changed it (007 to 7)."
        raise InputError(f"No slide of {path} is in the results; it has {some}.", hint=hint)
    without = [slide.slide_id for slide in results.slides if slide.slide_id not in given]
    unknown = [slide for slide in given if slide not in found]
    remarks = [
        f"{counted(len(slides), 'slide')} {what} {path}: {_named(slides)}"
        for slides, what in ((without, "without a leukocyte count in"), (unknown, "not in the results, but in"))
        if slides
    ]
    return RunAbsoluteCounts(found, remarks)


def _named(slides: list[str]) -> str:
    return ", ".join(slides[:_NAMED]) + (" and others" if len(slides) > _NAMED else "")
