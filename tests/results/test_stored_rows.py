import dataclasses

import pytest
from default_tables import IMAGE_COLUMNS, IMAGE_SCHEMA
from finished_run import Run

from bloodcell_batch.cell_classes import DEFAULT_CLASSES
from bloodcell_batch.records import ImageFacts, ImageFile, KnownImage, Prediction, Quality, Reason, Rejection, Status
from bloodcell_batch.results.stored_rows import as_known, outcomes_of
from bloodcell_batch.results.tables import mark_for_review, to_batch

FACTS = ImageFacts("ab" * 32, bytes(range(32)), 360, 363, Quality(120.13, 30.25, 99.0), bytes(range(16)))
FILE = ImageFile("s/a.jpg", "s", 1234, 99)


def _cell(**changes: object) -> Prediction:
    shares = tuple(0.93 if name == "ig" else 0.01 for name in DEFAULT_CLASSES.names)
    cell = Prediction(FILE, FACTS, Status.CLASSIFIED, None, "ig", 0.93, shares, 1.1, ())
    return dataclasses.replace(cell, **changes)  # type: ignore[arg-type]


def test_a_table_makes_the_outcomes_that_make_the_table(run: Run) -> None:
    batch = to_batch(run.outcomes, IMAGE_COLUMNS, IMAGE_SCHEMA)
    again = list(outcomes_of(batch, DEFAULT_CLASSES))
    assert to_batch(again, IMAGE_COLUMNS, IMAGE_SCHEMA) == batch
    assert {type(outcome) for outcome in again} == {Prediction, Rejection}


def test_the_mark_of_a_cross_slide_duplicate_is_not_part_of_the_outcome() -> None:
    alone, low = _cell(), _cell(status=Status.UNCLASSIFIED, label="", review_reasons=("outlier",))
    marked = mark_for_review(to_batch([alone, low], IMAGE_COLUMNS, IMAGE_SCHEMA), {"s/a.jpg": "t/b.jpg"})
    assert marked.column("review_reason").to_pylist() == ["cross_slide_duplicate", "outlier; cross_slide_duplicate"]
    assert [
        outcome.review_reasons for outcome in outcomes_of(marked, DEFAULT_CLASSES) if isinstance(outcome, Prediction)
    ] == [
        (),
        ("outlier",),
    ]


def test_a_row_that_no_run_writes_is_refused() -> None:
    batch = to_batch([Rejection(FILE, Status.CLASSIFIED)], IMAGE_COLUMNS, IMAGE_SCHEMA)
    with pytest.raises(ValueError, match="no probabilities"):
        list(outcomes_of(batch, DEFAULT_CLASSES))


@pytest.mark.parametrize("facts", [{"phash": b"short"}, {"pixel_digest": bytes(17)}])
def test_a_hash_of_another_length_is_refused(facts: dict[str, bytes]) -> None:
    cell = _cell(facts=dataclasses.replace(FACTS, **facts))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"'s/a\.jpg' has the (phash|pixel_hash) .* which is not of (32|16) bytes"):
        list(outcomes_of(to_batch([cell], IMAGE_COLUMNS, IMAGE_SCHEMA), DEFAULT_CLASSES))


def test_a_known_image_is_the_file_of_today_with_the_facts_of_then() -> None:
    today = ImageFile("s/a.jpg", "s", 1234, 100)
    known = as_known([_cell()], today)
    assert isinstance(known, KnownImage)
    assert (known.file, [row.file for row in known.rows], known.facts) == (today, [today], FACTS)
    copy = as_known([Rejection(FILE, Status.EXACT_DUPLICATE, facts=FACTS, duplicate_of="s/0.jpg")], today)
    assert copy == KnownImage(today, FACTS, ())
    failed = as_known([Rejection(FILE, Status.FAILED, Reason.EMPTY)], today)
    assert failed == Rejection(today, Status.FAILED, Reason.EMPTY)
