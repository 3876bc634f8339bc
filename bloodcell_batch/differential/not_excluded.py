"""What a differential does not exclude, in words: classes of which no cell was seen, and blasts without a class."""

from collections.abc import Iterable

from bloodcell_batch.labels.synonyms import known_cell
from bloodcell_batch.progress import SlideDifferential

BLASTS_NOT_EXCLUDED = (
    "Blasts can't be excluded: no class stands for them, so that a blast is unclassified or counted as another cell."
)
_BLAST = "blast"


def blasts_note(classes: Iterable[str]) -> str:
    """The sentence for reports of a run that reports `classes`; empty where one of them is blasts."""
    cells = (known_cell(name) for name in classes)
    return "" if any(cell is not None and cell.name == _BLAST for cell in cells) else BLASTS_NOT_EXCLUDED


def at_most(high: float, unit: str = " %") -> str:
    """`at most 1.8 %`: an upper limit, in percent unless `unit` says otherwise, with as many digits as it needs."""
    return f"at most {high:.{1 if high >= 0.1 else 2}f}{unit}"


def none_seen(slide: SlideDifferential, name: str) -> str:
    """`0 of 200: at most 1.8 %` for a leukocyte class of which the slide has no cell; empty for the others, and where
    nothing was counted."""
    share = slide.shares[name]
    if share.count or share.percent_high is None or not slide.wbc_counted:
        return ""
    return f"0 of {slide.wbc_counted:,}: {at_most(share.percent_high)}"


def not_excluded(slide: SlideDifferential) -> tuple[str, ...]:
    """All of it for a slide, class by class in reading order, blasts last: `basophil 0 of 200: at most 1.8 %`."""
    none = tuple(f"{name} {told}" for name in slide.shares if (told := none_seen(slide, name)))
    has_no_class = blasts_note((*slide.shares, *slide.outside_counts))
    return (*none, *(["blasts: no class stands for them"] if has_no_class else []))
