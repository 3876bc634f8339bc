"""Two people name the same cells, and what they disagree on is settled."""

from pathlib import Path

import pytest
from browser import Browser
from finished_run import Run
from review_files import Record, call, read, refused, write
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from bloodcell_batch.results.finished import load_results
from bloodcell_batch.statistics.agreement import agreement

Files = tuple[Path, Path]


def named(path: Path, rows: list[Record], who: str, changed: dict[int, str]) -> Path:
    """A review in which everything is a neutrophil but what `changed` says by the place of the row."""
    filled = [row | {"verified_label": changed.get(n, "neutrophil"), "verified_by": who} for n, row in enumerate(rows)]
    write(path, filled)
    return path


@pytest.fixture
def files(run: Run, tmp_path: Path) -> Files:
    """What A and B said blindly of 40 random cells: they differ on 6, of which two are of one kind."""
    call("export", run.table, "--sample", "40", "--blind", "--out", tmp_path / "blind.csv")
    rows = read(tmp_path / "blind.csv")
    rows[1]["remark"] = "smudged"
    one = named(tmp_path / "a.csv", rows, "A. One", {0: "monocyte", 1: "not_a_cell", 2: "ig", 3: "ig"})
    other = named(tmp_path / "b.csv", rows, "B. Two", {0: "monocyte", 4: "lymphocyte", 5: "lymphocyte", 6: "ig"})
    return one, other


class TestComparison:
    def test_figures_of_both_and_of_each_with_the_program(self, run: Run, files: Files) -> None:
        one, other = ({row["path"]: row["verified_label"] for row in read(file)} for file in files)
        figures = agreement((one[path], other[path]) for path in one)
        assert (figures.cells, figures.agreed) == (40, 34)
        said = call("agree", run.table, *files)
        assert "40 cells were named by both A. One and B. Two; 0 only by A. One, 0 only by B. Two" in said
        assert "agreement 34 of 40, 85.0 % (95 % limits 70.2 to 94.3)" in said
        assert figures.kappa is not None
        assert f"Cohen's kappa {figures.kappa:.3f} (95 % limits " in said
        lines = {line.split()[0]: line.split()[1:] for line in said.splitlines() if line}
        assert lines["neutrophil"] == ["36", "36", "33", "91.7", "%"]
        assert lines["monocyte"] == ["1", "1", "1", "100.0", "%"]
        assert lines["lymphocyte"] == ["0", "2", "0", "0.0", "%"]
        labels = {row.path: row.label for row in load_results(run.table).rows}
        classified = [path for path in one if labels[path.removeprefix("'")]]
        for name, label in (("A. One", one), ("B. Two", other)):
            right = sum(label[path] == labels[path.removeprefix("'")] for path in classified)
            assert f"program and {name}: {right} of {len(classified)}, " in said
        assert f"{40 - len(classified)} of these cells have no class" in said
        assert "6 cells are to be settled" in said

    def test_who_saw_the_labels_is_told(self, run: Run, tmp_path: Path) -> None:
        call("export", run.table, "--out", tmp_path / "seen.csv")
        one, other = (named(tmp_path / f"{who}.csv", read(tmp_path / "seen.csv"), who, {}) for who in "ab")
        said = call("agree", run.table, one, other, "--out", tmp_path / "settle.csv")
        assert "program and a, who saw what it said: " in said
        assert "there is nothing to settle: import either file" in said
        assert not (tmp_path / "settle.csv").exists()

    def test_one_person_twice(self, run: Run, files: Files, tmp_path: Path) -> None:
        again = [row | {"verified_by": "A. One"} for row in read(files[1])]
        write(tmp_path / "again.csv", again)
        said = call("agree", run.table, files[0], tmp_path / "again.csv")
        assert "by both A. One (a.csv) and A. One (again.csv)" in said

    def test_a_reader_without_a_name_is_called_as_the_file(self, run: Run, files: Files, tmp_path: Path) -> None:
        write(tmp_path / "reader 7.csv", [row | {"verified_by": ""} for row in read(files[1])])
        assert "A. One and reader 7;" in call("agree", run.table, files[0], tmp_path / "reader 7.csv")

    def test_unfinished_readings(self, run: Run, files: Files) -> None:
        rows = read(files[1])
        write(
            files[1],
            [row | ({"verified_label": "", "verified_by": ""} if n > 29 else {}) for n, row in enumerate(rows)],
        )
        assert "30 cells were named by both A. One and B. Two; 10 only by A. One, 0 only by B. Two" in call(
            "agree", run.table, *files
        )
        write(files[1], [row | {"verified_label": "", "verified_by": ""} for row in rows])
        assert "name no cell both" in refused("agree", run.table, *files)

    def test_other_cells_are_refused(self, run: Run, files: Files, tmp_path: Path) -> None:
        call("export", run.table, "--sample", "40", "--seed", "2", "--out", tmp_path / "other.csv")
        said = refused("agree", run.table, files[0], named(tmp_path / "c.csv", read(tmp_path / "other.csv"), "C", {}))
        assert "shows the cells 'sample 40 seed 0'" in said
        assert "'sample 40 seed 2'" in said


