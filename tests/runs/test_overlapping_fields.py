"""`classify` with fields that overlap: a cell that two of them show counts once, however the run goes."""

import csv
import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import draw_picture
from drawn_fields import Disc, dappled, grid_of_red_cells, smear
from messy_slides import QUICK, quick_finder
from PIL import Image
from program_commands import app
from review_files import call
from stopping import Killed, Stopping
from typer.testing import CliRunner

from bloodcell_batch.cell_classes import DEFAULT_CLASSES
from bloodcell_batch.config.results import VerifyConfig
from bloodcell_batch.fields.cells import Cell
from bloodcell_batch.fields.crops import crop
from bloodcell_batch.fields.same_cell import POSSIBLY_SAME_CELL, SAME_CELL
from bloodcell_batch.images.perceptual_hash import HASH_BYTES
from bloodcell_batch.images.preprocessing import Preprocessing, resize_to_input
from bloodcell_batch.progress import NullObserver, SlideDifferential
from bloodcell_batch.records import (
    CellBox,
    ImageFacts,
    ImageFile,
    Outcome,
    Prediction,
    Quality,
    Reason,
    Rejection,
    Status,
)
from bloodcell_batch.results.finished import in_words, load_results
from bloodcell_batch.results.pseudonyms import Pseudonyms
from bloodcell_batch.runs.pipeline import classify_slides
from bloodcell_batch.stages import overlap
from bloodcell_batch.stages.overlap import once_each
from bloodcell_batch.training.data.class_names import ClassNames
from bloodcell_batch.training.data.labelled import load_labelled
from bloodcell_batch.verification.verify import verify

RED = 30.0
CELLS: list[Disc] = [(80, 100, 54), (250, 140, 54), (330, 230, 54), (500, 90, 54), (560, 220, 54)]
Rows = list[dict[str, str]]


@pytest.fixture(scope="module", autouse=True)
def shared_backend() -> Iterator[None]:
    with quick_finder():
        yield


