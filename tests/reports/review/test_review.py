import csv
import dataclasses
import hashlib
import random
import re
from collections.abc import Callable
from pathlib import Path

import openpyxl
import pytest
from finished_run import Run, write_run
from program_commands import app
from review_files import Record, call, filled, read, refused, write
from typer.testing import CliRunner

from bloodcell_batch.cell_classes import DEFAULT_CLASSES, OTHER_LABELS
from bloodcell_batch.progress import Withheld
from bloodcell_batch.records import Prediction
from bloodcell_batch.reports.review.columns import ANSWERS, PREDICTED
from bloodcell_batch.results.file_names import run_record_of
from bloodcell_batch.results.finished import load_results
from bloodcell_batch.results.run_record import read_record
from bloodcell_batch.statistics.binomial import clopper_pearson


def snapshot(folder: Path) -> dict[str, str]:
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()}


class TestRoundTrip:
    def test_thirty_corrections(self, run: Run, tmp_path: Path) -> None:
        path, rows = filled(run, tmp_path, "all")
        assert len(rows) == 4 * 50
        before = {slide.slide_id: slide for slide in load_results(run.table).slides}
        kept = snapshot(run.table.parent)
        rng = random.Random(7)
        corrected = rng.sample([row for row in rows if row["preclassification"] == "neutrophil"], 30)
        for number, row in enumerate(corrected):
            row["verified_label"] = ("ig", "monocyte", "other", "not_a_cell", "platelet", "erythroblast")[number % 6]
            row["verified_by"] = ("A. Reviewer", "B. Second")[number % 2]
        write(path, rows)
        said = call("import", run.table, path, "--out", tmp_path / "v.parquet")
        assert "of 176 preclassified cells 146 confirmed and 30 changed" in said
        assert "24 unclassified cells were given a name" in said

        after = {slide.slide_id: slide for slide in load_results(tmp_path / "v.parquet").slides}
        for slide, old in before.items():
            mine = [row for row in rows if row["slide_id"].removeprefix("'") == slide]
            expected = {name: sum(row["verified_label"] == name for row in mine) for name in DEFAULT_CLASSES.names}
            new = after[slide]
            names = DEFAULT_CLASSES.leukocytes
            assert {name: new.shares[name].count for name in names} == {name: expected[name] for name in names}
            assert new.nrbc_count == expected["erythroblast"]
            assert new.platelet_images == expected["platelet"]
            for name in OTHER_LABELS:
                assert new.outside_counts[name] == sum(row["verified_label"] == name for row in mine)
                assert old.outside_counts[name] == 0
            assert new.unclassified == 0
            assert new.withheld is None
            assert new.found == old.found == new.classified + new.unclassified + new.duplicates + new.failed
        assert snapshot(run.table.parent) == kept

    @pytest.mark.parametrize("name", ["v.csv", "v.xlsx"])
    def test_reviewing_a_withheld_slide_brings_its_percentages_back(self, run: Run, tmp_path: Path, name: str) -> None:
        table = run.copy(tmp_path / "r.parquet")
        record = read_record(table)
        stricter = record.updated(max_unclassified=0.05).with_digests(record.results_id, {"images": table})
        run_record_of(table).write_text(stricter.as_json(), encoding="utf-8")
        before = {slide.slide_id: slide for slide in load_results(table).slides}
        assert {slide.withheld for slide in before.values()} == {Withheld.TOO_MANY_UNCLASSIFIED}
        assert {share.percent for slide in before.values() for share in slide.shares.values()} == {None}

        call("export", table, "--out", tmp_path / "review.csv", "--cells", "unclassified")
        rows = read(tmp_path / "review.csv")
        for row in rows:
            if row["slide_id"].removeprefix("'") == "007":
                row["verified_label"], row["verified_by"] = "neutrophil", "A. Reviewer"
        write(tmp_path / "review.csv", rows)
        call("import", table, tmp_path / "review.csv", "--partial", "--out", tmp_path / name)
        after = {slide.slide_id: slide for slide in load_results(tmp_path / name).slides}
        assert after["007"].withheld is None
        assert after["007"].shares["neutrophil"].percent == 60.0  # 24 and the 6 that were reviewed, of 50
        assert sum(share.percent or 0 for share in after["007"].shares.values()) == pytest.approx(100)
        assert {slide for slide, found in after.items() if found.withheld} == after.keys() - {"007"}
        shown = CliRunner().invoke(app, ["differential", str(tmp_path / name), "--out", str(tmp_path / "d.csv")])
        assert shown.exit_code == 0, shown.output
        percent = {row["slide_id"]: row["neutrophil_percent"] for row in read(tmp_path / "d.csv")}
        assert percent == {slide: "60.0" if slide == "007" else "" for slide in after}

    def test_provenance_is_complete_and_the_original_is_kept(self, run: Run, tmp_path: Path) -> None:
        path, rows = filled(run, tmp_path)
        rows[0]["verified_label"] = "platelet"
        write(path, rows)
        call("import", run.table, path, "--out", tmp_path / "v.csv")
        original, verified = load_results(run.table), load_results(tmp_path / "v.csv")
        assert verified.images.select(original.images.schema.names).equals(original.images)
        assert verified.results_id == original.results_id
        (review,) = verified.reviews
        assert review.results_id == original.results_id
        assert review.verified_by == ["A. Reviewer"]
        assert review.file_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert (review.cells, review.cells_left_open, review.version, review.scope) == (24, 0, 1, "flagged")
        assert len(review.changes) == 24
        change = next(c for c in review.changes if c.verified_label == "platelet")
        assert (change.preclassification, change.verified_by) == (None, "A. Reviewer")
        own = {"reviews": None, "tables_sha256": None, "record_sha256": None}
        assert {**verified.record.document(), **own} == {**original.record.document(), **own}
        said = {row["path"]: row for row in read(tmp_path / "v.csv")}
        assert sum(bool(row["verified_label"]) for row in said.values()) == 24
        assert all(bool(row["verified_at"]) == bool(row["verified_label"]) for row in said.values())

    def test_no_cell_leaves_the_denominator_and_is_counted(self, run: Run, tmp_path: Path) -> None:
        path, rows = filled(run, tmp_path, "all")
        mine = [row for row in rows if row["slide_id"] == "2E5" or row["slide_id"] == "'2E5"]
        for number, row in enumerate(row for row in mine if row["suggestion"] == "neutrophil"):
            row["verified_label"] = ("not_a_cell", "not_a_cell", "other", "neutrophil")[min(number, 3)]
        write(path, rows)
        call("import", run.table, path, "--out", tmp_path / "v.csv")
        slides = {row["slide_id"]: row for row in read(tmp_path / "v.slides.csv")}
        assert (slides["2E5"]["not_a_cell_count"], slides["2E5"]["other_count"]) == ("2", "1")
        assert int(slides["2E5"]["wbc_counted"]) == 50 - 3
        assert (slides["007"]["not_a_cell_count"], slides["007"]["wbc_counted"]) == ("0", "50")
        result = CliRunner().invoke(app, ["report", str(tmp_path / "v.csv"), "--out", str(tmp_path / "r.html")])
        assert result.exit_code == 0, result.output
        page = (tmp_path / "r.html").read_text(encoding="utf-8")
        assert page.count("<dt>Verified as no cell</dt><dd>2</dd>") == 1
        result = CliRunner().invoke(app, ["export-fhir", str(tmp_path / "v.csv"), "--out", str(tmp_path / "f.json")])
        assert result.exit_code == 0, result.output
        assert "3 cells verified as of no class or as no cell" in (tmp_path / "f.json").read_text(encoding="utf-8")

    @pytest.mark.parametrize("name", ["v.parquet", "v.xlsx"])
    def test_reviewed_results_are_results(self, run: Run, tmp_path: Path, name: str) -> None:
        path, _ = filled(run, tmp_path)
        call("import", run.table, path, "--out", tmp_path / name)
        result = CliRunner().invoke(app, ["differential", str(tmp_path / name)])
        assert [row["classified"] for row in csv.DictReader(result.stdout.splitlines())] == ["50"] * 4
        report = tmp_path / "r.html"
        result = CliRunner().invoke(app, ["report", str(tmp_path / name), "--out", str(report)])
        assert result.exit_code == 0, result.output
        assert "24 cells by A. Reviewer" in report.read_text(encoding="utf-8")
        assert "6 verified" in report.read_text(encoding="utf-8")

    def test_a_second_import_is_refused_or_versioned(self, run: Run, tmp_path: Path) -> None:
        path, rows = filled(run, tmp_path)
        call("import", run.table, path, "--out", tmp_path / "v.csv")
        assert "exists already" in refused("import", run.table, path, "--out", tmp_path / "v.csv")
        assert "was imported" in refused("import", tmp_path / "v.csv", path, "--out", tmp_path / "w.csv")
        rows[3]["verified_label"], rows[3]["verified_by"] = "basophil", "B. Second"
        write(path, rows)
        call("import", tmp_path / "v.csv", path, "--out", tmp_path / "w.csv")
        first, second = load_results(tmp_path / "w.csv").reviews
        assert (first.version, second.version) == (1, 2)
        (change,) = second.changes
        assert (change.before, change.verified_label) == ("neutrophil", "basophil")
        assert load_results(tmp_path / "v.csv").reviews == [first]

    def test_the_default_name(self, run: Run, tmp_path: Path) -> None:
        table = run.copy(tmp_path / "r.csv")
        path, _ = filled(run, tmp_path)
        call("import", table, path)
        assert {p.name for p in tmp_path.glob("r.verified.*")} == {
            "r.verified.csv", "r.verified.slides.csv", "r.verified.run.json",
        }  # fmt: skip
        path.write_bytes(path.read_bytes().replace(b"A. Reviewer", b"B. Second"))
        call("import", tmp_path / "r.verified.csv", path)
        assert (tmp_path / "r.verified2.csv").is_file()

    def test_a_name_with_a_carriage_return(self, run: Run, tmp_path: Path) -> None:
        odd = next(outcome for outcome in run.outcomes if isinstance(outcome, Prediction))
        renamed = dataclasses.replace(odd, file=dataclasses.replace(odd.file, path="007/a\rb.jpg"))
        outcomes = tuple(renamed if outcome is odd else outcome for outcome in run.outcomes)
        table = write_run(run.images, outcomes, tmp_path / "r.csv")
        call("export", table, "--cells", "all", "--out", tmp_path / "review.csv")
        rows = read(tmp_path / "review.csv")
        assert renamed.file.path in {row["path"] for row in rows}
        write(tmp_path / "review.csv", [row | {"verified_label": "ig", "verified_by": "A"} for row in rows])
        call("import", table, tmp_path / "review.csv", "--out", tmp_path / "v.csv")
        verified = {row.file: row.verified_label for row in load_results(tmp_path / "v.csv").rows}
        assert verified[renamed.file.path] == "ig"

    def test_a_workbook_filled_in(self, run: Run, tmp_path: Path) -> None:
        path = tmp_path / "review.xlsx"
        call("export", run.table, "--out", path)
        book = openpyxl.load_workbook(path)
        page = book["Review"]
        head = [cell.value for cell in page[1]]
        assert len(page._images) == 24
        (rule,) = page.data_validations.dataValidation
        assert rule.formula1 == f'"{",".join(DEFAULT_CLASSES.verified_labels)}"'
        for row in page.iter_rows(min_row=2):
            row[head.index("verified_label")].value = "lymphocyte"
        book.save(path)
        assert "has no verified_by" in refused("import", run.table, path, "--out", tmp_path / "v.csv")
        call("import", run.table, path, "--out", tmp_path / "v.csv", "--by", "A. Reviewer")
        assert [slide.shares["lymphocyte"].count for slide in load_results(tmp_path / "v.csv").slides] == [18] * 4

    def test_an_earlier_reviewer_keeps_the_name_behind_a_pseudonym(
        self, run: Run, tmp_path: Path, key_file: Path
    ) -> None:
        path, _ = filled(run, tmp_path)
        call("import", run.table, path, "--out", tmp_path / "v.csv")
        call("export", tmp_path / "v.csv", "--out", tmp_path / "again.csv", "--pseudonymize", key_file)
        assert "Reviewer" not in (tmp_path / "again.csv").read_text(encoding="utf-8")
        rows = read(tmp_path / "again.csv")
        rows[0]["verified_label"], rows[0]["verified_by"] = "ig", "B. Second"
        write(tmp_path / "again.csv", rows)
        call(
            "import",
            tmp_path / "v.csv",
            tmp_path / "again.csv",
            "--out",
            tmp_path / "w.csv",
            "--pseudonymize",
            key_file,
        )
        said = [row.verified_by for row in load_results(tmp_path / "w.csv").rows if row.verified_by]
        assert sorted(said) == ["A. Reviewer"] * 23 + ["B. Second"]

    def test_remarks_stay_here_under_pseudonyms_and_are_not_lost(
        self, run: Run, tmp_path: Path, key_file: Path
    ) -> None:
        path, rows = filled(run, tmp_path)
        write(path, [row | {"remark": "of Mrs Smith"} for row in rows])
        call("import", run.table, path, "--out", tmp_path / "v.csv")
        result = CliRunner().invoke(
            app, ["pseudonymize", str(tmp_path / "v.csv"), "--key", str(key_file), "--out", str(tmp_path / "s.csv")]
        )
        assert result.exit_code == 0, result.output
        call("export", tmp_path / "v.csv", "--out", tmp_path / "again.csv", "--pseudonymize", key_file)
        for name in ("s.csv", "again.csv"):
            assert "Smith" not in (tmp_path / name).read_text(encoding="utf-8"), name
        rows = [row | {"verified_label": "ig", "verified_by": "B"} for row in read(tmp_path / "again.csv")]
        write(tmp_path / "again.csv", [rows[0] | {"remark": "large"}, *rows[1:]])
        again = (tmp_path / "v.csv", tmp_path / "again.csv", "--out", tmp_path / "w.csv")
        call("import", *again, "--pseudonymize", key_file)
        said = [row.remark for row in load_results(tmp_path / "w.csv").rows if row.verified_label]
        assert sorted(said) == ["large"] + ["of Mrs Smith"] * 23

    def test_pseudonyms_come_back(self, run: Run, tmp_path: Path, key_file: Path) -> None:
        path = tmp_path / "review.csv"
        call("export", run.table, "--out", path, "--pseudonymize", key_file)
        text = path.read_text(encoding="utf-8")
        rows = read(path)
        assert all(row["slide_id"].startswith("S-") for row in rows)
        assert "jpg" not in text
        for row in rows:
            row["verified_label"], row["verified_by"] = "monocyte", "A"
        write(path, rows)
        assert "there is no cell" in refused("import", run.table, path, "--out", tmp_path / "v.csv")
        call("import", run.table, path, "--out", tmp_path / "v.csv", "--pseudonymize", key_file)
        verified = load_results(tmp_path / "v.csv")
        assert [slide.slide_id for slide in verified.slides] == ["007", "1-2", "2E5", "=A1"]
        assert [slide.shares["monocyte"].count for slide in verified.slides] == [9] * 4
        assert all(change.path.endswith(".jpg") for change in verified.reviews[0].changes)


