"""Interpret: turn probabilities into a class, or say that the cell stays unclassified and why."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bloodcell_batch.cell_classes import ClassList
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
    """The decision for one cell, as one of `classes`. What stays unclassified has no label and asks for review."""
    confidence = max(raw.probabilities)
    reason = _why_unclassified(raw, confidence, thresholds)
    return Prediction(
        file=raw.file,
        facts=raw.facts,
        status=Status.UNCLASSIFIED if reason else Status.CLASSIFIED,
        reason=reason,
        label="" if reason else classes.names[raw.probabilities.index(confidence)],
        confidence=confidence,
        probabilities=raw.probabilities,
        outlier_score=raw.outlier_score,
        review_reasons=(reason.value,) if reason and reason.asks_for_review else (),
        cell=raw.cell,
    )


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
