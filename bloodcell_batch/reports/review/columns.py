"""The columns of a review file."""

from collections.abc import Mapping, Sequence

Record = Mapping[str, str]
"""One cell of a review file: a text for each of `COLUMNS`."""

ANSWERS = ("verified_label", "verified_by", "remark")
"""What a person fills in."""

PREDICTED = ("preclassification", "suggestion", "confidence", "review_reason")
"""What the program said; empty where the review is blind."""

COLUMNS = ("results_id", "cells", "path", "slide_id", *PREDICTED, "sha256", *ANSWERS)
UNCLASSIFIED = "unclassified"
SHEET = "Review"


def is_blind(records: Sequence[Record]) -> bool:
    """Whether the reader was not shown what the program said."""
    return not any(record.get(name) for record in records for name in PREDICTED)
