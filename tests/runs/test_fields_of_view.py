"""`classify` with whole fields: a row per cell, the same however the run goes, and never a guess about the images."""

import csv
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import draw_picture
from drawn_fields import Disc, grid_of_red_cells, smear
from messy_slides import QUICK, StandIn, quick_finder
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from program_commands import app
from stopping import Killed, Stopping
from typer.testing import CliRunner

from bloodcell_batch.backends.selection import Choice
from bloodcell_batch.config.merge import MergeConfig
from bloodcell_batch.config.results import ReportConfig, VerifyConfig
from bloodcell_batch.errors import ExitCode, UsageError
from bloodcell_batch.fields.cells import FieldCells
from bloodcell_batch.files.storage import Fetch
from bloodcell_batch.images.damage import UndecodableImageError
from bloodcell_batch.images.guards import DecodeLimits
from bloodcell_batch.model.file import open_model
from bloodcell_batch.progress import NullObserver
from bloodcell_batch.records import ImageFile, Reason
from bloodcell_batch.reports.report import write_html_report
from bloodcell_batch.results.finished import load_results
from bloodcell_batch.results.run_record import read_record
from bloodcell_batch.runs import finder as module
from bloodcell_batch.runs.merge import merge_shards
from bloodcell_batch.runs.pipeline import classify_slides
from bloodcell_batch.stages import overlap
from bloodcell_batch.stages.decode import read_file
from bloodcell_batch.verification.verify import verify

RED = 30.0
WHITE: list[list[Disc]] = [
    [(80, 100, 54), (250, 140, 54)],
    [(200, 150, 54), (330, 300, 54)],
    [],
    [(90, 220, 54), (180, 90, 50), (310, 200, 56)],
]
Rows = list[dict[str, str]]