class TestSettling:
    def test_the_list_holds_what_both_said_and_is_imported_once_filled_in(
        self, run: Run, files: Files, tmp_path: Path
    ) -> None:
        out = tmp_path / "settle.csv"
        assert "6 cells to settle" in call("agree", run.table, *files, "--out", out)
        rows = read(out)
        assert len(rows) == 40
        split = rows[:6]
        assert all(not row["verified_label"] and row["label_1"] != row["label_2"] for row in split)
        assert [(row["label_1"], row["label_2"]) for row in split] == sorted(
            (row["label_1"], row["label_2"]) for row in split
        )
        assert {(row["reader_1"], row["reader_2"]) for row in rows} == {("A. One", "B. Two")}
        (remarked,) = [row for row in rows if row["remark_1"]]
        assert (remarked["label_1"], remarked["remark"]) == ("not_a_cell", "A. One: smudged; B. Two: smudged")
        assert all(row["verified_label"] == row["label_1"] == row["label_2"] for row in rows[6:])
        assert {row["verified_by"] for row in rows[6:]} == {"A. One and B. Two"}
        assert {row["suggestion"] for row in rows} == {""}

        assert "6 of 40 cells have no verified_label" in refused(
            "import", run.table, out, "--out", tmp_path / "v.parquet"
        )
        for row in split:
            row |= {"verified_label": row["label_1"], "verified_by": "C. Third"}
        write(out, rows)
        said = call("import", run.table, out, "--out", tmp_path / "v.parquet")
        assert "over a random sample of 40 cells, seed 0; the reader did not see" in said
        verified = load_results(tmp_path / "v.parquet")
        (review,) = verified.reviews
        between = review.between_readers
        assert between is not None
        assert (between.readers, between.cells, between.agreed) == (["A. One", "B. Two"], 40, 34)
        assert review.verified_by == ["A. One and B. Two", "C. Third"]
        labels = {row.path.removeprefix("'"): row.verified_label for row in verified.rows if row.verified_label}
        assert labels == {row["path"].removeprefix("'"): row["verified_label"] for row in read(files[0])}

    def test_names_stay_here_when_results_are_shared(
        self, run: Run, files: Files, tmp_path: Path, key_file: Path
    ) -> None:
        out = tmp_path / "settle.csv"
        call("agree", run.table, *files, "--out", out)
        write(out, [row | {"verified_label": "ig", "verified_by": "C. Third"} for row in read(out)])
        call("import", run.table, out, "--out", tmp_path / "v.parquet")
        from bloodcell_batch.config.results import PseudonymizeConfig  # noqa: PLC0415 - of this case only
        from bloodcell_batch.reports.sharing import write_shared  # noqa: PLC0415

        write_shared(tmp_path / "v.parquet", tmp_path / "s.csv", PseudonymizeConfig(key=key_file))
        for name in ("s.csv", "s.run.json"):
            text = (tmp_path / name).read_text(encoding="utf-8")
            assert "One" not in text, name
            assert "Third" not in text, name

    def test_the_page_shows_disagreements_only_and_gives_all(
        self, run: Run, files: Files, tmp_path: Path, browser: Browser
    ) -> None:
        call("agree", run.table, *files, "--out", tmp_path / "settle.html")
        browser.open(tmp_path / "settle.html")
        assert browser.one("h1").text == "Disagreements, blind"
        terms, values = ([entry.text for entry in browser.all(f"#facts {tag}")] for tag in ("dt", "dd"))
        assert terms == ["Cell", "A. One", "B. Two"]
        assert values == ["1 of 6", "ig", "neutrophil"]
        marked = [button.get_attribute("data-label") for button in browser.all("#labels button.suggested")]
        assert marked == ["neutrophil", "ig"]
        browser.press(Keys.ENTER)
        assert browser.one("#message").text == "0 of 6 cells verified"
        browser.press("6" * 6)
        browser.one("#who").send_keys("C", Keys.TAB)
        browser.one("#download").click()
        file = browser.downloads / f"settled-{load_results(run.table).results_id}-C.csv"
        WebDriverWait(browser.driver, 20).until(lambda _: file.exists())
        browser.is_quiet()
        call("import", run.table, file, "--out", tmp_path / "v.parquet")
        said = [row.verified_by for row in load_results(tmp_path / "v.parquet").rows if row.verified_label]
        assert sorted(said) == ["A. One and B. Two"] * 34 + ["C"] * 6

    def test_a_workbook(self, run: Run, files: Files, tmp_path: Path) -> None:
        call("agree", run.table, *files, "--out", tmp_path / "settle.xlsx")
        said = call("import", run.table, tmp_path / "settle.xlsx", "--partial", "--out", tmp_path / "v.parquet")
        assert "34 cells verified, 6 still open" in said
