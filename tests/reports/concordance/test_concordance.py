import json
from collections import Counter
from pathlib import Path

import numpy as np
import openpyxl
import pytest
from browser import Browser
from finished_run import Run
from program_commands import app
from review_files import call, filled, write
from scipy.stats import pearsonr
from typer.testing import CliRunner

from bloodcell_batch.cell_classes import DEFAULT_CLASSES
from bloodcell_batch.differential.reference_ranges import Range, ReferenceRanges
from bloodcell_batch.differential.slide import SlideCounts, slide_differential
from bloodcell_batch.errors import InputError
from bloodcell_batch.progress import SlideDifferential
from bloodcell_batch.records import Status
from bloodcell_batch.reports.concordance.concordance import compare
from bloodcell_batch.reports.concordance.manual_counts import ManualCount, load_manual_counts
from bloodcell_batch.statistics.method_comparison import bland_altman, passing_bablok, pearson

HEAD = "slide_id,neutrophil,lymphocyte,monocyte,eosinophil,basophil,ig"
ROWS = (
    "007,55,27,7,5,2,4",
    "2E5,30,50,10,5,1,4",
    "=A1,54.5,27.3,6.8,4.5,2.3,4.6",
    "1-2,60,25,5,5,2,3",
    "zz,1,1,1,1,1,95",
)


def _call(run: Run, manual: Path, out: Path, *options: str | Path) -> tuple[int, str]:
    arguments = ["concordance", run.table, manual, "--out", out, *options]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, " ".join(result.stderr.split())


@pytest.fixture
def manual(tmp_path: Path) -> Path:
    path = tmp_path / "manual.csv"
    path.write_text("\n".join((HEAD, *ROWS)) + "\n", encoding="utf-8")
    return path


