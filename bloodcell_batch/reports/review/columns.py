"""The columns of a review file."""

from collections.abc import Mapping, Sequence

Record = Mapping[str, str]
"""One cell of a review file: a text for each of its columns."""

PREDICTED = ("preclassification", "suggestion", "confidence", "review_reason")
"""What the program said; empty where the review is blind."""

READERS = ("reader_1", "label_1", "remark_1", "reader_2", "label_2", "remark_2")
"""What two people said, in a file that settles where they disagree."""

ANSWERS = ("verified_label", "verified_by", "remark")
"""What a person fills in."""

COLUMNS = ("results_id", "cells", "path", "slide_id", *PREDICTED, "sha256", *ANSWERS)
UNCLASSIFIED = "unclassified"
SHEET = "Review"


def columns_of(records: Sequence[Record]) -> tuple[str, ...]:
    """The columns of a file with these cells, at least one; what a person fills in comes last."""
    if not has_readers(records):
        return COLUMNS
    return (*(name for name in COLUMNS if name not in ANSWERS), *READERS, *ANSWERS)


def has_readers(records: Sequence[Record]) -> bool:
    """Whether the file, of at least one cell, settles what two people said."""
    return all(name in records[0] for name in READERS)


def is_blind(records: Sequence[Record]) -> bool:
    """Whether the reader was not shown what the program said."""
    return all(record.get(name) == "" for record in records for name in PREDICTED)
