from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from default_tables import IMAGE_COLUMNS, IMAGE_SCHEMA

from bloodcell_batch.cell_classes import DEFAULT_CLASSES
from bloodcell_batch.records import (
    CellBox,
    Crop,
    DecodedImage,
    ImageFacts,
    ImageFile,
    KnownImage,
    Outcome,
    Prediction,
    Quality,
    RawPrediction,
    Reason,
    Rejection,
    Status,
)
from bloodcell_batch.results.journal import Journal, whole_files
from bloodcell_batch.results.stored_rows import as_known, outcomes_of
from bloodcell_batch.results.tables import to_batch
from bloodcell_batch.stages.find import cells_of
from bloodcell_batch.stages.interpret import Thresholds, decide
from bloodcell_batch.stages.tally import SlideTally

FACTS = ImageFacts("0" * 64, bytes(32), 640, 480, Quality(100.0, 20.0, 30.0), bytes(16))
SHARES = (0.93, *[0.01] * 7)
PIXELS = np.zeros((4, 4, 3), dtype=np.uint8)


def file_named(name: str) -> ImageFile:
    return ImageFile(f"s/{name}", "s", 10, 0)


def box(number: int, doubt: Reason | None = None) -> CellBox:
    return CellBox(number, 10 * number, 20, 60, 50, 0.75, doubt)


def field(name: str, *doubts: Reason | None) -> DecodedImage:
    crops = tuple(Crop(box(number, doubt), PIXELS + number) for number, doubt in enumerate(doubts, start=1))
    return DecodedImage(file_named(name), FACTS, np.empty((0, 0, 3), dtype=np.uint8), crops)


def rows_of(*images: DecodedImage) -> list[Outcome]:
    """What a run makes of them when the network takes every cell for a basophil."""
    rows: list[Outcome] = []
    for image in cells_of(images):
        if isinstance(image, DecodedImage):
            raw = RawPrediction(image.file, image.facts, SHARES, 1.0, image.cell, image.doubt)
            rows.append(decide(raw, Thresholds(0.5, 5.0), DEFAULT_CLASSES))
        else:
            rows.append(image)
    return rows


FIELDS = (
    field("0.jpg", None, Reason.CUT_OFF, None),
    DecodedImage(file_named("1.jpg"), FACTS, PIXELS),
    field("2.jpg"),
    field("3.jpg", Reason.UNKNOWN_SCALE),
    DecodedImage(file_named("4.jpg"), FACTS, PIXELS, doubt=Reason.SEVERAL_CELLS),
)


def test_a_field_becomes_its_cells_in_its_place() -> None:
    failed = Rejection(file_named("x.jpg"), Status.FAILED, Reason.EMPTY)
    found = list(cells_of([FIELDS[1], FIELDS[0], failed]))
    assert found[0] is FIELDS[1]
    assert found[-1] is failed
    cells = [cell for cell in found[1:-1] if isinstance(cell, DecodedImage)]
    assert [cell.cell for cell in cells] == [box(1), box(2, Reason.CUT_OFF), box(3)]
    assert [int(cell.pixels[0, 0, 0]) for cell in cells] == [1, 2, 3]
    assert {cell.file for cell in cells} == {FIELDS[0].file}


def test_decisions_follow_the_finder() -> None:
    said = [(row.status, row.reason) for row in rows_of(*FIELDS)]
    assert said == [
        (Status.CLASSIFIED, None),
        (Status.UNCLASSIFIED, Reason.CUT_OFF),
        (Status.CLASSIFIED, None),
        (Status.CLASSIFIED, None),
        (Status.UNCLASSIFIED, Reason.NO_CELL),
        (Status.UNCLASSIFIED, Reason.UNKNOWN_SCALE),
        (Status.UNCLASSIFIED, Reason.SEVERAL_CELLS),
    ]
    asked = [row.review_reasons for row in rows_of(*FIELDS) if isinstance(row, Prediction)]
    assert asked == [(), (), (), (), ("unknown_scale",), ("several_cells",)]


def test_what_is_cut_off_or_empty_is_in_no_count_of_cells() -> None:
    tally = SlideTally(5, 0, DEFAULT_CLASSES, 0.9)
    assert list(tally(rows_of(*FIELDS))) == rows_of(*FIELDS)
    (slide,) = tally.differentials()
    assert (slide.found, slide.fields, slide.cut_off) == (5, 3, 1)
    assert (slide.classified, slide.unclassified, slide.wbc_counted) == (3, 2, 3)
    assert tally.counts.done == 5
    assert tally.counts.balanced()


def test_rows_of_cells_come_back_from_a_table() -> None:
    rows = rows_of(*FIELDS)
    again = list(outcomes_of(to_batch(rows, IMAGE_COLUMNS, IMAGE_SCHEMA), DEFAULT_CLASSES))
    assert [row.cell for row in again] == [row.cell for row in rows]
    assert [row.facts for row in again] == [FACTS] * len(rows)
    assert to_batch(again, IMAGE_COLUMNS, IMAGE_SCHEMA) == to_batch(rows, IMAGE_COLUMNS, IMAGE_SCHEMA)


@pytest.mark.parametrize("number", range(len(FIELDS)))
def test_a_known_file_has_all_its_rows(number: int) -> None:
    rows = rows_of(FIELDS[number])
    known = as_known(rows, FIELDS[number].file)
    assert isinstance(known, KnownImage)
    assert list(known.rows) == rows


def test_a_journal_keeps_whole_fields(tmp_path: Path) -> None:
    rows = rows_of(*FIELDS)
    files = [image.file for image in FIELDS]
    assert [len(group) for group in whole_files(rows)] == [3, 1, 1, 1, 1]

    def broken() -> Iterator[Outcome]:
        yield from rows[:2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        next(whole_files(broken()))
    journal = Journal(tmp_path, DEFAULT_CLASSES)
    journal.resume({}, files)
    for group in whole_files(rows[:5]):
        journal.append(group)
    journal.flush()
    again = Journal(tmp_path, DEFAULT_CLASSES)
    assert again.resume({}, files) == ""
    assert again.resumed == 3
    restored = [row for group in again.outcomes(files) for row in group]
    assert [(row.file, row.cell, row.status) for row in restored] == [
        (row.file, row.cell, row.status) for row in rows[:5]
    ]