class TestCommand:
    def test_figures_and_page(self, run: Run, tmp_path: Path, manual: Path) -> None:
        code, said = _call(run, manual, tmp_path / "c.html")
        assert code == 0, said
        assert "1 slide of" in said
        assert "zz" in said
        figures = json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))
        assert (figures["slides"], figures["only_theirs"]) == (4, ["zz"])
        neutrophil = figures["classes"]["neutrophil"]
        # 24 of 44: 54.5 %, exact limits 38.8 - 69.6; 30 % of 2E5 is outside
        assert [(pair["slide_id"], pair["within"]) for pair in neutrophil["pairs"]] == [
            ("007", True), ("1-2", True), ("2E5", False), ("=A1", True),
        ]  # fmt: skip
        assert neutrophil["within_limits"] == 3
        assert neutrophil["difference"]["bias"] == pytest.approx(54.5455 - (55 + 60 + 30 + 54.5) / 4, abs=1e-3)
        assert neutrophil["pearson_r"] is None  # our side is constant
        assert figures["kappa_of_commonest"] == 0
        page = (tmp_path / "c.html").read_text(encoding="utf-8")
        assert page.count("data:image/svg+xml;base64,") == len(DEFAULT_CLASSES.leukocytes)
        assert str(run.images.parent) not in page

    def test_it_is_the_same_twice(self, run: Run, tmp_path: Path, manual: Path) -> None:
        for name in ("a", "b"):
            assert _call(run, manual, tmp_path / f"{name}.html")[0] == 0
        assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
        assert "exists already" in _call(run, manual, tmp_path / "a.html")[1]

    def test_pseudonyms(self, run: Run, tmp_path: Path, manual: Path, key_file: Path) -> None:
        assert _call(run, manual, tmp_path / "c.html", "--pseudonymize", key_file)[0] == 0
        for name in ("c.html", "c.json"):
            text = (tmp_path / name).read_text(encoding="utf-8")
            assert "=A1" not in text
            assert "2E5" not in text
        assert json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))["slides"] == 4

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("slide,neutrophil\n007,3\n", "lacks the column slide_id"),
            ("slide_id,blast\n007,3\n", "no column named after a class"),
            (HEAD + "\n7,55,27,7,5,2,4\n", "a spreadsheet may have changed it"),
            (HEAD + "\n007,many,27,7,5,2,4\n", "line 2: neutrophil is 'many'"),
            (HEAD + "\n007,155,27,7,5,2,4\n", "not in 0-100"),
            (HEAD + "\n007,55,27,7,5,2,24\n", "add up to 120"),
            (HEAD + "\n007,5,27,7,5,2,4\n", "add up to 50"),
            (HEAD + "\n007,55,27,7,5,2,4\n007,55,27,7,5,2,4\n", "is there twice"),
        ],
    )
    def test_bad_files(self, run: Run, tmp_path: Path, text: str, words: str) -> None:
        (tmp_path / "m.csv").write_text(text, encoding="utf-8")
        code, said = _call(run, tmp_path / "m.csv", tmp_path / "c.html")
        assert code == 1
        assert words in said
        assert {path.name for path in tmp_path.iterdir()} == {"m.csv"}

    def test_reviewed_results_are_the_other_method(self, run: Run, tmp_path: Path) -> None:
        review, rows = filled(run, tmp_path, cells="all")
        for row in rows:
            if "007/" in row["path"] and row["suggestion"] == "neutrophil":
                row["verified_label"] = "monocyte"
            elif row["path"].endswith("2E5/cell 10.jpg"):
                row["verified_label"] = row["verified_by"] = ""
        write(review, rows)
        verified = tmp_path / "verified.parquet"
        call("import", run.table, review, "--out", verified, "--partial")
        code, said = _call(run, verified, tmp_path / "c.html")
        assert code == 0, said
        assert "left out, not all cells verified: 1 slide of" in said
        assert said.split(" c.html")[0].count("2E5") == 1
        figures = json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))
        pairs = {pair["slide_id"]: pair for pair in figures["classes"]["monocyte"]["pairs"]}
        # 44 classified, of which 3 monocytes; the person says 3 + 24 + 6 of 50
        assert set(pairs) == {"007", "=A1", "1-2"}
        assert (pairs["007"]["ours"], pairs["007"]["theirs"]) == (pytest.approx(100 * 3 / 44), pytest.approx(66.0))
        again = CliRunner().invoke(
            app, ["concordance", str(verified), str(verified), "--out", str(tmp_path / "d.html")]
        )
        assert again.exit_code == 1
        assert "a person would be compared with a person" in " ".join(again.stderr.split())

    def test_guesses_are_no_other_method(self, run: Run, tmp_path: Path) -> None:
        for suffix in (".parquet", ".csv", ".xlsx"):
            code, said = _call(run, run.copy(tmp_path / f"r{suffix}"), tmp_path / "c.html")
            assert code == 1
            assert "has no verified labels: those of a program are guesses" in said
        text = "slide_id,wbc_counted,neutrophil_percent,adequacy\n007,44,55,<100\n"
        (tmp_path / "s.csv").write_text(text, encoding="utf-8")
        code, said = _call(run, tmp_path / "s.csv", tmp_path / "c.html")
        assert code == 1
        assert "is a slide table of this program" in said

    def test_a_slide_that_is_verified_in_part_is_no_sample(self, run: Run, tmp_path: Path) -> None:
        review, _ = filled(run, tmp_path)
        call("import", run.table, review, "--out", tmp_path / "verified.parquet")
        code, said = _call(run, tmp_path / "verified.parquet", tmp_path / "c.html")
        assert code == 1
        assert "no slide with leukocytes of which every cell is verified" in said
        assert "--cells all" in said

    def test_the_page_is_quiet_in_a_browser(self, run: Run, tmp_path: Path, manual: Path, browser: Browser) -> None:
        assert _call(run, manual, tmp_path / "c.html")[0] == 0
        browser.open(tmp_path / "c.html")
        pictures = browser.all("section img")
        assert len(pictures) == 6
        shown = "return [...document.images].every(i => i.complete && i.naturalWidth > 300)"
        assert browser.driver.execute_script(shown)
        browser.is_quiet()

    def test_percentages_as_people_write_them(self, tmp_path: Path) -> None:
        (tmp_path / "m.csv").write_text('slide_id;neutrophil_percent;ig\n007;"54,5 %";\n', encoding="utf-8")
        assert load_manual_counts(tmp_path / "m.csv", DEFAULT_CLASSES.leukocytes) == (
            ManualCount("007", {"neutrophil": 54.5}),
        )

    def test_percentages_of_a_workbook_are_what_its_cells_show(self, tmp_path: Path) -> None:
        book = openpyxl.Workbook()
        sheet = book.worksheets[0]
        for line in (["slide_id", "neutrophil", "lymphocyte"], ["A", 0.6, 0.4], ["B", 0.155, 0.845]):
            sheet.append(line)
        for row in sheet.iter_rows(min_row=2, min_col=2):
            for cell in row:
                cell.number_format = "0.0%"
        book.save(tmp_path / "m.xlsx")
        first, second = load_manual_counts(tmp_path / "m.xlsx", DEFAULT_CLASSES.leukocytes)
        assert first.percent == {"neutrophil": 60, "lymphocyte": 40}
        assert second.percent == {"neutrophil": 15.5, "lymphocyte": 84.5}

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("slide_id,neutrophil,lymphocyte\nA,0.6,0.4\n", "line 2: the percentages add up to 1: these are shares"),
            ("slide_id,neutrophil,lymphocyte\nA,60,40\nB,.55,.4\n", "line 3: the percentages add up to 0.95"),
            ("slide_id,neutrophil,lymphocyte\nA,120,80\n", "not in 0-100"),
            ("slide_id,neutrophil,lymphocyte\nA,90,60\n", "add up to 150"),
            ("slide_id,neutrophil_count\nA,60\n", "has counts (neutrophil_count), but percentages"),
            ("slide_id,neutrophil,neutrophil_percent\nA,60,60\n", "for one class"),
            ("slide_id,neutrophil,neutrophil\nA,60,40\n", "two columns named 'neutrophil'"),
            ("slide_id,neutrophil\nA,60\nA,40\n", "line 3: the slide 'A' is there twice"),
            ("slide_id,neutrophil\nA,sixty\n", "not a number"),
        ],
    )
    def test_what_are_no_percentages_is_refused_with_its_line(self, tmp_path: Path, text: str, said: str) -> None:
        (tmp_path / "m.csv").write_text(text, encoding="utf-8")
        with pytest.raises(InputError) as caught:
            load_manual_counts(tmp_path / "m.csv", DEFAULT_CLASSES.leukocytes)
        assert said in str(caught.value)

    def test_what_may_be_counts_is_told(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "m.csv").write_text("slide_id,neutrophil,lymphocyte\n007,60,30\n2E5,60,40\n", encoding="utf-8")
        code, said = _call(run, tmp_path / "m.csv", tmp_path / "c.html")
        assert code == 0
        assert "1 slide of" in said
        assert (
            "with less than 100 % in all (were other leukocytes counted, too, or are these no percentages?): 007"
            in said
        )