class Told(NullObserver):
    """Keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str, **facts: object) -> None:
        self.warnings.append(text)


def field(white: list[Disc], number: int = 0) -> Image.Image:
    red = grid_of_red_cells(400, 300, RED, but_not_at=white)
    return Image.fromarray(smear(400, 300, red[number:], white, [(20.0, 20.0 + 40 * number, 8.0)]))


@pytest.fixture(scope="module", autouse=True)
def shared_backend() -> Iterator[None]:
    with quick_finder() as patch:
        patch.setattr(overlap, "POSSIBLY_SAME_CELL", -1)  # drawn cells all look alike
        patch.setattr(overlap, "SAME_CELL", -1)
        yield


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("slides")
    for slide in ("f1", "f2"):
        (root / slide).mkdir()
        for number, white in enumerate(WHITE if slide == "f1" else WHITE[::-1]):
            field(white, number).save(root / slide / f"{number}.png")
        shutil.copy(root / slide / "0.png", root / slide / "copy.png")
        (root / slide / "bad.png").write_bytes(b"no image")
    few = smear(400, 300, [(50.0, 250.0, RED)], WHITE[0])
    Image.fromarray(few).save(root / "f1" / "few red cells.png")
    (root / "single").mkdir()
    for number in range(3):
        Image.fromarray(draw_picture(number)).save(root / "single" / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def table(slides: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    table = tmp_path_factory.mktemp("plain") / "r.csv"
    classify_slides(slides, str(table), QUICK)
    return table


@pytest.fixture(scope="module")
def rows(table: Path) -> Rows:
    return read(table)


def read(table: Path) -> Rows:
    with table.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def of(rows: Rows, path: str) -> Rows:
    return [row for row in rows if row["path"] == path]


def tables(table: Path) -> tuple[bytes, bytes]:
    return table.read_bytes(), table.with_name(f"{table.stem}.slides{table.suffix}").read_bytes()


class TestRows:
    def test_every_cell_is_a_row_with_its_place(self, rows: Rows) -> None:
        first, second = sorted(of(rows, "f1/0.png"), key=lambda row: int(row["x"]))
        assert {first["cell"], second["cell"]} == {"1", "2"}
        for row, (x, y, diameter) in zip((first, second), WHITE[0], strict=True):
            centre = int(row["x"]) + int(row["width"]) / 2, int(row["y"]) + int(row["height"]) / 2
            assert centre == pytest.approx((x, y), abs=5)
            assert int(row["width"]) == pytest.approx(diameter, abs=5)
            assert (row["field_width"], row["field_height"]) == ("400", "300")
            assert float(row["red_cell_pixels"]) == pytest.approx(RED, rel=0.1)
            assert int(row["red_cells"]) > 10
            assert row["platelets"] == "1"
            assert row["p_basophil"]

    def test_what_the_border_cuts_and_an_empty_field_are_rows_outside_the_count(self, rows: Rows, table: Path) -> None:
        assert Counter(row["reason"] == "cut_off" for row in of(rows, "f1/1.png")) == {True: 1, False: 1}
        (empty,) = of(rows, "f1/2.png")
        assert (empty["status"], empty["reason"], empty["cell"]) == ("unclassified", "no_cell", "0")
        slide = next(slide for slide in load_results(table).slides if slide.slide_id == "f1")
        assert (slide.found, slide.fields, slide.cut_off) == (7, 5, 1)
        cells = [row for row in rows if row["slide_id"] == "f1" and row["cell"] not in {"", "0"}]
        whole = [row for row in cells if row["reason"] != "cut_off"]
        assert slide.classified + slide.unclassified == len(whole)
        labels = Counter(row["label"] for row in cells if row["label"])
        assert {name: share.count for name, share in slide.shares.items() if share.count} == {
            name: count for name, count in labels.items() if name in slide.shares
        }

    def test_the_same_field_twice_and_a_bad_file_are_one_row_each(self, rows: Rows) -> None:
        assert [row["status"] for row in of(rows, "f1/copy.png")] == ["exact_duplicate"]
        assert [(row["status"], row["reason"]) for row in of(rows, "f1/bad.png")] == [("failed", "not_an_image")]

    def test_a_field_with_few_red_cells_takes_the_scale_of_its_slide(self, rows: Rows) -> None:
        few = of(rows, "f1/few red cells.png")
        assert len(few) == 2
        assert all(float(row["red_cell_pixels"]) == pytest.approx(RED, rel=0.1) for row in few)

    def test_single_cells_are_as_ever(self, rows: Rows) -> None:
        single = [row for row in rows if row["slide_id"] == "single"]
        assert len(single) == 3
        for row in single:
            assert not any(row[name] for name in ("cell", "x", "y", "finder_score", "field_width", "red_cells"))
            assert row["width"] == "96"

    def test_the_record_says_what_the_slides_show(self, table: Path) -> None:
        record = json.loads(table.with_name("r.run.json").read_text(encoding="utf-8"))
        shown = {slide: (view["images"], view["field"]) for slide, view in record["slides_show"].items()}
        assert shown == {"f1": ("fields", 4), "f2": ("fields", 4), "single": ("cells", 0)} or shown["f1"][0] == "fields"
        assert record["finder"]["sha256"] == record["key"]["finder"]
        assert record["counts"]["found"] == 16

    def test_the_results_verify(self, table: Path, slides: Path) -> None:
        assert verify(table, VerifyConfig(images=slides), NullObserver()).verified


def test_the_report_has_a_box_on_every_cell(table: Path, slides: Path, rows: Rows, tmp_path: Path) -> None:
    write_html_report(table, tmp_path / "r.html", ReportConfig(images=slides), NullObserver())
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    cells = [row for row in rows if row["cell"] not in {"", "0"}]
    marks = [text.count(f'<g class="{kind}">') for kind in ("counted", "open", "cut")]
    assert marks == [
        sum(row["status"] == "classified" for row in cells),
        sum(row["status"] == "unclassified" and row["reason"] != "cut_off" for row in cells),
        sum(row["reason"] == "cut_off" for row in cells),
    ]
    assert text.count("<image ") == len({row["path"] for row in cells})


class TestTheSame:
    """Tables are byte-identical, however the run goes."""

    @pytest.mark.parametrize("options", [{"workers": 3}, {"batch_size": 64}, {"batch_size": 1, "workers": 1}])
    def test_workers_and_batches(self, slides: Path, table: Path, tmp_path: Path, options: dict[str, int]) -> None:
        classify_slides(slides, str(tmp_path / "r.csv"), QUICK.model_copy(update=options))
        assert tables(tmp_path / "r.csv") == tables(table)

    def test_shards(self, slides: Path, table: Path, tmp_path: Path) -> None:
        parts = [tmp_path / f"{index}.csv" for index in range(2)]
        for index, part in enumerate(parts):
            classify_slides(slides, str(part), QUICK.model_copy(update={"shard": f"{index}/2"}))
        merge_shards(parts, str(tmp_path / "r.csv"), MergeConfig(), NullObserver())
        assert tables(tmp_path / "r.csv") == tables(table)

    @pytest.mark.parametrize("after", [1, 2, 3, 5, 9])
    def test_an_interrupted_run_goes_on_between_fields(
        self, slides: Path, table: Path, tmp_path: Path, after: int
    ) -> None:
        out = tmp_path / "r.csv"
        with pytest.raises(Killed):
            classify_slides(slides, str(out), QUICK, Stopping(after + 1))
        classify_slides(slides, str(out), QUICK)
        assert json.loads((tmp_path / "r.run.json").read_text(encoding="utf-8"))["resumed"] >= after
        assert tables(out) == tables(table)

    def test_an_update_keeps_the_cells_of_fields_that_are_unchanged(
        self, slides: Path, table: Path, tmp_path: Path
    ) -> None:
        for part in table.parent.iterdir():
            shutil.copy(part, tmp_path)
        classify_slides(slides, str(tmp_path / "r.csv"), QUICK.model_copy(update={"update": True}))
        record = json.loads((tmp_path / "r.run.json").read_text(encoding="utf-8"))
        assert record["kept_from_earlier_result"] == 14  # all but the two that failed
        assert tables(tmp_path / "r.csv") == tables(table)

    def test_an_update_looks_only_at_slides_that_have_changed(
        self, slides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        root, out, update = tmp_path / "in", tmp_path / "r.csv", QUICK.model_copy(update={"update": True})
        shutil.copytree(slides, root, ignore=shutil.ignore_patterns("bad.png"))  # nobody knows whether it has changed
        classify_slides(root, str(out), QUICK)
        shown = read_record(out).slides_show
        looked: list[int] = []
        look = module.RunFinder.look_for_vote

        def counted(self: module.RunFinder, rgb: NDArray[np.uint8], known: float | None) -> FieldCells:
            looked.append(rgb.size)
            return look(self, rgb, known)

        monkeypatch.setattr(module.RunFinder, "look_for_vote", counted)
        classify_slides(root, str(out), update)
        assert not looked
        assert read_record(out).slides_show == shown
        changed = root / "f2" / "0.png"
        data, times = bytearray(changed.read_bytes()), changed.stat()
        data[-1] ^= 1  # of the same size, and no younger
        changed.write_bytes(data)
        os.utime(changed, ns=(times.st_atime_ns, times.st_mtime_ns))
        classify_slides(root, str(out), update)
        of_slide = len(looked)
        assert 0 < of_slide <= len(list((root / "f2").iterdir()))
        shutil.copy(root / "f1" / "0.png", root / "f2" / "more.png")
        classify_slides(root, str(out), update)
        assert len(looked) > of_slide

    @pytest.mark.parametrize("workers", [0, 2])
    def test_an_update_looks_again_where_a_file_can_no_longer_be_read(
        self, slides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
    ) -> None:
        root, out = tmp_path / "in", tmp_path / "r.csv"
        shutil.copytree(slides / "f2", root / "f2", ignore=shutil.ignore_patterns("bad.png"))
        options = QUICK.model_copy(update={"workers": workers})
        classify_slides(root, str(out), options)
        look, votes = module.RunFinder.look_for_vote, list[int]()

        def unreadable(fetch: Fetch, file: ImageFile, limits: DecodeLimits) -> bytes:
            if file.path.endswith("1.png"):
                raise UndecodableImageError(Reason.UNREADABLE, "an I/O error")
            return read_file(fetch, file, limits)

        def counted(self: module.RunFinder, rgb: NDArray[np.uint8], known: float | None) -> FieldCells:
            votes.append(rgb.size)
            return look(self, rgb, known)

        monkeypatch.setattr(module, "read_file", unreadable)
        monkeypatch.setattr(module.RunFinder, "look_for_vote", counted)
        classify_slides(root, str(out), options.model_copy(update={"update": True}))
        assert votes

    def test_nothing_is_kept_from_a_finder_that_ran_otherwise(
        self, slides: Path, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class InBfloat16(StandIn):
            description = "the finder in bf16"

        for part in table.parent.iterdir():
            shutil.copy(part, tmp_path)
        monkeypatch.setattr(
            module, "open_backend", lambda *_: Choice(InBfloat16(open_model()), "openvino", ("no GPU",))
        )
        told = Told()
        classify_slides(slides, str(tmp_path / "r.csv"), QUICK.model_copy(update={"update": True}), told)
        (warned,) = [text for text in told.warnings if "classified again" in text]
        assert "the finder's backend was a stand-in for tests and now is the finder in bf16" in warned
        record = json.loads((tmp_path / "r.run.json").read_text(encoding="utf-8"))
        assert record["kept_from_earlier_result"] == 0
        ran = {"name": "openvino", "description": "the finder in bf16", "skipped": ["no GPU"]}
        assert record["finder"]["backend"] == ran
        assert record["key"]["the finder's backend"] == "the finder in bf16"

    def test_an_update_forgets_a_slide_whose_scale_is_another_now(self, slides: Path, tmp_path: Path) -> None:
        root, out = tmp_path / "in", tmp_path / "r.csv"
        shutil.copytree(slides, root)
        classify_slides(root, str(out), QUICK)
        for number in range(6):
            name = root / "f2" / f"0{number}.png"
            Image.fromarray(smear(400, 300, grid_of_red_cells(400, 300, 38.0), [])).save(name)
        classify_slides(root, str(out), QUICK.model_copy(update={"update": True}))
        classify_slides(root, str(tmp_path / "fresh.csv"), QUICK)
        assert tables(out) == tables(tmp_path / "fresh.csv")


class TestWhatImagesShow:
    def test_fields_that_somebody_calls_cells_are_counted_in_no_slide(self, slides: Path, tmp_path: Path) -> None:
        classify_slides(slides / "f1", str(tmp_path / "r.csv"), QUICK.model_copy(update={"images": "cells"}))
        reasons = Counter(row["reason"] for row in read(tmp_path / "r.csv") if row["status"] == "unclassified")
        assert reasons == {"several_cells": 4, "no_cell": 1}
        assert all(not row["label"] for row in read(tmp_path / "r.csv"))

    def test_an_alert_says_that_they_are_fields(self, slides: Path, tmp_path: Path) -> None:
        classify_slides(slides / "f1", str(tmp_path / "r.csv"), QUICK.model_copy(update={"images": "cells"}))
        (slide,) = load_results(tmp_path / "r.csv").slides
        assert slide.alerts[0].startswith("too_many_unclassified: if these are fields of view, say --images fields: ")

    def test_a_folder_of_both_is_an_error_that_names_the_option(self, slides: Path, tmp_path: Path) -> None:
        mixed = tmp_path / "mixed"
        mixed.mkdir()
        for number in range(3):
            field(WHITE[0], number).save(mixed / f"f{number}.png")
            Image.fromarray(draw_picture(number)).save(mixed / f"c{number}.png")
        with pytest.raises(UsageError, match=r"decide nothing: mixed \(3 single, 3 field\)") as caught:
            classify_slides(mixed, str(tmp_path / "r.csv"), QUICK)
        assert "--images cells or --images fields" in caught.value.hint
        done = CliRunner().invoke(app, ["classify", str(mixed), "--out", str(tmp_path / "r.csv")])
        assert done.exit_code == ExitCode.USAGE
        assert not (tmp_path / "r.csv").exists()
        classify_slides(mixed, str(tmp_path / "r.csv"), QUICK.model_copy(update={"images": "fields"}))
        assert sum(row["cell"] != "" for row in read(tmp_path / "r.csv")) >= 6

    def test_a_field_among_cells_is_refused(self, tmp_path: Path) -> None:
        root = tmp_path / "slide"
        root.mkdir()
        for number in range(9):
            Image.fromarray(draw_picture(number)).save(root / f"{number}.png")
        field(WHITE[0]).save(root / "0 field.png")  # the second of ten, which is not looked at beforehand
        classify_slides(root, str(tmp_path / "r.csv"), QUICK)
        (row,) = of(read(tmp_path / "r.csv"), "0 field.png")
        assert (row["status"], row["reason"], row["label"]) == ("unclassified", "several_cells", "")

    def test_a_scale_given_by_hand(self, slides: Path, tmp_path: Path) -> None:
        config = QUICK.model_copy(update={"images": "fields", "red_cell_pixels": 28.0})
        classify_slides(slides / "f1", str(tmp_path / "r.csv"), config)
        fields = [row for row in read(tmp_path / "r.csv") if row["cell"]]
        assert {row["red_cell_pixels"] for row in fields} == {"28.0"}

    @pytest.mark.parametrize("factor", [0.5, 2.0, 3.0])
    def test_a_wrong_scale_makes_no_field_a_cell_and_is_told(self, slides: Path, tmp_path: Path, factor: float) -> None:
        told = Told()
        config = QUICK.model_copy(update={"red_cell_pixels": factor * RED})
        classify_slides(slides / "f1", str(tmp_path / "r.csv"), config, told)
        assert all(row["cell"] for row in read(tmp_path / "r.csv") if row["status"] in {"classified", "unclassified"})
        assert any("--red-cell-pixels says" in text for text in told.warnings)

    def test_without_a_scale_cells_stay_unclassified(self, tmp_path: Path) -> None:
        root = tmp_path / "slide"
        root.mkdir()
        Image.fromarray(smear(640, 480, [], [(200.0, 200.0, 50.0), (450.0, 300.0, 50.0)])).save(root / "0.png")
        config = QUICK.model_copy(update={"images": "fields"})
        classify_slides(root, str(tmp_path / "r.csv"), config)
        rows = read(tmp_path / "r.csv")
        assert {(row["status"], row["reason"], row["red_cell_pixels"]) for row in rows} == {
            ("unclassified", "unknown_scale", "")
        }

    def test_black_frames_are_no_votes_and_no_cells(self, tmp_path: Path) -> None:
        root = tmp_path / "slide"
        root.mkdir()
        for number in range(5):
            Image.new("RGB", (640, 480)).save(root / f"{number}.png")
        classify_slides(root, str(tmp_path / "r.csv"), QUICK)
        assert {row["status"] for row in read(tmp_path / "r.csv")} <= {"unclassified", "failed"}


def test_every_cell_of_a_field_has_its_embedding(slides: Path, rows: Rows, tmp_path: Path) -> None:
    config = QUICK.model_copy(update={"embeddings": str(tmp_path / "e.parquet")})
    classify_slides(slides, str(tmp_path / "r.csv"), config)
    found = pq.read_table(tmp_path / "e.parquet", columns=["path", "cell"]).to_pylist()
    seen = [row for row in rows if row["status"] in {"classified", "unclassified"} and row["reason"] != "no_cell"]
    assert [(row["path"], str(row["cell"] or "")) for row in found] == [(row["path"], row["cell"]) for row in seen]
    assert max(Counter(row["path"] for row in found).values()) > 1


def cell_picture(*white: Disc) -> Image.Image:
    """A picture as large as single cells are, with what it shows."""
    return Image.fromarray(smear(140, 140, grid_of_red_cells(140, 140, RED, but_not_at=white), white))


@pytest.fixture(scope="module")
def cut_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two slides of single cells with pictures of the same size that show two cells and none; nobody samples these."""
    root = tmp_path_factory.mktemp("cells")
    for slide, moved in (("a", 0.0), ("b", 3.0)):
        (root / slide).mkdir()
        for number in range(12):
            diameter = 44.0 + number
            cell_picture((70 + moved, 70, diameter)).save(root / slide / f"{number:02}.png")
        cell_picture((42 + moved, 70, 46), (98 + moved, 70, 46)).save(root / slide / "01.png")
        cell_picture((24 + moved, 24, 30)).save(root / slide / "02.png")
    return root


