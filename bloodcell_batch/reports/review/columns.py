"""The columns of a review file."""

from collections.abc import Mapping

Record = Mapping[str, str]
"""One cell of a review file: a text for each of `COLUMNS`."""

ANSWERS = ("verified_label", "verified_by", "remark")
"""What a person fills in."""

COLUMNS = (
    *("results_id", "cells", "path", "slide_id", "preclassification", "suggestion", "confidence", "review_reason"),
    *("sha256", *ANSWERS),
)
UNCLASSIFIED = "unclassified"
SHEET = "Review"