def _slide(name: str, counts: dict[str, int], unclassified: int = 0) -> SlideDifferential:
    statuses = Counter({Status.CLASSIFIED: sum(counts.values()), Status.UNCLASSIFIED: unclassified})
    return slide_differential(name, SlideCounts(statuses, Counter(counts)), DEFAULT_CLASSES)


class TestCompare:
    def test_kappa_of_ranges(self) -> None:
        ranges = ReferenceRanges(name="x", ranges={"neutrophil": Range(low=40, high=70)})
        slides = [_slide(str(n), {"neutrophil": n, "lymphocyte": 100 - n}) for n in (10, 50, 60, 90)]
        manual = [ManualCount(str(n), {"neutrophil": other}) for n, other in ((10, 20), (50, 50), (60, 90), (90, 95))]
        found = compare(slides, manual, ranges).classes["neutrophil"]
        # observed 3/4; by chance (1*1 + 2*1 + 1*2) / 16 = 5/16
        assert found.kappa == pytest.approx((0.75 - 5 / 16) / (1 - 5 / 16))
        assert found.pearson_r == pytest.approx(pearsonr([20, 50, 90, 95], [10, 50, 60, 90]).statistic)

    def test_slides_without_leukocytes_are_named(self) -> None:
        slides = [_slide("a", {"neutrophil": 5}), _slide("b", {})]
        manual = [ManualCount("a", {"neutrophil": 90.0}), ManualCount("b", {"neutrophil": 90.0})]
        assert compare(slides, manual).without_leukocytes == ("b",)
        with pytest.raises(InputError, match="None of the slides"):
            compare(slides[1:], manual)

    def test_withheld_percentages_are_not_compared(self) -> None:
        slides = [_slide("a", {"neutrophil": 95}, 5), _slide("b", {"neutrophil": 5}, 1)]
        manual = [ManualCount("a", {"neutrophil": 90.0}), ManualCount("b", {"neutrophil": 90.0})]
        found = compare(slides, manual)
        assert (found.slides, found.withheld, found.without_leukocytes) == (1, ("b",), ())
        (pair,) = found.classes["neutrophil"].pairs
        share = slides[0].shares["neutrophil"]
        assert (pair.low, pair.high) == (share.percent_low, share.percent_high)
        assert pair.within