@pytest.fixture
def slides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A slide of two fields, whose middle cells are the same, and of a third that is far away; another slide is like
    the first upside down."""
    monkeypatch.setattr(overlap, "SAME_CELL", 40)  # drawn cells look more alike than real ones
    monkeypatch.setattr(overlap, "POSSIBLY_SAME_CELL", 40)
    root = tmp_path / "slides"
    red = grid_of_red_cells(640, 320, RED, but_not_at=CELLS)
    for slide, seed in (("s", 43), ("t", 52)):  # that make all cells of a slide others
        scan = dappled(smear(640, 320, red, CELLS), CELLS, seed)
        near = [disc for disc in red if disc[0] < 400]
        far = dappled(smear(400, 320, near, CELLS[:2]), CELLS[:2], seed + 1000)
        (root / slide).mkdir(parents=True)
        for name, part in (("a", scan[:, :420]), ("b", scan[:, 180:]), ("c", far)):
            upright = part if slide == "s" else part[::-1]
            Image.fromarray(np.ascontiguousarray(upright)).save(root / slide / f"{name}.png")
    return root


def read(table: Path) -> Rows:
    with table.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def slide_of(table: Path, name: str = "s") -> SlideDifferential:
    return next(slide for slide in load_results(table).slides if slide.slide_id == name)


def test_a_cell_in_two_fields_counts_once(slides: Path, tmp_path: Path) -> None:
    classify_slides(slides, str(tmp_path / "r.csv"), QUICK)
    rows = read(tmp_path / "r.csv")
    again = [row for row in rows if row["reason"] == "seen_before"]
    assert [(row["path"], row["status"], row["label"], row["review"]) for row in again] == [
        (f"{slide}/b.png", "unclassified", "", "false") for slide in ("s", "s", "t", "t")
    ]
    assert [row["duplicate_of"] for row in again] == ["s/a.png", "s/a.png", "t/a.png", "t/a.png"]
    places = {(row["path"], row["cell"]): row for row in rows}
    for row in again:
        earlier = places[row["duplicate_of"], row["duplicate_of_cell"]]
        assert int(row["x"]) + 180 == pytest.approx(int(earlier["x"]), abs=10)
        gap = (int(row["cell_phash"], 16) ^ int(earlier["cell_phash"], 16)).bit_count()
        assert int(row["duplicate_distance"]) == gap
    assert not any(row["duplicate_of"] or row["duplicate_of_cell"] for row in rows if row not in again)
    # The drawn finder is right to within a step of its map.
    assert {int(row["x"]) + 180 + int(row["width"]) // 2 for row in again} == {252, 332}
    slide = slide_of(tmp_path / "r.csv")
    assert (slide.fields, slide.classified + slide.unclassified, slide.seen_before) == (3, 7, 2)
    assert slide.cut_off == 0
    assert any(alert.startswith("overlapping_fields: 2 cells are in an earlier field") for alert in slide.alerts)
    assert list(verify(tmp_path / "r.csv", VerifyConfig(images=slides), NullObserver()).findings) == []


def test_it_is_the_same_for_workers_and_batches_and_after_an_update(slides: Path, tmp_path: Path) -> None:
    classify_slides(slides, str(tmp_path / "r.csv"), QUICK)
    first = (tmp_path / "r.csv").read_bytes()
    classify_slides(slides, str(tmp_path / "q.csv"), QUICK.model_copy(update={"workers": 3, "batch_size": 2}))
    assert (tmp_path / "q.csv").read_bytes() == first
    classify_slides(slides, str(tmp_path / "r.csv"), QUICK.model_copy(update={"update": True}))
    assert (tmp_path / "r.csv").read_bytes() == first


@pytest.mark.parametrize("after", [1, 2, 4])
def test_it_is_the_same_after_an_interruption(slides: Path, tmp_path: Path, after: int) -> None:
    classify_slides(slides, str(tmp_path / "r.csv"), QUICK)
    with pytest.raises(Killed):
        classify_slides(slides, str(tmp_path / "q.csv"), QUICK, Stopping(after))
    classify_slides(slides, str(tmp_path / "q.csv"), QUICK)
    assert (tmp_path / "q.csv").read_bytes() == (tmp_path / "r.csv").read_bytes()


def test_an_update_counts_a_cell_whose_other_field_is_gone(slides: Path, tmp_path: Path) -> None:
    classify_slides(slides, str(tmp_path / "r.csv"), QUICK)
    (slides / "s" / "a.png").unlink()
    classify_slides(slides, str(tmp_path / "r.csv"), QUICK.model_copy(update={"update": True}))
    classify_slides(slides, str(tmp_path / "fresh.csv"), QUICK)
    assert (tmp_path / "r.csv").read_bytes() == (tmp_path / "fresh.csv").read_bytes()
    assert slide_of(tmp_path / "r.csv").seen_before == 0
    assert slide_of(tmp_path / "r.csv", "t").seen_before == 2


def test_an_update_leaves_out_what_a_new_field_shows_first(slides: Path, tmp_path: Path) -> None:
    (slides / "s" / "a.png").rename(tmp_path / "a.png")
    classify_slides(slides, str(tmp_path / "r.csv"), QUICK)
    shutil.copy(tmp_path / "a.png", slides / "s" / "a.png")
    classify_slides(slides, str(tmp_path / "r.csv"), QUICK.model_copy(update={"update": True}))
    classify_slides(slides, str(tmp_path / "fresh.csv"), QUICK)
    assert (tmp_path / "r.csv").read_bytes() == (tmp_path / "fresh.csv").read_bytes()
    assert slide_of(tmp_path / "r.csv").seen_before == 2


@pytest.mark.parametrize("dedup", ["off", "exact"])
def test_it_is_part_of_the_search_for_near_duplicates(slides: Path, tmp_path: Path, dedup: str) -> None:
    classify_slides(slides, str(tmp_path / "r.csv"), QUICK.model_copy(update={"dedup": dedup}))
    assert not [row for row in read(tmp_path / "r.csv") if row["reason"] == "seen_before"]


def reviewed(slides: Path, folder: Path, cells: str = "all") -> tuple[Rows, Path]:
    """What a review of a run over the slides shows, and the results after all of it was called a lymphocyte."""
    classify_slides(slides, str(folder / "r.csv"), QUICK)
    call("export", folder / "r.csv", "--cells", cells, "--out", folder / "review.csv")
    rows = read(folder / "review.csv")
    for row in rows:
        row["verified_label"], row["verified_by"] = "lymphocyte", "A. Reviewer"
    with (folder / "review.csv").open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    call("import", folder / "r.csv", folder / "review.csv", "--out", folder / "v.csv")
    return rows, folder / "v.csv"


def test_a_review_shows_each_cell_once_and_counts_it_once(slides: Path, tmp_path: Path) -> None:
    rows, verified = reviewed(slides, tmp_path)
    assert len(rows) == 14
    slide = slide_of(verified)
    assert (slide.shares["lymphocyte"].count, slide.seen_before, slide.unclassified) == (7, 2, 0)


def test_a_name_for_what_counts_nowhere_changes_no_count(slides: Path, tmp_path: Path) -> None:
    _, verified = reviewed(slides, tmp_path)
    results = load_results(verified)
    again = next(row for row in results.rows if row.reason == "seen_before")
    named = dataclasses.replace(again, verified_label="lymphocyte")
    others = tuple(row for row in results.rows if row is not again)
    after = dataclasses.replace(results, rows=(*others, named)).slides
    assert {slide.slide_id: (slide.wbc_counted, slide.seen_before) for slide in after} == {"s": (7, 2), "t": (7, 2)}


@pytest.mark.parametrize("alone", [False, True])
def test_reviewed_cells_of_fields_are_labels_as_they_were_cut_out(slides: Path, tmp_path: Path, *, alone: bool) -> None:
    _, verified = reviewed(slides, tmp_path)
    size = Preprocessing(input_size=32)
    if alone:  # a table without its run record
        (tmp_path / "w").mkdir()
        verified = Path(shutil.copy(verified, tmp_path / "w" / "v.csv"))
    rows = {f"{row['path']}#{row['cell']}": row for row in read(verified) if row["reason"] != "seen_before"}
    names = ClassNames(DEFAULT_CLASSES, {})
    images, rejected = load_labelled(verified, size, 0, NullObserver(), names=names, images=slides)
    assert not rejected
    assert sorted(images.paths) == sorted(rows)
    place = images.paths.index("s/b.png#3")
    row = rows["s/b.png#3"]
    field = np.asarray(Image.open(slides / "s" / "b.png"))
    x, y, width, height = (int(row[name]) for name in ("x", "y", "width", "height"))
    cell = crop(field, Cell(x + width / 2, y + height / 2, width, height, 1.0), float(row["red_cell_pixels"]))
    assert np.array_equal(images.pixels[place], resize_to_input(cell, size))
    assert images.slides[place] == "s"


def test_single_cells_have_no_such_hash(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    Image.fromarray(draw_picture(1)).save(tmp_path / "s" / "1.png")
    classify_slides(tmp_path, str(tmp_path / "r.csv"), QUICK)
    assert [row["cell_phash"] for row in read(tmp_path / "r.csv")] == [""]


def cell(path: str, number: int, bits: int, reason: Reason | None = None, slide: str = "s") -> Prediction:
    """A cell whose hash has so many bits set."""
    phash = np.packbits(np.arange(HASH_BYTES * 8) < bits).tobytes()
    return Prediction(
        file=ImageFile(path, slide, 1, 1),
        facts=ImageFacts("", bytes(32), 400, 300, Quality(100.0, 30.0, 50.0), bytes(16)),
        status=Status.UNCLASSIFIED if reason else Status.CLASSIFIED,
        reason=reason,
        label="" if reason else "ig",
        confidence=0.9,
        probabilities=(0.9,),
        outlier_score=1.0,
        review_reasons=(),
        cell=CellBox(number, 0, 0, 9, 9, 0.9, reason, phash),
    )


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([cell("a", 1, 0), cell("b", 1, SAME_CELL)], [None, Reason.SEEN_BEFORE]),
        ([cell("a", 1, 0), cell("b", 1, SAME_CELL + 1)], [None, Reason.POSSIBLY_SEEN_BEFORE]),
        ([cell("a", 1, 0), cell("b", 1, POSSIBLY_SAME_CELL)], [None, Reason.POSSIBLY_SEEN_BEFORE]),
        ([cell("a", 1, 0), cell("b", 1, POSSIBLY_SAME_CELL + 1)], [None, None]),
        ([cell("a", 1, 0), cell("a", 2, 0)], [None, None]),  # two cells of one field
        ([cell("a", 1, 0), cell("b", 1, 0, slide="t")], [None, None]),
        ([cell("a", 1, 0, Reason.CUT_OFF), cell("b", 1, 0)], [Reason.CUT_OFF, None]),  # the whole one counts
        ([cell("a", 1, 0), cell("b", 1, 0, Reason.CUT_OFF)], [None, Reason.CUT_OFF]),
        ([cell("a", 1, 0, Reason.OUTLIER), cell("b", 1, 0)], [Reason.OUTLIER, Reason.SEEN_BEFORE]),
        (  # what was left out is no cell that another could be compared with
            [cell("a", 1, 0), cell("b", 1, SAME_CELL), cell("c", 1, 2 * SAME_CELL)],
            [None, Reason.SEEN_BEFORE, None],
        ),
    ],
)
def test_which_cells_were_seen_before(rows: list[Prediction], expected: list[Reason | None]) -> None:
    decided = list(once_each(rows))
    assert [row.reason for row in decided] == expected
    for before, after in zip(rows, decided, strict=True):
        if after.reason in {Reason.SEEN_BEFORE, Reason.POSSIBLY_SEEN_BEFORE}:
            assert isinstance(after, Prediction)
            assert (after.status, after.label, after.probabilities) == (Status.UNCLASSIFIED, "", before.probabilities)
            assert bool(after.review_reasons) == (after.reason is Reason.POSSIBLY_SEEN_BEFORE)
            assert (after.duplicate_of, after.duplicate_of_cell) == ("a", 1)
        elif isinstance(after, Prediction):
            assert (after.duplicate_of, after.duplicate_of_cell, after.duplicate_distance) == ("", None, None)


@pytest.mark.parametrize(("bits", "same"), [(0, ("a", 1, 0)), (90, ("a", 2, 10)), (190, ("b", 1, 10))])
def test_the_nearest_cell_is_named(bits: int, same: tuple[str, int, int]) -> None:
    *_, last = once_each([cell("a", 1, 0), cell("a", 2, 100), cell("b", 1, 200), cell("c", 1, bits)])
    assert isinstance(last, Prediction)
    assert (last.duplicate_of, last.duplicate_of_cell, last.duplicate_distance) == same


@pytest.mark.parametrize(
    ("reason", "change", "said"),
    [
        ("seen_before", {"duplicate_of": "s/none.png"}, "is no cell of the table"),
        ("seen_before", {"duplicate_of_cell": "9"}, "is no cell of the table"),
        ("seen_before", {"duplicate_of": "s/b.png", "duplicate_of_cell": "1"}, "not in an earlier field of its slide"),
        ("seen_before", {"duplicate_of": "t/a.png"}, "not in an earlier field of its slide"),
        ("seen_before", {"duplicate_of": "s/c.png", "duplicate_of_cell": "1"}, "not in an earlier field of its slide"),
        ("seen_before", {"duplicate_distance": "99"}, "of a cell that is seen_before it should be 0-56"),
        ("seen_before", {"duplicate_distance": "55"}, "the hashes of the two cells are"),
        ("seen_before", {"reason": "possibly_seen_before"}, "of a cell that is possibly_seen_before it should be 57-"),
        ("", {"duplicate_of_cell": "1"}, "of a cell that was not seen before"),
        ("", {"duplicate_of": "s/a.png"}, "of a file that is not a duplicate"),
    ],
)
def test_verify_says_what_is_wrong_with_the_earlier_cell(
    slides: Path, tmp_path: Path, reason: str, change: dict[str, str], said: str
) -> None:
    table = tmp_path / "r.csv"
    classify_slides(slides, str(table), QUICK)
    rows = read(table)
    next(row for row in rows if row["slide_id"] == "s" and row["reason"] == reason).update(change)
    with table.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    findings = verify(table, VerifyConfig(), NullObserver()).findings
    assert any(said in f"{finding}" for finding in findings), list(findings)


def test_a_reviewer_is_told_which_cell_it_may_be(slides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlap, "SAME_CELL", -1)
    monkeypatch.setattr(overlap, "POSSIBLY_SAME_CELL", 40)
    rows, _ = reviewed(slides, tmp_path, "flagged")
    told = {row["path"]: row["review_reason"] for row in rows if row["slide_id"] == "s"}
    assert told["s/b.png#1"] == "possibly_seen_before; as cell 2 of s/a.png"
    assert told["s/b.png#2"] == "possibly_seen_before; as cell 3 of s/a.png"
    call("export", tmp_path / "r.csv", "--out", tmp_path / "review.html", "--images", slides)
    page = (tmp_path / "review.html").read_text(encoding="utf-8")
    assert "possibly seen before; as cell 2 of s/a.png" in page
    findings = verify(tmp_path / "v.csv", VerifyConfig(), NullObserver()).findings
    # Cells so alike are surely seen before by the limits that are in force.
    assert [finding for finding in findings if "it should be 57-72" not in f"{finding}"] == []
    hidden = load_results(tmp_path / "r.csv").pseudonymised(Pseudonyms(bytes(32)))
    named = [row for row in hidden.rows if row.duplicate_of_cell is not None]
    assert len(named) == 4
    assert all("a.png" not in row.why_review and row.duplicate_of in row.why_review for row in named)


def test_a_cell_seen_before_is_no_duplicate_file_of_the_report(slides: Path, tmp_path: Path) -> None:
    classify_slides(slides, str(tmp_path / "r.csv"), QUICK)
    told = CliRunner().invoke(app, ["report", str(tmp_path / "r.csv"), "--out", str(tmp_path / "r.html")])
    assert told.exit_code == 0, told.stderr
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "In an earlier field, too</dt><dd>2</dd>" in page
    assert "unclassified of" not in page


def test_other_rows_pass() -> None:
    rows: list[Outcome] = [
        Rejection(ImageFile("a", "s", 1, 1), Status.FAILED, Reason.CORRUPT),
        Rejection(ImageFile("b", "s", 1, 1), Status.UNCLASSIFIED, Reason.NO_CELL, cell=CellBox(0, 0, 0, 9, 9, 0.0)),
    ]
    assert list(once_each(rows)) == rows


def test_a_path_among_reasons_stays_what_it_is() -> None:
    assert in_words("possibly_seen_before; out_of_focus; as cell 3 of s_1/b_2.png") == (
        "possibly seen before; out of focus; as cell 3 of s_1/b_2.png"
    )
    assert in_words("low_confidence; surely granulocyte (0.987)") == "low confidence; surely granulocyte (0.987)"
