"""`concordance`: our differentials against those of a person or an analyser."""

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bloodcell_batch.cell_classes import RESEARCH_USE_ONLY
from bloodcell_batch.config.results import ConcordanceConfig
from bloodcell_batch.differential.reference_ranges import ReferenceRanges, load_reference_ranges
from bloodcell_batch.errors import InputError, UsageError
from bloodcell_batch.files.publishing import publish_files, text_writer
from bloodcell_batch.progress import Observer, SlideDifferential, Withheld, counted
from bloodcell_batch.reports.concordance.manual_counts import ManualCount
from bloodcell_batch.reports.concordance.pairs import ClassComparison, Pair
from bloodcell_batch.reports.concordance.plots import comparison_plot
from bloodcell_batch.reports.concordance.reviewed_counts import load_counts
from bloodcell_batch.reports.templates import provenance, render
from bloodcell_batch.results.finished import load_results
from bloodcell_batch.results.irreplaceable import check_outputs
from bloodcell_batch.results.pseudonyms import Pseudonyms, load_pseudonyms
from bloodcell_batch.statistics.agreement import cohens_kappa
from bloodcell_batch.statistics.method_comparison import (
    bland_altman,
    passing_bablok,
    pearson,
)


@dataclass(frozen=True, slots=True)
class Concordance:
    """The comparison; `kappa_of_commonest` is the agreement on the commonest class of a slide."""

    classes: dict[str, ClassComparison]
    slides: int
    kappa_of_commonest: float | None
    only_ours: tuple[str, ...]
    only_theirs: tuple[str, ...]
    without_leukocytes: tuple[str, ...]
    withheld: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def compare(
    slides: Sequence[SlideDifferential], manual: Sequence[ManualCount], ranges: ReferenceRanges | None = None
) -> Concordance:
    """Compare the slides that both sides have.

    Raises:
        InputError: there is no such slide with leukocytes.
    """
    ours, theirs = {slide.slide_id: slide for slide in slides}, {count.slide_id: count for count in manual}
    both = [(slide, theirs[name]) for name, slide in ours.items() if name in theirs and not slide.withheld]
    if not both:
        some = ", ".join(repr(name) for name in list(theirs)[:3])
        usable = sum(not slide.withheld for slide in slides)
        hint = (
            "slide_id must be spelled as in the results; a spreadsheet may have changed it (007 to 7). "
            "A slide with too many unclassified cells has no percentages before a review."
        )
        raise InputError(f"None of the slides {some} is among the {usable} slides with percentages.", hint=hint)
    complete = [(slide, count) for slide, count in both if len(count.percent) == len(slide.shares)]
    return Concordance(
        classes={name: found for name in both[0][0].shares if (found := _compare_class(name, both, ranges)).pairs},
        slides=len(both),
        kappa_of_commonest=cohens_kappa(Counter((_commonest(slide), _most(count)) for slide, count in complete)),
        only_ours=tuple(name for name in ours if name not in theirs),
        only_theirs=tuple(name for name in theirs if name not in ours),
        without_leukocytes=_without({Withheld.NO_LEUKOCYTES}, ours, theirs),
        withheld=_without({Withheld.TOO_MANY_UNCLASSIFIED}, ours, theirs),
    )


def write_concordance(table: Path, manual: Path, out: Path, config: ConcordanceConfig, observer: Observer) -> None:
    """Write the comparison to `out`, an HTML page, and beside it as JSON.

    Raises:
        BloodcellBatchError: nothing was written; the text says what to do.
    """
    if out.suffix.lower() != ".html":
        raise UsageError(f"--out {out} is not a page.", hint="Use NAME.html; NAME.json is written beside it.")
    figures = out.with_suffix(".json")
    check_outputs(figures, out, overwrite=config.overwrite, about=table)
    names = load_pseudonyms(config.pseudonymize, out)
    original = load_results(table)
    results = original.pseudonymised(names)
    ranges = load_reference_ranges(config.reference_ranges, results.classes)
    counts = _hidden(load_counts(manual, original, observer), names)
    found = compare(results.slides, counts, ranges)
    partial = [count.slide_id for count in counts if count.is_partial]
    for slides, why in (
        (partial, "with less than 100 % in all (were other leukocytes counted, too, or are these no percentages?)"),
        (found.only_theirs, "not in the results"),
        (found.without_leukocytes, "without leukocytes in the results"),
        (found.withheld, "with withheld percentages, which can't be compared (see their alerts)"),
    ):
        if slides:
            of_file = f"{counted(len(slides), 'slide')} of {manual}"
            observer.warn(f"{of_file} {why}: {', '.join(slides[:5])}", slides=list(slides))
    content = {
        "notice": RESEARCH_USE_ONLY,
        "results_id": results.results_id,
        "model_sha256": results.record.model.sha256,
        "reference_ranges": ranges.name if ranges else None,
        **found.as_dict(),
    }
    plots = {name: comparison_plot(name, row.pairs, row) for name, row in found.classes.items()}
    page = render(
        "concordance.html.j2",
        found=found,
        plots=plots,
        ranges=ranges,
        facts=provenance(results),
        classes=results.classes,
    )
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    publish_files({figures: text_writer(text), out: text_writer(page)})


def _compare_class(
    name: str, both: Sequence[tuple[SlideDifferential, ManualCount]], ranges: ReferenceRanges | None
) -> ClassComparison:
    pairs = tuple(_pair(slide, name, count.percent[name]) for slide, count in both if name in count.percent)
    theirs, ours = np.array([pair.theirs for pair in pairs]), np.array([pair.ours for pair in pairs])
    span = ranges.ranges.get(name) if ranges else None
    kappa = None
    if span:
        kappa = cohens_kappa(Counter((span.position(pair.ours), span.position(pair.theirs)) for pair in pairs))
    return ClassComparison(
        pairs=pairs,
        within_limits=sum(pair.within for pair in pairs),
        difference=bland_altman(theirs, ours),
        pearson_r=pearson(theirs, ours),
        regression=passing_bablok(theirs, ours),
        kappa=kappa,
    )


def _pair(slide: SlideDifferential, name: str, theirs: float) -> Pair:
    share = slide.shares[name]
    ours, low, high = share.percent, share.percent_low, share.percent_high
    if ours is None or low is None or high is None:
        raise ValueError(f"no percentages to compare: {slide.slide_id}")
    return Pair(slide.slide_id, ours, low, high, theirs, low <= theirs <= high)


def _without(
    why: Collection[Withheld], ours: Mapping[str, SlideDifferential], theirs: Collection[str]
) -> tuple[str, ...]:
    return tuple(name for name in theirs if name in ours and ours[name].withheld in why)


def _commonest(slide: SlideDifferential) -> str:
    return max(slide.shares, key=lambda name: slide.shares[name].count)


def _most(count: ManualCount) -> str:
    return max(count.percent, key=lambda name: count.percent[name])


def _hidden(manual: Sequence[ManualCount], names: Pseudonyms | None) -> list[ManualCount]:
    if names is None:
        return list(manual)
    return [ManualCount(names.slide(count.slide_id), count.percent) for count in manual]
