"""The review page, driven as a person would, in headless Chromium."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser
from finished_run import Run
from review_files import call, read, write
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from bloodcell_batch.results.finished import load_results

LAPTOP = (1366, 768)
IN_SIGHT = """
  return [...document.querySelectorAll(arguments[0])].every((element) => {
    const box = element.getBoundingClientRect();
    return box.width > 0 && box.left >= 0 && box.top >= 0 && box.right <= innerWidth && box.bottom <= innerHeight;
  }) && document.documentElement.scrollHeight <= innerHeight;
"""
STATION = "#picture, #labels button, #remark, #who, #download, #message, .keys kbd, #queue [aria-current]"


def fact(browser: Browser, name: str) -> str:
    return browser.one(f"#facts dd[data-name='{name}']").text


def message(browser: Browser) -> str:
    return browser.one("#message").text


def chosen(browser: Browser) -> list[str]:
    return [button.get_attribute("data-label") or "" for button in browser.all("#labels button.chosen")]


def downloaded(browser: Browser, name: str) -> Path:
    """The CSV file that the page gives once a name is filled in."""
    who = browser.one("#who")
    if not who.get_attribute("value"):
        who.send_keys(name, Keys.TAB)
    browser.one("#download").click()
    file = browser.downloads / message(browser).removeprefix("Downloaded ").partition(";")[0].removesuffix(".")
    WebDriverWait(browser.driver, 20).until(lambda _: file.exists())
    return file


@pytest.fixture
def page(run: Run, tmp_path: Path, browser: Browser) -> Iterator[Path]:
    """The flagged cells, opened in a browser that knows nothing of them."""
    path = tmp_path / "review.html"
    call("export", run.table, "--out", path)
    browser.open(path)
    browser.driver.execute_script("localStorage.clear()")
    browser.reload()
    yield path
    browser.driver.execute_script("localStorage.clear()")


def test_keys_change_labels_and_the_download_imports(run: Run, tmp_path: Path, page: Path, browser: Browser) -> None:
    assert str(run.images.parent) not in page.read_text(encoding="utf-8")
    driver = browser.driver
    loaded = "return [...document.images].every(i => i.complete && i.naturalWidth > 0) && document.images.length"
    assert driver.execute_script(loaded) > 10
    assert fact(browser, "Slide") == "007"
    for key in ("5", "8", "9", "0", Keys.ENTER):
        browser.press(key)
    assert fact(browser, "Cell") == "6 of 24"
    assert message(browser) == "5 of 24 cells verified"
    browser.press(Keys.ARROW_LEFT)
    assert chosen(browser) == ["neutrophil"]
    browser.press(Keys.BACKSPACE)
    assert chosen(browser) == []
    browser.all("#labels button")[5].click()
    browser.press("7" * 19)
    assert message(browser) == "24 of 24 cells verified: all done"

    browser.reload()
    assert message(browser) == "24 of 24 cells verified: all done"
    browser.one("#download").click()
    assert "Who verified?" in message(browser)
    file = downloaded(browser, '=Dr. "1", ü')
    assert file.name == f"review-{load_results(run.table).results_id}-Dr-1-ü.csv"
    browser.is_quiet()

    call("import", run.table, file, "--out", tmp_path / "v.parquet")
    verified = load_results(tmp_path / "v.parquet")
    assert verified.reviews[0].verified_by == ['=Dr. "1", ü']
    said = [row.verified_label for row in verified.rows if row.verified_label and row.slide_id == "007"]
    assert sorted(said) == sorted(["basophil", "platelet", "other", "not_a_cell", "ig", "erythroblast"])
    assert [slide.nrbc_count for slide in verified.slides] == [1, 6, 6, 6]


@pytest.mark.usefixtures("page")
class TestStation:
    def test_everything_stays_in_sight_at_every_cell(self, run: Run, tmp_path: Path, browser: Browser) -> None:
        size = browser.driver.get_window_size()
        try:
            browser.driver.set_window_size(*LAPTOP)
            call("export", run.table, "--cells", "all", "--out", tmp_path / "all.html")
            browser.open(tmp_path / "all.html")
            for keys in ("", "2" * 40, Keys.END):
                browser.press(keys or Keys.HOME)
                assert browser.driver.execute_script(IN_SIGHT, STATION), keys
            assert browser.one("#picture").size["height"] > 350
        finally:
            browser.driver.set_window_size(size["width"], size["height"])

    def test_only_what_is_in_sight_of_many_cells_is_drawn(self, run: Run, tmp_path: Path, browser: Browser) -> None:
        call("export", run.table, "--cells", "all", "--out", tmp_path / "all.html")
        browser.open(tmp_path / "all.html")
        browser.press(Keys.END)
        assert fact(browser, "Cell") == "200 of 200"
        assert len(browser.all("#queue li")) < 40
        assert browser.one("#queue [aria-current]").is_displayed()

    def test_undo_goes_back_label_by_label_also_after_a_reload(self, browser: Browser) -> None:
        browser.press("12")
        browser.press(Keys.ARROW_LEFT)
        browser.press("3")
        browser.press("u")
        assert (fact(browser, "Cell"), chosen(browser)) == ("2 of 24", ["lymphocyte"])
        browser.reload()
        browser.press(Keys.CONTROL + "z")
        assert (fact(browser, "Cell"), chosen(browser)) == ("2 of 24", [])
        browser.press("u")
        assert (fact(browser, "Cell"), chosen(browser)) == ("1 of 24", [])
        assert message(browser) == "0 of 24 cells verified"
        browser.press("u")
        assert message(browser) == "There is nothing to undo."

    def test_the_next_open_cell(self, browser: Browser) -> None:
        browser.press("1")
        browser.press(Keys.ARROW_RIGHT)
        browser.press("1n")
        assert fact(browser, "Cell") == "5 of 24"
        browser.press(Keys.END)
        browser.press("1n")
        assert fact(browser, "Cell") == "2 of 24"

    def test_a_click_does_not_make_enter_repeat_the_label(self, browser: Browser) -> None:
        browser.one("#labels button[data-label='platelet']").click()
        browser.press(Keys.ENTER)
        browser.press(Keys.ARROW_LEFT)
        assert chosen(browser) == ["neutrophil"]

    def test_zoom(self, browser: Browser) -> None:
        def width() -> float:
            return float(browser.driver.execute_script("return by('picture').getBoundingClientRect().width"))

        whole = width()
        browser.press("z")
        assert width() == pytest.approx(3 * whole)
        browser.press("-")
        assert width() == pytest.approx(2 * whole)
        before = browser.one("#picture").location
        browser.press(Keys.SHIFT + Keys.ARROW_RIGHT)
        assert browser.one("#picture").location["x"] == before["x"] - 60
        assert fact(browser, "Cell") == "1 of 24"
        browser.press("z")
        assert width() == pytest.approx(whole)

    def test_a_remark_with_and_without_a_label(self, run: Run, tmp_path: Path, browser: Browser) -> None:
        browser.press("m")
        browser.one("#remark").send_keys("=1 odd, see 2", Keys.ENTER)
        browser.press("1m")
        browser.one("#remark").send_keys("blurred", Keys.ENTER)
        browser.reload()
        assert browser.one("#remark").get_attribute("value") == "blurred"
        file = downloaded(browser, "A. Reader")
        call("import", run.table, file, "--partial", "--out", tmp_path / "v.csv")
        said = {row.remark: (row.verified_label, row.verified_by) for row in load_results(tmp_path / "v.csv").rows}
        assert said.keys() == {"", "=1 odd, see 2", "blurred"}
        assert said["=1 odd, see 2"] == ("neutrophil", "A. Reader")
        assert said["blurred"] == ("", "")

    def test_two_readers_at_one_computer_do_not_see_each_other(self, browser: Browser) -> None:
        browser.one("#another").click()
        assert "Who verified?" in message(browser)
        browser.one("#who").send_keys("A", Keys.TAB)
        browser.press("12")
        browser.one("#another").click()
        assert browser.one("#who").get_attribute("value") == ""
        assert fact(browser, "Cell") == "1 of 24"
        assert chosen(browser) == []
        browser.one("#who").send_keys("B", Keys.TAB)
        browser.press("5")
        browser.one("#who").send_keys(Keys.CONTROL + "a")
        browser.one("#who").send_keys("A", Keys.TAB)
        assert "press Another reader first" in message(browser)
        assert browser.one("#who").get_attribute("value") == "B"
        browser.one("#another").click()
        browser.one("#who").send_keys("A", Keys.TAB)
        assert message(browser) == "2 of 24 cells verified"
        browser.press(Keys.HOME)
        assert chosen(browser) == ["neutrophil"]


def test_what_an_earlier_reader_verified_stays_with_that_name(run: Run, tmp_path: Path, browser: Browser) -> None:
    call("export", run.table, "--out", tmp_path / "first.csv")
    rows = [row | {"verified_label": "monocyte", "verified_by": "=First"} for row in read(tmp_path / "first.csv")]
    write(tmp_path / "first.csv", rows)
    call("import", run.table, tmp_path / "first.csv", "--out", tmp_path / "v.parquet")
    call("export", tmp_path / "v.parquet", "--out", tmp_path / "again.html")
    browser.open(tmp_path / "again.html")
    browser.press("1")
    file = downloaded(browser, "Second")
    call("import", tmp_path / "v.parquet", file, "--out", tmp_path / "w.parquet")
    said = [row.verified_by for row in load_results(tmp_path / "w.parquet").rows if row.verified_by]
    assert sorted(said) == ["=First"] * 23 + ["Second"]


def test_a_blind_page_neither_shows_nor_takes_a_suggestion(run: Run, tmp_path: Path, browser: Browser) -> None:
    call("export", run.table, "--blind", "--out", tmp_path / "blind.html")
    browser.open(tmp_path / "blind.html")
    browser.press(Keys.ENTER)
    assert [term.text for term in browser.all("#facts dt")] == ["Cell"]
    assert (fact(browser, "Cell"), message(browser)) == ("1 of 24", "0 of 24 cells verified")
    assert browser.all("#labels button.suggested, #labels button.chosen") == []
    assert {item.text for item in browser.all("#queue li")} == {""}
    browser.press("1" * 24)
    assert len(browser.all("#queue button.done")) == len(browser.all("#queue button"))
    file = downloaded(browser, "A")
    call("import", run.table, file, "--out", tmp_path / "v.parquet")
    assert [slide.shares["neutrophil"].count for slide in load_results(tmp_path / "v.parquet").slides] == [30] * 4
