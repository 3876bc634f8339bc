"""Rows of the table to outcomes and back: nothing that the table shows may change on the way."""

import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from finished_run import Run
from hypothesis import given
from hypothesis import strategies as st
from messy_slides import QUICK, draw_messy_slides, quick_backend

from bloodcell_batch.formats import OUTPUT_FORMATS
from bloodcell_batch.labels import CLASS_NAMES
from bloodcell_batch.pipeline import classify_slides
from bloodcell_batch.records import (
    BLANK_CONTRAST,
    ImageFacts,
    ImageFile,
    Outcome,
    Prediction,
    Quality,
    Reason,
    Rejection,
    Status,
)
from bloodcell_batch.stored_rows import EXTRA_FIELDS, outcomes_of
from bloodcell_batch.table_files import read_table
from bloodcell_batch.tables import IMAGE_COLUMNS, IMAGE_SCHEMA, mark_for_review, to_batch

share = st.floats(0, 1)
text = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
files = st.builds(ImageFile, text, text, st.integers(0, 2**40), st.just(0))
facts = st.builds(
    ImageFacts,
    sha256=st.binary(min_size=32, max_size=32).map(bytes.hex),
    phash=st.binary(min_size=32, max_size=32),
    width=st.integers(1, 9999),
    height=st.integers(1, 9999),
    quality=st.builds(Quality, st.floats(0, 255), st.floats(0, 4) | st.floats(0, 128), st.floats(0, 1e6)),
)
CELL_REASONS = {Reason.LOW_CONFIDENCE, Reason.OUTLIER, Reason.NO_CONTRAST}


@st.composite
def predictions(draw: st.DrawFn) -> Prediction:
    known = draw(facts)
    other_reasons = st.sampled_from((None, Reason.LOW_CONFIDENCE, Reason.OUTLIER))
    reason = Reason.NO_CONTRAST if known.quality.is_blank else draw(other_reasons)
    return Prediction(
        file=draw(files),
        facts=known,
        status=Status.UNCLASSIFIED if reason else Status.CLASSIFIED,
        reason=reason,
        label="" if reason else draw(st.sampled_from(CLASS_NAMES)),
        confidence=draw(share),
        probabilities=tuple(draw(st.lists(share, min_size=8, max_size=8))),
        outlier_score=draw(st.floats(0, 1e9) | st.just(math.inf)),
        review_reasons=(reason.value,) if reason else (),
    )


failures = st.builds(
    lambda file, reason: Rejection(file, Status.FAILED, reason, "why"),
    files,
    st.sampled_from([reason for reason in Reason if reason not in CELL_REASONS]),
)
copies = st.builds(
    lambda file, status, known, first, gap: Rejection(
        file, status, facts=known, duplicate_of=first, duplicate_distance=gap
    ),
    files,
    st.sampled_from((Status.EXACT_DUPLICATE, Status.NEAR_DUPLICATE)),
    facts,
    text,
    st.integers(0, 32),
)


def batch_of(outcomes: list[Outcome]) -> pa.RecordBatch:
    return to_batch(outcomes, IMAGE_COLUMNS, IMAGE_SCHEMA)


@given(st.lists(predictions() | failures | copies, max_size=4), st.data())
def test_any_rows_come_back_equal(outcomes: list[Outcome], data: st.DataObject) -> None:
    batch = batch_of(outcomes)
    kept = [outcome.file.path for outcome in outcomes if isinstance(outcome, Prediction)]
    marked = data.draw(st.sets(st.sampled_from(kept))) if len(set(kept)) == len(outcomes) and kept else set()
    batch = mark_for_review(batch, dict.fromkeys(marked, "elsewhere"))
    assert batch_of(list(outcomes_of(batch))).equals(batch)


@pytest.fixture(scope="module")
def messy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_messy_slides(tmp_path_factory.mktemp("messy"))


@pytest.mark.parametrize("suffix", sorted(OUTPUT_FORMATS))
def test_the_table_of_a_run_comes_back_equal_from_every_format(messy: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"r{suffix}"
    with quick_backend():
        classify_slides(messy, str(out), QUICK)
    table = read_table(out, IMAGE_SCHEMA).combine_chunks()
    statuses = set(table.column("status").to_pylist())
    assert {"classified", "unclassified", "exact_duplicate", "failed"} <= statuses
    again = pa.Table.from_batches([batch_of(list(outcomes_of(table)))])
    assert again.equals(table, check_metadata=True)


def test_a_finished_run_comes_back_equal(run: Run) -> None:
    table = pq.read_table(run.table).combine_chunks()
    assert pa.Table.from_batches([batch_of(list(outcomes_of(table)))]).equals(table)


def test_extra_columns_are_taken_where_they_are() -> None:
    cell = Prediction(
        ImageFile("s/a.jpg", "s", 9, 77),
        ImageFacts("ab" * 32, bytes(32), 3, 4, Quality(1.0, 30.0, 2.0), pixel_digest=b"\x00\xff" * 8),
        *(Status.CLASSIFIED, None, "platelet", 0.5, (0.125,) * 8, 1.5, ()),
    )
    failed = Rejection(
        ImageFile("s/b.jpg", "s", 0, 78, is_regular=False), Status.FAILED, Reason.NOT_A_REGULAR_FILE, "no"
    )
    table = pa.Table.from_batches([batch_of([cell, failed])])
    assert [outcome.file.mtime_ns for outcome in outcomes_of(table)] == [0, 0]
    for field, values in zip(EXTRA_FIELDS, ([b"\x00\xff" * 8, None], [77, 78], [None, "no"]), strict=True):
        table = table.append_column(field, pa.array(values, field.type))
    assert list(outcomes_of(table)) == [cell, failed]


def test_a_blank_picture_stays_blank_though_the_table_rounds_its_contrast_up() -> None:
    quality = Quality(100.0, 1.996, 0.0)
    known = ImageFacts("ab" * 32, bytes(32), 3, 4, quality)
    reasons = (Status.UNCLASSIFIED, Reason.NO_CONTRAST, "", 0.5, (0.125,) * 8, 1.5, ("no_contrast",))
    batch = batch_of([Prediction(ImageFile("s/a.jpg", "s", 9, 0), known, *reasons)])
    assert batch.column("contrast").to_pylist() == [BLANK_CONTRAST]
    (outcome,) = outcomes_of(batch)
    assert outcome.facts is not None
    assert outcome.facts.quality.is_blank
    assert batch_of([outcome]).equals(batch)


@pytest.mark.parametrize(
    ("column", "value"), [("status", "odd"), ("reason", "odd"), ("confidence", None), ("phash", "xy"), ("phash", None)]
)
def test_a_broken_row_is_named(run: Run, column: str, value: str | None) -> None:
    row = batch_of([run.outcomes[0]]).to_pylist()[0] | {column: value}
    with pytest.raises(ValueError, match=str(row["path"])[:4]):
        list(outcomes_of(pa.Table.from_pylist([row], IMAGE_SCHEMA)))