BAD: list[tuple[str, Callable[[list[Record]], object], str]] = [
    ("unknown label", lambda rows: rows[4].update(verified_label="blast"), "row 6: 'blast' is not a label"),
    ("unknown path", lambda rows: rows[4].update(path="x/y.jpg", sha256="0"), "row 6: there is no cell 'x/y.jpg'"),
    ("duplicate's path", lambda rows: rows[0].update(path="007/exact.jpg", sha256="0"), "there is no cell"),
    ("other run", lambda rows: rows[0].update(results_id="0123456789abcdef"), "of the run 0123456789abcdef"),
    ("mangled slide", lambda rows: rows[0].update(slide_id="7"), "slide_id is '7', the results say '007'"),
    ("mangled path", lambda rows: rows[0].update(path="7/cell.jpg"), "should be '007/cell"),
    ("mangled date", lambda rows: rows[6].update(slide_id="01. Feb"), "slide_id is '01. Feb', the results say '1-2'"),
    ("formula error", lambda rows: rows[-1].update(slide_id="#NAME?"), "slide_id is '#NAME?', the results say '=A1'"),
    ("half filled", lambda rows: rows[2].update(verified_label="", verified_by=""), "1 of 24 cells has no"),
    ("deleted row", lambda rows: rows.pop(), "1 of 24 cells is missing"),
    ("no reviewer", lambda rows: rows[2].update(verified_by=""), "row 4: the label"),
    ("no label", lambda rows: rows[2].update(verified_label=""), "but there is no verified_label"),
    ("twice", lambda rows: rows.append(dict(rows[0])), "row 26: 007/cell"),
    ("changed scope", lambda rows: [row.update(cells="some") for row in rows], "'some' in the column cells"),
    ("no column", lambda rows: [row.pop("verified_by") for row in rows], "has no column 'verified_by'"),
]  # fmt: skip


