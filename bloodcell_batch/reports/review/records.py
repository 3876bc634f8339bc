"""From a row of results to a row of a review file."""

from bloodcell_batch.reports.review.columns import ANSWERS, PREDICTED, UNCLASSIFIED
from bloodcell_batch.reports.review.selection import Selection
from bloodcell_batch.results.finished import ResultRow, Results


def record_of(row: ResultRow, results: Results, selection: Selection, *, blind: bool) -> dict[str, str]:
    """A text for each of `COLUMNS`; where it is blind, those that tell what was said before are empty."""
    said = dict.fromkeys((*PREDICTED, *ANSWERS), "") if blind else {**_predicted(row), **_answered(row)}
    return {
        "results_id": results.results_id,
        "cells": str(selection),
        "path": row.key,
        "slide_id": row.slide_id,
        "sha256": row.digest,
        **said,
    }


def _predicted(row: ResultRow) -> dict[str, str]:
    return {
        "preclassification": row.label or UNCLASSIFIED,
        "suggestion": row.top_class,
        "confidence": "" if row.confidence is None else f"{row.confidence:.3f}",
        "review_reason": row.why_review,
    }


def _answered(row: ResultRow) -> dict[str, str]:
    return {"verified_label": row.verified_label, "verified_by": row.verified_by, "remark": row.remark}