class TestStatistics:
    def test_bland_altman_by_hand(self) -> None:
        found = bland_altman(np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 5.0]))
        assert found is not None
        assert (found.bias, found.high - found.bias) == pytest.approx((1.0, 1.96))
        assert bland_altman(np.array([1.0]), np.array([2.0])) is None

    def test_a_straight_line(self) -> None:
        x = np.arange(10.0)
        found = passing_bablok(x, 2 * x + 1)
        assert found is not None
        assert (found.slope, found.slope_low, found.slope_high) == (2, 2, 2)
        assert found.intercept == 1

    def test_exchanging_the_methods_inverts_the_line(self) -> None:
        rng = np.random.default_rng(5)
        truth = rng.uniform(5, 80, 41)
        x, y = truth + rng.normal(0, 2, 41), 1.1 * truth + rng.normal(0, 2, 41)
        one, other = passing_bablok(x, y), passing_bablok(y, x)
        assert one is not None
        assert other is not None
        assert other.slope == pytest.approx(1 / one.slope, rel=1e-9)
        assert (other.slope_low, other.slope_high) == pytest.approx((1 / one.slope_high, 1 / one.slope_low))
        assert one.slope_low < 1.1 < one.slope_high

    def test_outliers_move_it_little(self) -> None:
        x = np.arange(20.0)
        y = x.copy()
        y[3] = 90
        found = passing_bablok(x, y)
        assert found is not None
        assert found.slope == pytest.approx(1)

    def test_coverage_of_the_limits(self) -> None:
        rng = np.random.default_rng(0)
        inside = 0
        for _ in range(200):
            truth = rng.uniform(0, 50, 30)
            found = passing_bablok(truth + rng.normal(0, 1, 30), truth + rng.normal(0, 1, 30))
            assert found is not None
            inside += found.slope_low <= 1 <= found.slope_high
        assert 0.90 <= inside / 200 <= 0.99

    def test_what_cannot_be_computed_is_none(self) -> None:
        same, other = np.full(5, 3.0), np.arange(5.0)
        assert passing_bablok(same, other) is None
        assert passing_bablok(np.array([1.0, 2.0]), np.array([1.0, 2.0])) is None
        assert pearson(same, other) is None
        assert pearson(other[:2], other[:2]) is None
