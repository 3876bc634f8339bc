"""Interpret: turn probabilities into a class, or say that the cell stays unclassified and why."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from bloodcell_batch.cell_classes import ClassList
from bloodcell_batch.differential.slide import reasons_for_review
from bloodcell_batch.records import Outcome, Prediction, RawPrediction, Reason, Status


@dataclass(frozen=True, slots=True)
class Thresholds:
    """A cell is classified when its top probability is at least `confidence` and its outlier score at most
    `outlier`."""

    confidence: float
    outlier: float

    def by_name(self) -> dict[str, float]:
        """As in the run record."""
        return {"confidence": self.confidence, "outlier": self.outlier}


def interpret(
    outcomes: Iterable[RawPrediction | Outcome], thresholds: Thresholds, classes: ClassList
) -> Iterator[Outcome]:
    """Decide each prediction; what is decided already passes unchanged."""
    for outcome in outcomes:
        yield decide(outcome, thresholds, classes) if isinstance(outcome, RawPrediction) else outcome


def decide(raw: RawPrediction, thresholds: Thresholds, classes: ClassList) -> Prediction:
    """The decision for one cell, as one of `classes`. What stays unclassified has no label and asks for review; where
    only the class is unsure, the smallest group that is sure enough is said."""
    confidence = max(raw.probabilities)
    reason = _why_unclassified(raw, confidence, thresholds)
    group = sure_group(raw.probabilities, thresholds.confidence, classes) if reason is Reason.LOW_CONFIDENCE else None
    return Prediction(
        file=raw.file,
        facts=raw.facts,
        status=Status.UNCLASSIFIED if reason else Status.CLASSIFIED,
        reason=reason,
        label="" if reason else classes.names[raw.probabilities.index(confidence)],
        confidence=confidence,
        probabilities=raw.probabilities,
        outlier_score=raw.outlier_score,
        review_reasons=reasons_for_review(raw.facts, reason),
        group=group[0] if group else "",
        group_confidence=group[1] if group else None,
        cell=raw.cell,
        embedding=raw.embedding,
    )


def sure_group(probabilities: Sequence[float], least: float, classes: ClassList) -> tuple[str, float] | None:
    """The smallest group of `classes` whose probability is at least `least`, the more probable of two, and that
    probability; None where none is."""
    found = ((group, math.fsum(probabilities[place] for place in group.members)) for group in classes.groups)
    sure = [(len(group.members), -share, group.name) for group, share in found if share >= least]
    if not sure:
        return None
    _, share, name = min(sure)
    return name, min(-share, 1.0)


def _why_unclassified(raw: RawPrediction, confidence: float, thresholds: Thresholds) -> Reason | None:
    # Written so that a NaN score or probability fails the test instead of passing it.
    if raw.facts.quality.is_blank:
        return Reason.NO_CONTRAST
    if raw.doubt is not None:
        return raw.doubt
    if not raw.outlier_score <= thresholds.outlier:
        return Reason.OUTLIER
    if not confidence >= thresholds.confidence or any(map(math.isnan, raw.probabilities)):
        return Reason.LOW_CONFIDENCE
    return None
