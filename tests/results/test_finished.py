import json
from dataclasses import replace
from pathlib import Path

import openpyxl
import pyarrow.parquet as pq
import pytest
from finished_run import SLIDES, Run, write_run

from bloodcell_batch.errors import InputError
from bloodcell_batch.records import Outcome, Prediction, Reason
from bloodcell_batch.results.finished import load_results
from bloodcell_batch.results.pseudonyms import Pseudonyms


class TestLoad:
    @pytest.mark.parametrize("name", ["r.csv", "r.xlsx", "other.parquet"])
    def test_every_format_gives_the_same_rows_and_identity(self, run: Run, tmp_path: Path, name: str) -> None:
        here, there = load_results(run.table), load_results(run.copy(tmp_path / name))
        assert there.images.equals(here.images)
        assert there.results_id == here.results_id
        assert there.rows == here.rows

    def test_slides_are_counted_as_classify_counts_them(self, run: Run) -> None:
        slides = load_results(run.table).slides
        assert [slide.slide_id for slide in slides] == sorted(SLIDES)
        for slide in slides:
            assert (slide.found, slide.classified, slide.unclassified, slide.duplicates, slide.failed) == (
                53,
                44,
                6,
                2,
                1,
            )
            assert slide.wbc_counted == 44
            assert slide.shares["neutrophil"].count == 24
            assert (slide.alerts, slide.withheld) == ((), None)

    def test_a_changed_table_is_refused(self, run: Run, tmp_path: Path) -> None:
        path = run.copy(tmp_path / "r.csv")
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(",lymphocyte,", ",neutrophil,", 1), encoding="utf-8")
        with pytest.raises(InputError, match=r"r\.csv does not have the rows that its run record") as caught:
            load_results(path)
        assert "as they were written" in caught.value.hint

    def test_columns_of_another_version_are_refused_by_name(self, run: Run, tmp_path: Path) -> None:
        path = run.copy(tmp_path / "r.csv")
        record = path.with_name("r.run.json")
        document = json.loads(record.read_text(encoding="utf-8")) | {"schema_version": "2", "bloodcell_batch": "0.9"}
        record.write_text(json.dumps(document), encoding="utf-8")
        with pytest.raises(
            InputError, match=r"r\.csv has the columns of schema version 2, this program reads 5"
        ) as caught:
            load_results(path)
        assert "Use version 0.9" in caught.value.hint

    def test_groups_are_of_cells_without_a_class(self, run: Run, tmp_path: Path) -> None:
        def known(outcome: Outcome) -> Outcome:
            if not isinstance(outcome, Prediction) or outcome.reason is not Reason.LOW_CONFIDENCE:
                return outcome
            return replace(outcome, group="granulocyte", group_confidence=0.97)

        table = write_run(run.images, tuple(map(known, run.outcomes)), tmp_path / "r.csv")
        results = load_results(table)
        assert {tuple(slide.group_counts.items()) for slide in results.slides} == {
            (("mononuclear", 0), ("granulocyte", 3))
        }
        row = next(row for row in results.rows if row.group)
        assert row.why_review == "low_confidence; surely granulocyte (0.970)"
        verified = replace(
            results, rows=tuple(replace(one, verified_label="ig") if one == row else one for one in results.rows)
        )
        assert sum(slide.group_counts["granulocyte"] for slide in verified.slides) == 11

    def test_a_table_that_a_spreadsheet_saved_again_is_the_same(self, run: Run, tmp_path: Path) -> None:
        path = run.copy(tmp_path / "r.xlsx")
        before = load_results(path)
        workbook = openpyxl.load_workbook(path)
        workbook["Cells"].column_dimensions["A"].width = 70
        workbook.save(path)
        assert load_results(path).results_id == before.results_id

    def test_rows_that_do_not_add_up_are_refused_also_without_an_identity(self, run: Run, tmp_path: Path) -> None:
        path = run.copy(tmp_path / "r.parquet")
        pq.write_table(pq.read_table(path).slice(1), path)
        record = path.with_name("r.run.json")
        document = json.loads(record.read_text(encoding="utf-8"))
        del document["results_id"]
        record.write_text(json.dumps(document), encoding="utf-8")
        with pytest.raises(InputError, match="run record says"):
            load_results(path)

    @pytest.mark.parametrize(
        ("name", "content", "words"),
        [
            ("r.parquet", b"not parquet", "Can't read the table"),
            ("r.xlsx", b"not a zip", "Can't read the table"),
            ("r.csv", b"path,slide_id\na,b\n", "no column 'status'"),
            ("r.txt", b"", "is not a table"),
        ],
    )
    def test_what_is_no_result_table(self, tmp_path: Path, name: str, content: bytes, words: str) -> None:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=words):
            load_results(tmp_path / name)

    def test_missing_files(self, run: Run, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="There is no file"):
            load_results(tmp_path / "r.csv")
        run.copy(tmp_path / "r.csv")
        (tmp_path / "r.run.json").unlink()
        with pytest.raises(InputError, match="run record"):
            load_results(tmp_path / "r.csv")

    def test_a_value_of_the_wrong_type_is_named(self, run: Run, tmp_path: Path) -> None:
        path = run.copy(tmp_path / "r.csv")
        path.write_text(path.read_text(encoding="utf-8").replace(",0.5,", ",half,", 1), encoding="utf-8")
        with pytest.raises(InputError, match="'half' in column 'confidence'"):
            load_results(path)


class TestPseudonyms:
    def test_nothing_that_names_the_slide_or_the_image_is_left(self, run: Run) -> None:
        names = Pseudonyms(b"a key of sixteen bytes or more")
        hidden = load_results(run.table).pseudonymised(names)
        for row, original in zip(hidden.rows, load_results(run.table).rows, strict=True):
            assert row.slide_id == names.slide(original.slide_id) != original.slide_id
            assert row.path.startswith(f"{row.slide_id}/C-")
            assert bool(row.digest) == bool(original.sha256)
            assert not original.sha256 or row.digest != original.sha256
            assert row.file == original.file
        assert len({row.path for row in hidden.rows}) == len(hidden.rows)
        kept = {row.path for row in hidden.rows}
        assert all(row.duplicate_of in kept for row in hidden.rows if row.duplicate_of)

    def test_codes_depend_on_the_key_and_on_nothing_else(self) -> None:
        one, same, other = Pseudonyms(b"k" * 16), Pseudonyms(b"k" * 16), Pseudonyms(b"K" * 16)
        assert one.slide("007") == same.slide("007") != other.slide("007")
        assert one.slide("007") != one.slide("7")