@pytest.fixture(scope="module")
def cell_rows(cut_out: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    table = tmp_path_factory.mktemp("plain") / "r.csv"
    classify_slides(cut_out, str(table), QUICK)
    return table


class TestPicturesOfSingleCells:
    def test_those_that_show_several_or_none_are_counted_nowhere(self, cell_rows: Path) -> None:
        reasons = {row["path"]: row["reason"] for row in read(cell_rows)}
        for slide in ("a", "b"):
            assert (reasons[f"{slide}/01.png"], reasons[f"{slide}/02.png"]) == ("several_cells", "no_cell")
        refused = [path for path, reason in reasons.items() if reason in {"several_cells", "no_cell"}]
        assert len(refused) == 4
        assert all(not row["label"] for row in read(cell_rows) if row["path"] in refused)

    def test_the_record_says_at_which_scale_they_are_looked_at(self, cell_rows: Path) -> None:
        record = json.loads(cell_rows.with_name("r.run.json").read_text(encoding="utf-8"))
        for view in record["slides_show"].values():
            assert view["images"] == "cells"
            assert view["looked_at"] == view["red_cell_pixels"] == pytest.approx(RED, rel=0.1)

    def test_the_results_verify(self, cell_rows: Path, cut_out: Path) -> None:
        assert verify(cell_rows, VerifyConfig(images=cut_out), NullObserver()).verified

    @pytest.mark.parametrize(
        "options", [{"workers": 3}, {"batch_size": 64}, {"images": "cells"}, {"workers": 1, "batch_size": 1}]
    )
    def test_rows_are_the_same_however_the_run_goes(
        self, cut_out: Path, cell_rows: Path, tmp_path: Path, options: dict[str, object]
    ) -> None:
        classify_slides(cut_out, str(tmp_path / "r.csv"), QUICK.model_copy(update=options))
        assert tables(tmp_path / "r.csv") == tables(cell_rows)

    @pytest.mark.parametrize("after", [1, 3, 5])
    def test_rows_are_the_same_after_an_interruption(
        self, cut_out: Path, cell_rows: Path, tmp_path: Path, after: int
    ) -> None:
        with pytest.raises(Killed):
            classify_slides(cut_out, str(tmp_path / "r.csv"), QUICK, Stopping(after + 1))
        classify_slides(cut_out, str(tmp_path / "r.csv"), QUICK)
        assert json.loads((tmp_path / "r.run.json").read_text(encoding="utf-8"))["resumed"] >= after
        assert tables(tmp_path / "r.csv") == tables(cell_rows)

    def test_rows_are_the_same_from_shards(self, cut_out: Path, cell_rows: Path, tmp_path: Path) -> None:
        parts = [tmp_path / f"{index}.csv" for index in range(2)]
        for index, part in enumerate(parts):
            classify_slides(cut_out, str(part), QUICK.model_copy(update={"shard": f"{index}/2"}))
        merge_shards(parts, str(tmp_path / "r.csv"), MergeConfig(), NullObserver())
        assert tables(tmp_path / "r.csv") == tables(cell_rows)

    def test_an_update_keeps_them(self, cut_out: Path, cell_rows: Path, tmp_path: Path) -> None:
        for part in cell_rows.parent.iterdir():
            shutil.copy(part, tmp_path)
        classify_slides(cut_out, str(tmp_path / "r.csv"), QUICK.model_copy(update={"update": True}))
        assert json.loads((tmp_path / "r.run.json").read_text(encoding="utf-8"))["kept_from_earlier_result"] == 24
        assert tables(tmp_path / "r.csv") == tables(cell_rows)


def with_scale_bar() -> Image.Image:
    """A field of red cells alone, with a black bar burnt in."""
    picture = smear(640, 480, grid_of_red_cells(640, 480, 60.0), [])
    picture[440:452, 480:620] = 0
    return Image.fromarray(picture)


BAD_INPUT: dict[str, Callable[[], Image.Image]] = {
    "no red cells": lambda: Image.fromarray(smear(640, 480, [], [(200.0, 200.0, 50.0), (450.0, 300.0, 50.0)])),
    "a black frame": lambda: Image.new("RGB", (640, 480)),
    "a scale bar": with_scale_bar,
    "3 pixels wide": lambda: Image.new("RGB", (3, 400), (200, 150, 150)),
    "red cells alone": lambda: field([]),
}


UNDECIDED = {("no red cells", "auto")}


@pytest.mark.parametrize("images", ["auto", "cells", "fields"])
@pytest.mark.parametrize("what", BAD_INPUT)
def test_bad_input_has_a_reason_and_is_never_counted(tmp_path: Path, what: str, images: str) -> None:
    root = tmp_path / "slide"
    root.mkdir()
    for number in range(2):
        picture = BAD_INPUT[what]()
        picture.putpixel((0, 0), (number, 0, 0))  # not the same picture twice
        picture.save(root / f"{number}.png")
    config = QUICK.model_copy(update={"images": images})
    if (what, images) in UNDECIDED:
        with pytest.raises(UsageError, match="decide nothing"):
            classify_slides(root, str(tmp_path / "r.csv"), config)
        return
    classify_slides(root, str(tmp_path / "r.csv"), config)
    rows = read(tmp_path / "r.csv")
    assert len(rows) >= 2
    assert all(row["reason"] or row["duplicate_of"] for row in rows)
    assert not any(row["label"] for row in rows)


@pytest.mark.parametrize("images", ["cells", "fields"])
def test_a_mixed_slide_counts_no_field_as_a_cell(tmp_path: Path, images: str) -> None:
    root = tmp_path / "slide"
    root.mkdir()
    for number in range(4):
        field(WHITE[0], number).save(root / f"f{number}.png")
        cell_picture((70, 70 + number, 46)).save(root / f"c{number}.png")
    classify_slides(root, str(tmp_path / "r.csv"), QUICK.model_copy(update={"images": images}))
    rows = read(tmp_path / "r.csv")
    whole = [row for row in rows if row["path"].startswith("f") and not row["cell"]]
    assert all(row["reason"] == "several_cells" or row["duplicate_of"] for row in whole)
    assert bool([row for row in whole if row["reason"]]) == (images == "cells")
    # As a field, the picture of a cell has that cell.
    assert all(row["width"] == ("140" if images == "cells" else row["width"]) for row in rows if row["path"][0] == "c")


@pytest.fixture(scope="module")
def unfit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slide of four fields: one out of focus with a cell, a whole and a cut one, and one thin without any cell."""
    root = tmp_path_factory.mktemp("unfit") / "s"
    root.mkdir()
    for number, white in enumerate([WHITE[0], WHITE[3]]):
        field(white, number).save(root / f"{number}.png")
    red = grid_of_red_cells(400, 300, RED, but_not_at=WHITE[1])
    blurred = Image.fromarray(smear(400, 300, red, [*WHITE[1], (4.0, 40.0, 54.0)]))
    blurred.filter(ImageFilter.GaussianBlur(2.6)).save(root / "2 blurred.png")
    Image.fromarray(smear(400, 300, red[::4], [])).save(root / "3 thin.png")
    return root


class TestUnfitFields:
    def test_cells_and_slides_say_what_is_wrong_with_their_fields(self, unfit: Path, tmp_path: Path) -> None:
        classify_slides(unfit, str(tmp_path / "r.csv"), QUICK)
        rows = read(tmp_path / "r.csv")
        blurred = of(rows, "2 blurred.png")
        assert {row["reason"] == "cut_off" for row in blurred} == {True, False}
        for row in blurred:
            assert "out_of_focus" in row["review_reason"].split("; ")
            assert row["review"] == ("false" if row["reason"] == "cut_off" else "true")
        (thin,) = of(rows, "3 thin.png")
        assert (thin["reason"], thin["review_reason"], thin["review"]) == ("no_cell", "too_thin", "")
        assert not any("_focus" in row["review_reason"] for row in rows if row["path"] in {"0.png", "1.png"})
        (slide,) = load_results(tmp_path / "r.csv").slides
        told = [alert for alert in slide.alerts if alert.startswith(("out_of_focus", "too_thin"))]
        assert [alert.rpartition(": ")[2] for alert in told] == [
            "1 of 4 fields is too thin",
            "1 of 4 fields is out of focus",
        ]
        assert all(alert in (tmp_path / "r.slides.csv").read_text(encoding="utf-8") for alert in told)
        assert verify(tmp_path / "r.csv", VerifyConfig(images=unfit), NullObserver()).verified

    def test_they_are_the_same_after_an_update(self, unfit: Path, tmp_path: Path) -> None:
        classify_slides(unfit, str(tmp_path / "r.csv"), QUICK)
        first = tables(tmp_path / "r.csv")
        classify_slides(unfit, str(tmp_path / "r.csv"), QUICK.model_copy(update={"update": True}))
        assert json.loads((tmp_path / "r.run.json").read_text(encoding="utf-8"))["kept_from_earlier_result"] == 4
        assert tables(tmp_path / "r.csv") == first
