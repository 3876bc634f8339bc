import hashlib
import html
import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from browser import Browser
from conftest import draw_picture, encode
from finished_run import Run, write_run
from PIL import Image
from program_commands import app
from typer.testing import CliRunner

from bloodcell_batch.cell_classes import RESEARCH_USE_ONLY
from bloodcell_batch.differential.not_excluded import BLASTS_NOT_EXCLUDED
from bloodcell_batch.progress import file_size
from bloodcell_batch.records import ImageFile, Prediction, Reason, Rejection, Status
from bloodcell_batch.reports.thumbnails import NoThumbnail, Thumbnail, make_thumbnails
from bloodcell_batch.results.finished import load_results

RANGES = "[neutrophil]\nlow = 40\nhigh = 70\n"


def write(run: Run, out: Path, *options: str | Path) -> str:
    result = CliRunner().invoke(app, ["report", str(run.table), "--out", str(out), *map(str, options)])
    assert result.exit_code == 0, result.output
    return result.stderr


@pytest.fixture(scope="module")
def page(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    page = tmp_path_factory.mktemp("page") / "report.html"
    write(run, page)
    return page


class TestPage:
    def test_everything_is_inside_and_nothing_of_the_machine(self, run: Run, tmp_path: Path) -> None:
        said = write(run, tmp_path / "r.html")
        text = (tmp_path / "r.html").read_text(encoding="utf-8")
        assert file_size((tmp_path / "r.html").stat().st_size) in said
        assert text.count(RESEARCH_USE_ONLY) == 2
        assert text.count('<section class="slide" id="s') == 4
        assert text.count('<rect class="bar"') == 4 * 6
        assert text.count("data:image/webp;base64,") >= 4 * (24 // 2 + 6)
        assert not re.search(r"(src|href)=\"(https?:|//)", text)
        assert str(run.images) not in text
        assert str(run.images.parent) not in text
        assert load_results(run.table).record.model.sha256 in text
        assert "near duplicate of 007/cell 00.jpg, 7 of 256 bits" in text

    def test_none_seen_has_a_number_and_blasts_are_not_excluded(self, run: Run, tmp_path: Path) -> None:
        few = tuple(o for o in run.outcomes if not isinstance(o, Prediction) or o.label != "basophil")
        table = write_run(run.images, few, tmp_path / "r.csv")
        write(Run(table, run.images, few), tmp_path / "r.html")
        text = (tmp_path / "r.html").read_text(encoding="utf-8")
        # 43 leukocytes and 6 unclassified: if all 6 were basophils, 6 of 49 would be, 12.2 % (limits 4.6 - 24.8)
        assert text.count(">0 of 43: at most 24.8 %") == 4
        assert text.count("Basophils 0 of 43: at most 24.8 %") == 4  # the chart in words
        assert f"<b>{BLASTS_NOT_EXCLUDED}</b>" in html.unescape(text)

    def test_the_gallery_and_the_queue_can_be_shortened(self, run: Run, tmp_path: Path) -> None:
        write(run, tmp_path / "r.html", "--gallery", "2", "--queue", "1")
        text = (tmp_path / "r.html").read_text(encoding="utf-8")
        assert text.count("the 2 least certain shown") == 4 * 3
        assert "6 cells, 1 shown" in text

    def test_additions(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "ranges.toml").write_text(RANGES, encoding="utf-8")
        write(run, tmp_path / "r.html", "--min-wbc", "100", "--reference-ranges", tmp_path / "ranges.toml")
        text = (tmp_path / "r.html").read_text(encoding="utf-8")
        assert text.count("target 100 not reached") == 4
        assert text.count('<rect class="range"') == 4
        assert "54.5 (33.7 - 73.6)" in text
        assert "within" in text

    def test_a_reference_range_is_always_on_the_chart_and_in_words(self, run: Run, tmp_path: Path) -> None:
        """Also where it lies beyond all percentages: 24 of 44 neutrophils are 54.5 %, and the chart goes to 100."""
        (tmp_path / "ranges.toml").write_text("[neutrophil]\nlow = 85\nhigh = 95\n", encoding="utf-8")
        write(run, tmp_path / "r.html", "--reference-ranges", tmp_path / "ranges.toml")
        text = (tmp_path / "r.html").read_text(encoding="utf-8")
        # 150 is 0 %, 500 is 100 %
        assert text.count('<rect class="range" x="447.5" y="8.0" width="35.0"') == 4
        assert text.count("Neutrophils 54.5 % (33.7 - 73.6), reference range 85 - 95: below;") == 4
        assert text.count('<span class="tag bad">below</span>') == 4
        assert '<td class="num">85 - 95</td><td>below</td>' in text

    def test_alerts_come_first(self, run: Run, tmp_path: Path) -> None:
        """Of one slide, most cells are unclassified: its percentages are withheld."""
        few = tuple(
            outcome
            for outcome in run.outcomes
            if outcome.file.slide_id == "2E5" or (outcome.file.slide_id == "007" and outcome.reason)
        )
        table = write_run(run.images, few, tmp_path / "r.csv")
        write(Run(table, run.images, few), tmp_path / "r.html")
        text = (tmp_path / "r.html").read_text(encoding="utf-8")
        assert [bool(slide.alerts) for slide in load_results(table).slides] == [True, False]
        assert text.index('<h2 id="alerts">') < text.index('<h2 id="slides">') < text.index('<h2 id="means">')
        alerts = text[text.index('<h2 id="alerts">') : text.index('<h2 id="slides">')]
        assert 'href="#s1"' in alerts

    def test_one_slide_is_the_report(self, run: Run, tmp_path: Path, browser: Browser) -> None:
        """No table of slides and nothing to find; the chart stands on the first screen."""
        one = tuple(outcome for outcome in run.outcomes if outcome.file.slide_id == "007")
        write(Run(write_run(run.images, one, tmp_path / "r.csv"), run.images, one), tmp_path / "r.html")
        text = (tmp_path / "r.html").read_text(encoding="utf-8")
        assert 'id="overview"' not in text
        browser.open(tmp_path / "r.html")
        assert browser.one("svg.chart").rect["y"] < 400
        assert len(browser.all("ul.alerts li")) == len(load_results(tmp_path / "r.csv").slides[0].alerts)  # told once
        browser.press("j")
        assert browser.driver.execute_script("return document.activeElement.id") == "s1"
        browser.press("/")
        browser.is_quiet()

    def test_pseudonyms_leave_no_name(self, run: Run, tmp_path: Path, key_file: Path) -> None:
        write(run, tmp_path / "r.html", "--pseudonymize", key_file)
        text = (tmp_path / "r.html").read_text(encoding="utf-8")
        for row in load_results(run.table).rows:
            assert row.path not in text
            assert row.path.rpartition("/")[2] not in text
            assert not row.sha256 or row.sha256 not in text
        assert "=A1" not in text
        assert text.count("data:image/webp;base64,") > 50

    def test_without_the_images_it_says_so(self, run: Run, tmp_path: Path) -> None:
        said = write(run, tmp_path / "r.html", "--images", tmp_path / "moved")
        assert "no thumbnails" in said
        assert "data:image" not in (tmp_path / "r.html").read_text(encoding="utf-8")

    def test_a_slide_without_leukocytes(self, tmp_path: Path) -> None:
        rejected = Rejection(ImageFile("s/a.jpg", "s", 0, 0), Status.FAILED, Reason.EMPTY)
        table = write_run(tmp_path, (rejected,), tmp_path / "r.csv")
        write(Run(table, tmp_path, (rejected,)), tmp_path / "r.html", "--min-wbc", "100")
        text = (tmp_path / "r.html").read_text(encoding="utf-8")
        assert "No leukocyte was counted" in text
        assert "<svg" not in text

    @pytest.mark.parametrize("name", ["r.pdf", "r.csv", "r"])
    def test_a_report_is_a_page(self, run: Run, tmp_path: Path, name: str) -> None:
        result = CliRunner().invoke(app, ["report", str(run.table), "--out", str(tmp_path / name)])
        assert result.exit_code == 2
        assert "a browser prints it as PDF" in " ".join(result.stderr.split())
        assert not list(tmp_path.iterdir())

    def test_existing_pages_stay(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "r.html").write_text("mine", encoding="utf-8")
        result = CliRunner().invoke(app, ["report", str(run.table), "--out", str(tmp_path / "r.html")])
        assert result.exit_code == 1
        assert "exists already" in result.stderr
        assert (tmp_path / "r.html").read_text(encoding="utf-8") == "mine"


class TestThumbnails:
    def test_metadata_is_gone(self, run: Run, tmp_path: Path) -> None:
        row = next(row for row in load_results(run.table).rows if row.is_cell)
        exif = Image.Exif()
        exif[0x010E] = "patient 4711"
        path = tmp_path / row.file
        path.parent.mkdir()
        path.write_bytes(encode(draw_picture(1), exif=exif))
        assert b"patient 4711" in path.read_bytes()
        changed = make_thumbnails([row], tmp_path, 64)
        assert changed == {row.file: NoThumbnail.CHANGED}
        row = replace(row, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
        for kind in ("webp", "png"):
            made = make_thumbnails([row], tmp_path, 64, kind)[row.file]
            assert isinstance(made, Thumbnail)
            assert b"patient" not in made.data
            with Image.open(io.BytesIO(made.data)) as image:
                assert max(image.size) == 64
                assert not image.getexif()

    def test_what_cannot_be_shown(self, run: Run, tmp_path: Path) -> None:
        rows = load_results(run.table).rows
        broken = next(row for row in rows if row.reason == "truncated")
        assert make_thumbnails([broken], run.images, 64) == {broken.file: NoThumbnail.UNDECODABLE}
        assert set(make_thumbnails(rows, tmp_path, 64).values()) == {NoThumbnail.MISSING}
        assert set(make_thumbnails(rows, None, 64).values()) == {NoThumbnail.MISSING}


class TestInTheBrowser:
    def test_charts_and_pictures_are_visible(self, page: Path, browser: Browser) -> None:
        browser.open(page)
        charts = browser.all("svg.chart")
        assert len(charts) == 4
        assert all(chart.size["width"] > 400 and chart.size["height"] > 100 for chart in charts)
        assert browser.one("rect.bar").size["width"] > 100
        loaded = "return [...document.images].every(i => i.complete && i.naturalWidth > 0) && document.images.length"
        assert browser.driver.execute_script(loaded) > 4 * 18
        fits = "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        assert browser.driver.execute_script(fits)
        browser.is_quiet()

    def test_keys_move_and_find(self, page: Path, browser: Browser) -> None:
        browser.open(page)
        browser.press("j")
        browser.press("j")
        assert browser.driver.execute_script("return document.activeElement.id") == "s2"
        browser.press("k")
        assert browser.driver.execute_script("return document.activeElement.id") == "s1"
        browser.press("/")
        browser.driver.switch_to.active_element.send_keys("2e")
        shown = [row for row in browser.all("#overview tbody tr") if row.is_displayed()]
        assert [row.text.split()[0] for row in shown] == ["2E5"]
        browser.is_quiet()