class TestBadReviews:
    @pytest.mark.parametrize(("spoil", "words"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
    def test_a_precise_message_and_nothing_changed(
        self, run: Run, tmp_path: Path, spoil: Callable[[list[Record]], object], words: str
    ) -> None:
        path, rows = filled(run, tmp_path)
        spoil(rows)
        write(path, rows)
        before = snapshot(tmp_path) | snapshot(run.table.parent)
        assert words in refused("import", run.table, path, "--out", tmp_path / "v.parquet")
        assert snapshot(tmp_path) | snapshot(run.table.parent) == before

    @pytest.mark.parametrize(
        ("name", "content", "words"),
        [("a.csv", b"", "has no rows"), ("a.xlsx", b"no zip", "Can't read"), ("a.csv", b"\xff\xfe", "Can't read")],
    )
    def test_no_review_at_all(self, run: Run, tmp_path: Path, name: str, content: bytes, words: str) -> None:
        (tmp_path / name).write_bytes(content)
        assert words in refused("import", run.table, tmp_path / name, "--out", tmp_path / "v.parquet")
        assert "Can't read" in refused("import", run.table, tmp_path / "none.csv", "--out", tmp_path / "v.parquet")

    def test_a_part_on_demand(self, run: Run, tmp_path: Path) -> None:
        path, rows = filled(run, tmp_path)
        for row in rows[5:]:
            row["verified_label"] = row["verified_by"] = ""
        write(path, rows)
        assert "19 still open" in call("import", run.table, path, "--out", tmp_path / "v.parquet", "--partial")
        assert [slide.unclassified for slide in load_results(tmp_path / "v.parquet").slides] == [1, 6, 6, 6]

    def test_semicolons_of_a_national_spreadsheet(self, run: Run, tmp_path: Path) -> None:
        path, rows = filled(run, tmp_path)
        with path.open("w", newline="", encoding="utf-8-sig") as handle:
            writer = csv.DictWriter(handle, rows[0], delimiter=";")
            writer.writeheader()
            writer.writerows(rows)
        call("import", run.table, path, "--out", tmp_path / "v.parquet")


def other_predictions(run: Run, out: Path) -> Path:
    """The same cells, of which the program said something else."""
    outcomes = tuple(
        dataclasses.replace(
            outcome,
            label=outcome.label and DEFAULT_CLASSES.names[DEFAULT_CLASSES.names.index(outcome.label) - 1],
            probabilities=outcome.probabilities[1:] + outcome.probabilities[:1],
        )
        if isinstance(outcome, Prediction)
        else outcome
        for outcome in run.outcomes
    )
    return write_run(run.images, outcomes, out)


class TestBlind:
    @pytest.mark.parametrize("cells", [("--cells", "all"), ("--sample", "60")])
    def test_the_page_is_the_same_whatever_the_program_said(
        self, run: Run, tmp_path: Path, cells: tuple[str, ...]
    ) -> None:
        pages = []
        for table in (run.table, other_predictions(run, tmp_path / "other.parquet")):
            call("export", table, *cells, "--blind", "--out", tmp_path / "blind.html", "--overwrite")
            text = (tmp_path / "blind.html").read_text(encoding="utf-8")
            text = re.sub(
                r"(bloodcell-batch review RUN) \w+", r"\1", text.replace(load_results(table).results_id, "RUN")
            )
            pages.append(text)
        assert pages[0] == pages[1]

    def test_earlier_readers_are_hidden_too(self, run: Run, tmp_path: Path) -> None:
        path, rows = filled(run, tmp_path, "all")
        write(path, [row | {"remark": "odd"} for row in rows])
        call("import", run.table, path, "--out", tmp_path / "v.parquet")
        call("export", tmp_path / "v.parquet", "--cells", "all", "--blind", "--out", tmp_path / "blind.csv")
        shown = read(tmp_path / "blind.csv")
        assert len(shown) == len(rows)
        for name in (*PREDICTED, *ANSWERS):
            assert {row[name] for row in shown} == {""}, name
        assert [row["path"] for row in shown] != [row["path"] for row in rows]

    def test_a_blind_review_is_imported_like_the_other(self, run: Run, tmp_path: Path) -> None:
        call("export", run.table, "--blind", "--out", tmp_path / "blind.csv")
        rows = [row | {"verified_label": "ig", "verified_by": "A"} for row in read(tmp_path / "blind.csv")]
        write(tmp_path / "blind.csv", rows)
        said = call("import", run.table, tmp_path / "blind.csv", "--out", tmp_path / "v.parquet")
        assert "the reader did not see what the program said" in said
        (review,) = load_results(tmp_path / "v.parquet").reviews
        assert (review.blind, review.scope, review.cells) == (True, "flagged", 24)
        path, seen = filled(run, tmp_path)
        assert "did not see" not in call("import", run.table, path, "--out", tmp_path / "w.parquet")
        assert not load_results(tmp_path / "w.parquet").reviews[0].blind
        write(path, [{name: text for name, text in row.items() if name not in PREDICTED} for row in seen])
        assert "did not see" not in call("import", run.table, path, "--out", tmp_path / "x.parquet")

    def test_the_workbook_hides_names_as_well(self, run: Run, tmp_path: Path) -> None:
        call("export", run.table, "--blind", "--out", tmp_path / "blind.xlsx")
        page = openpyxl.load_workbook(tmp_path / "blind.xlsx")["Review"]
        widths = [width for width in page.column_dimensions.values() if width.hidden]
        hidden = {number for width in widths for number in range(width.min, width.max + 1)}
        shown = {cell.value for cell in page[1] if cell.column not in hidden}
        assert shown == {"picture", "verified_label", "verified_by", "remark"}


class TestSample:
    def test_a_sample_is_random_seeded_and_of_all_cells(self, run: Run, tmp_path: Path) -> None:
        def drawn(*options: str) -> list[str]:
            call("export", run.table, *options, "--out", tmp_path / "s.csv", "--overwrite")
            rows = read(tmp_path / "s.csv")
            assert len({row["path"] for row in rows}) == len(rows)
            return [row["path"].removeprefix("'") for row in rows]

        first = drawn("--sample", "80")
        assert len(first) == 80
        assert first == drawn("--sample", "80", "--seed", "0")
        assert sorted(first) != sorted(drawn("--sample", "80", "--seed", "1"))
        cells = [row for row in load_results(run.table).rows if row.is_cell]
        assert set(first) < {row.path for row in cells}
        # Every slide has a quarter of the cells; a hypergeometric count is outside 10-30 in one of 10,000 draws.
        assert all(10 <= sum(path.startswith(slide) for path in first) <= 30 for slide in ("007/", "2E5/", "1-2/"))
        assert set(drawn("--sample", str(len(cells)))) == {row.path for row in cells}
        said = refused("export", run.table, "--sample", "201", "--out", tmp_path / "t.csv")
        assert "has 200 cells: 201 can't be drawn" in said

    def test_accuracy_with_its_limits(self, run: Run, tmp_path: Path) -> None:
        call("export", run.table, "--sample", "50", "--seed", "3", "--out", tmp_path / "s.csv")
        rows = read(tmp_path / "s.csv")
        wrong = [row for row in rows if row["preclassification"] == "neutrophil"][:4]
        for row in rows:
            row |= {"verified_label": row["suggestion"], "verified_by": "A"}
        for row in wrong:
            row["verified_label"] = "not_a_cell"
        write(tmp_path / "s.csv", rows)
        known = sum(row["preclassification"] != "unclassified" for row in rows)
        low, high = clopper_pearson(known - 4, known)
        said = call("import", run.table, tmp_path / "s.csv", "--out", tmp_path / "v.parquet")
        limits = f"(95 % limits {100 * low:.1f} to {100 * high:.1f})"
        assert f"agreement {known - 4} of {known}, {100 * (known - 4) / known:.1f} % {limits}" in said
        assert "over a random sample of 50 cells, seed 3" in said
        (review,) = load_results(tmp_path / "v.parquet").reviews
        assert review.scope == "sample 50 seed 3"
        assert review.agreement.agreed_limits == [low, high]
        write(tmp_path / "s.csv", rows[1:])
        said = refused("import", run.table, tmp_path / "s.csv", "--out", tmp_path / "w.parquet")
        assert "1 of 50 cells is missing" in said

    def test_it_is_not_one_of_the_flagged_only(self, run: Run, tmp_path: Path) -> None:
        result = CliRunner().invoke(
            app, ["review", "export", str(run.table), "--out", "x.csv", "--sample", "5", "--cells", "flagged"]
        )
        assert result.exit_code == 2
        assert "exclude each other" in result.output
