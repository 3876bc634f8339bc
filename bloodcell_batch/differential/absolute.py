"""Absolute counts: the analyser's leukocytes per volume times what the differential says of them.

An analyser that does not tell nucleated red cells from leukocytes counts both, so that its number times 100 / (100 +
nRBC per 100 leukocytes) is that of the leukocytes. With `n` leukocytes and `r` nucleated red cells on the slide this
factor is n / (n + r), and `k` of the leukocytes are k / (n + r) of all that the analyser counted: one share, with exact
limits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from bloodcell_batch.cell_classes import ClassList
from bloodcell_batch.progress import SlideDifferential
from bloodcell_batch.statistics.binomial import clopper_pearson


class Corrected(StrEnum):
    """Who took nucleated red cells out of the leukocyte count."""

    ANALYSER = "analyser"
    HERE = "here"
    NOBODY = "nobody"
    """Nobody can, because no class of the model stands for them."""


@dataclass(frozen=True, slots=True)
class WhiteCount:
    """An analyser's leukocytes in 10⁹/l, and whether it had corrected them for nucleated red cells already."""

    wbc: float
    corrected: bool


@dataclass(frozen=True, slots=True)
class Concentration:
    """10⁹/l with 95 % limits. The value is None where percentages are withheld, the limits where there are none."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class AbsoluteCounts:
    """Of one slide: what the analyser said, who corrected it, the leukocytes after that, and every leukocyte class.

    The limits cover the sampling of cells and every class that the unclassified ones could be, not the analyser's own
    error; a leukocyte count that the analyser corrected has none.
    """

    given: WhiteCount
    corrected: Corrected
    leukocytes: Concentration
    classes: dict[str, Concentration]


def absolute_counts(slide: SlideDifferential, classes: ClassList, given: WhiteCount) -> AbsoluteCounts:
    """The absolute counts of a slide of a run that reports `classes`."""
    corrected = Corrected.ANALYSER if given.corrected else Corrected.HERE if classes.nrbc else Corrected.NOBODY
    others = slide.nrbc_count if corrected is Corrected.HERE else 0
    counts = {name: share.count for name, share in slide.shares.items()}

    def concentration(count: int) -> Concentration:
        return _concentration(slide, count, slide.wbc_counted + others, given.wbc)

    leukocytes = Concentration(given.wbc, None, None)
    return AbsoluteCounts(
        given=given,
        corrected=corrected,
        leukocytes=concentration(slide.wbc_counted) if corrected is Corrected.HERE else leukocytes,
        classes={name: concentration(count) for name, count in counts.items()},
    )


def _concentration(slide: SlideDifferential, count: int, counted: int, wbc: float) -> Concentration:
    """`count` of the `counted` cells of which there are `wbc`; the limits allow for all that unclassified cells are."""
    most = counted + slide.unclassified
    if most == 0:
        return Concentration(None, None, None)
    low, high = clopper_pearson(count, most)[0], clopper_pearson(count + slide.unclassified, most)[1]
    value = None if slide.withheld or not counted else wbc * count / counted
    return Concentration(value, wbc * low, wbc * high)


def of_slides(
    slides: Sequence[SlideDifferential], classes: ClassList, given: Mapping[str, WhiteCount]
) -> dict[str, AbsoluteCounts]:
    """By slide, as far as the analyser's counts are known."""
    return {
        slide.slide_id: absolute_counts(slide, classes, given[slide.slide_id])
        for slide in slides
        if slide.slide_id in given
    }
