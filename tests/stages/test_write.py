import csv
import io
import os
import re
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import openpyxl
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from default_tables import IMAGE_SCHEMA, SLIDE_SCHEMA
from filelock import FileLock
from small_record import small_record

from bloodcell_batch.cell_classes import DEFAULT_CLASSES
from bloodcell_batch.config.fields import CsvDialect
from bloodcell_batch.differential.arithmetic import leukocyte_shares
from bloodcell_batch.errors import ExitCode, LockedError, OutputError, UsageError
from bloodcell_batch.files.spreadsheets import EXCEL_MARK
from bloodcell_batch.integrity.digests import file_sha256
from bloodcell_batch.progress import SlideDifferential
from bloodcell_batch.records import (
    ImageFacts,
    ImageFile,
    Outcome,
    Prediction,
    Quality,
    Reason,
    Rejection,
    Status,
)
from bloodcell_batch.results import journal as journals
from bloodcell_batch.results.file_names import OutputPaths, output_paths
from bloodcell_batch.results.formats import ONE_FILE, OUTPUT_FORMATS
from bloodcell_batch.results.irreplaceable import check_results
from bloodcell_batch.results.journal import Journal, open_journal
from bloodcell_batch.results.run_record import RunRecord, read_record
from bloodcell_batch.slides.matches import CrossSlideMatch
from bloodcell_batch.stages.write import publish_run

FACTS = ImageFacts("ab" * 32, bytes(range(32)), 360, 363, Quality(120.5, 30.25, 99.0), bytes(16))


def _cell(path: str, label: str = "neutrophil") -> Prediction:
    shares = tuple(0.93 if name == label else 0.01 for name in DEFAULT_CLASSES.names)
    file = ImageFile(path, path.rpartition("/")[0], 1234, 0)
    return Prediction(file, FACTS, Status.CLASSIFIED, None, label, 0.93, shares, 1.1, ())


def _failure(path: str) -> Rejection:
    return Rejection(ImageFile(path, path.rpartition("/")[0], 0, 0), Status.FAILED, Reason.EMPTY, "no bytes")


def _slide(slide_id: str) -> SlideDifferential:
    return SlideDifferential(
        slide_id,
        3,
        2,
        0,
        0,
        1,
        2,
        leukocyte_shares({"neutrophil": 2}, DEFAULT_CLASSES.leukocytes),
        0,
        {"erythroblast": 0, "platelet": 0, "other": 0, "not_a_cell": 0},
        0.0,
        0,
        "<100",
        (),
    )


def _publish(
    out: Path,
    outcomes: Iterable[Outcome],
    slides: Sequence[SlideDifferential] = (),
    matches: Sequence[CrossSlideMatch] = (),
) -> OutputPaths:
    paths = output_paths(str(out))
    with _open(paths) as journal:
        for outcome in outcomes:
            journal.append([outcome])
        publish_run(journal, paths, slides, matches, "", small_record)
    return paths


def _open(paths: OutputPaths) -> AbstractContextManager[Journal]:
    return open_journal(paths.journal, str(paths.images), DEFAULT_CLASSES)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


class TestNames:
    def test_an_upper_case_suffix_is_understood(self, tmp_path: Path) -> None:
        paths = _publish(tmp_path / "RESULTS.CSV", [_cell("s/a.jpg")])
        assert _names(tmp_path) == ["RESULTS.CSV", "RESULTS.run.json", "RESULTS.slides.CSV"]
        assert paths.images is not None
        assert len(_rows(paths.images)) == 1


class TestCheckWritable:
    @pytest.mark.parametrize("existing", ["r.csv", "r.slides.csv", "r.run.json"])
    def test_existing_results_need_overwrite(self, tmp_path: Path, existing: str) -> None:
        (tmp_path / existing).touch()
        paths = output_paths(str(tmp_path / "r.csv"))
        with pytest.raises(OutputError, match="exists already") as caught:
            check_results(paths, overwrite=False)
        assert "--overwrite" in caught.value.hint
        check_results(paths, overwrite=True)

    @pytest.mark.parametrize("overwrite", [False, True])
    def test_a_folder_is_never_replaced(self, tmp_path: Path, *, overwrite: bool) -> None:
        (tmp_path / "r.csv").mkdir()
        with pytest.raises(OutputError, match="is a folder"):
            check_results(output_paths(str(tmp_path / "r.csv")), overwrite=overwrite)

    def test_a_missing_folder(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match="There is no folder"):
            check_results(output_paths(str(tmp_path / "none" / "r.csv")), overwrite=False)

    def test_a_file_as_folder(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(OutputError, match="There is no folder"):
            check_results(output_paths(str(tmp_path / "file" / "r.csv")), overwrite=False)

    def test_a_folder_without_write_permission(self, tmp_path: Path) -> None:
        folder = tmp_path / "locked"
        folder.mkdir(mode=0o500)
        if os.access(folder, os.W_OK):
            pytest.skip("this user may write everywhere")
        with pytest.raises(OutputError, match="can't be written"):
            check_results(output_paths(str(folder / "r.csv")), overwrite=False)

    def test_stdout_is_always_writable(self) -> None:
        check_results(output_paths("-"), overwrite=False)


class TestPublish:
    @pytest.mark.parametrize("suffix", OUTPUT_FORMATS)
    def test_the_files_are_there_and_nothing_else(self, tmp_path: Path, suffix: str) -> None:
        _publish(tmp_path / f"r{suffix}", [_cell("s/a.jpg"), _failure("s/b.jpg")], [_slide("s")])
        tables = [f"r{suffix}"] if suffix in ONE_FILE else [f"r{suffix}", f"r.slides{suffix}"]
        assert _names(tmp_path) == sorted([*tables, "r.run.json"])
        record = read_record(tmp_path / f"r{suffix}")
        assert record.model == small_record().model
        assert record.tables_sha256 == {
            name: file_sha256(tmp_path / table) for name, table in zip(("images", "slides"), tables, strict=False)
        }
        assert record.record_sha256 == record.content_sha256()

    def test_parquet_has_the_declared_schemas(self, tmp_path: Path) -> None:
        _publish(tmp_path / "r.parquet", [_failure("s/b.jpg")], [_slide("s")])
        images, slides = pq.read_table(tmp_path / "r.parquet"), pq.read_table(tmp_path / "r.slides.parquet")
        assert images.schema.equals(IMAGE_SCHEMA, check_metadata=True)
        assert slides.schema.equals(SLIDE_SCHEMA, check_metadata=True)
        assert images.column("label").null_count == 1
        assert slides.column("slide_id").to_pylist() == ["s"]

    def test_rows_keep_their_order(self, tmp_path: Path) -> None:
        outcomes: list[Outcome] = [_cell("s/b.jpg"), _failure("s/a.jpg"), _cell("r/z.jpg", "platelet")]
        _publish(tmp_path / "r.csv", outcomes)
        rows = _rows(tmp_path / "r.csv")
        assert [row["path"] for row in rows] == ["s/b.jpg", "s/a.jpg", "r/z.jpg"]
        assert [row["label"] for row in rows] == ["neutrophil", "", "platelet"]
        assert [row["reason"] for row in rows] == ["", "empty", ""]

    @pytest.mark.parametrize("suffix", OUTPUT_FORMATS)
    def test_equal_runs_give_equal_bytes(self, tmp_path: Path, suffix: str) -> None:
        for folder in ("one", "two"):
            (tmp_path / folder).mkdir()
            _publish(tmp_path / folder / f"r{suffix}", [_cell("s/a.jpg"), _failure("s/b.jpg")], [_slide("s")])
        for name in [name for name in _names(tmp_path / "one") if name.endswith(suffix)]:
            assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()

    @pytest.mark.parametrize("suffix", OUTPUT_FORMATS)
    def test_no_rows_give_an_empty_table(self, tmp_path: Path, suffix: str) -> None:
        _publish(tmp_path / f"r{suffix}", [])
        if suffix == ".parquet":
            table = pq.read_table(tmp_path / "r.parquet")
            assert table.num_rows == 0
            assert table.schema.equals(IMAGE_SCHEMA)
        elif suffix == ".xlsx":
            assert [
                cell.value for cell in openpyxl.load_workbook(tmp_path / "r.xlsx")["Cells"][1]
            ] == IMAGE_SCHEMA.names
        else:
            assert (tmp_path / "r.csv").read_text(encoding="utf-8") == ",".join(IMAGE_SCHEMA.names) + "\n"

    @pytest.mark.parametrize("rows", [1, 4, 5, 8, 23])
    def test_parts_are_joined_without_a_seam(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
        outcomes: list[Outcome] = [
            _failure(f"s/{i:03d}.jpg") if i % 3 else _cell(f"s/{i:03d}.jpg") for i in range(rows)
        ]
        _publish(tmp_path / "whole.csv", outcomes)
        monkeypatch.setattr(journals, "ROWS_PER_PART", 4)
        _publish(tmp_path / "parts.csv", outcomes)
        assert (tmp_path / "parts.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
        _publish(tmp_path / "parts.parquet", outcomes)
        file = pq.ParquetFile(tmp_path / "parts.parquet")
        assert file.metadata.num_rows == rows
        assert file.metadata.num_row_groups == -(-rows // 4)
        assert file.schema_arrow.equals(IMAGE_SCHEMA, check_metadata=True)
        assert file.read().column("path").to_pylist() == [outcome.file.path for outcome in outcomes]

    def test_pictures_in_two_slides_are_marked_on_both_sides(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(journals, "ROWS_PER_PART", 2)
        names = ["s/a.jpg", "s/b.jpg", "t/a.jpg", "t/\udcff.jpg"]
        matches = [CrossSlideMatch("s/b.jpg", "s", "t/\udcff.jpg", "t", 3)]
        _publish(tmp_path / "r.csv", [_cell(name) for name in names], matches=matches)
        rows = _rows(tmp_path / "r.csv")
        assert [row["review"] for row in rows] == ["false", "true", "false", "true"]
        assert [row["review_reason"] for row in rows] == ["", "cross_slide_duplicate", "", "cross_slide_duplicate"]

    def test_the_csv_is_read_back_by_pyarrow(self, tmp_path: Path) -> None:
        _publish(tmp_path / "r.csv", [_cell('s/a, "quoted"\n.jpg'), _failure("s/b.jpg")])
        options = pyarrow.csv.ParseOptions(newlines_in_values=True)
        types = pyarrow.csv.ConvertOptions(column_types=IMAGE_SCHEMA, strings_can_be_null=True)
        table = pyarrow.csv.read_csv(tmp_path / "r.csv", parse_options=options, convert_options=types)
        assert table.column("path").to_pylist() == ['s/a, "quoted"\n.jpg', "s/b.jpg"]
        assert table.column("p_neutrophil").to_pylist() == [0.93, None]

    @pytest.mark.parametrize(("dialect", "separator"), [("excel", ","), ("excel-comma", ";")])
    def test_the_dialects_for_spreadsheets_reach_both_tables_and_stdout(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], dialect: CsvDialect, separator: str
    ) -> None:
        for out in (str(tmp_path / "r.csv"), "-"):
            paths = output_paths(out, dialect)
            with _open(paths) as journal:
                journal.append([_cell("=A1/a.jpg")])
                publish_run(journal, paths, [_slide("=A1")], [], "", small_record)
        texts = [(tmp_path / name).read_text(encoding="utf-8") for name in ("r.csv", "r.slides.csv")]
        for text in [*texts, capsys.readouterr().out]:
            assert text.startswith(EXCEL_MARK)
            assert re.search(rf"\n'=A1(/a\.jpg)?{separator}", text)

    @pytest.mark.parametrize("out", ["r.parquet", "r.xlsx"])
    def test_the_excel_dialect_is_of_csv_only(self, out: str) -> None:
        with pytest.raises(UsageError, match="no meaning"):
            output_paths(out, "excel")

    def test_stdout_gets_the_image_table(self, capsys: pytest.CaptureFixture[str]) -> None:
        paths = output_paths("-")
        with _open(paths) as journal:
            journal.append([_cell("s/a.jpg")])
            journal.append([_failure("s/ü.jpg")])
            publish_run(journal, paths, [_slide("s")], [], "", small_record)
        text = capsys.readouterr().out
        assert "schema_version" not in text
        rows = list(csv.DictReader(io.StringIO(text)))
        assert [row["path"] for row in rows] == ["s/a.jpg", "s/ü.jpg"]
        assert text.count("\n") == 3


class TestFailure:
    @pytest.mark.parametrize("when", ["first", "second"])
    def test_a_failing_writer_leaves_the_old_results(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
    ) -> None:
        _publish(tmp_path / "r.csv", [_cell("s/a.jpg")], [_slide("s")])
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        calls: list[Path] = []
        real = OUTPUT_FORMATS[".csv"].write

        def full_disk(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
            calls.append(path)
            if when == "second" and len(calls) == 1:
                real(path, schema, batches)
                return
            path.write_bytes(b"half a row")
            raise OSError(28, "No space left on device")

        monkeypatch.setitem(OUTPUT_FORMATS, ".csv", replace(OUTPUT_FORMATS[".csv"], write=full_disk))
        with pytest.raises(OutputError, match="No space left on device") as caught:
            _publish(tmp_path / "r.csv", [_cell("s/b.jpg")], [_slide("t")])
        assert "Nothing was published" in caught.value.hint
        left = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
        assert left == before

    def test_a_failing_run_record_leaves_the_old_results(self, tmp_path: Path) -> None:
        paths = _publish(tmp_path / "r.parquet", [_cell("s/a.jpg")])
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

        def broken() -> RunRecord:
            raise RuntimeError("no record")

        with _open(paths) as journal:
            journal.append([_cell("s/b.jpg")])
            with pytest.raises(RuntimeError, match="no record"):
                publish_run(journal, paths, [], [], "", broken)
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before

    def test_a_file_in_the_place_of_the_journal(self, tmp_path: Path) -> None:
        (tmp_path / "r.csv.partial").touch()
        with pytest.raises(OutputError, match=r"r\.csv\.partial"), _open(output_paths(str(tmp_path / "r.csv"))):
            pytest.fail("the journal opened")


class TestLock:
    def test_a_second_run_on_the_same_output_is_refused(self, tmp_path: Path) -> None:
        paths = output_paths(str(tmp_path / "r.csv"))
        with _open(paths) as journal:
            journal.append([_cell("s/a.jpg")])
            with pytest.raises(LockedError, match="Another run is writing") as caught, _open(paths):
                pytest.fail("two runs at once")
            assert caught.value.exit_code == ExitCode.LOCKED
            publish_run(journal, paths, [], [], "", small_record)
        assert _names(tmp_path) == ["r.csv", "r.run.json", "r.slides.csv"]

    def test_a_lock_of_another_holder_is_respected(self, tmp_path: Path) -> None:
        folder = tmp_path / "r.csv.partial"
        folder.mkdir()
        (folder / "part-000000.parquet").write_bytes(b"of the other run")
        paths = output_paths(str(tmp_path / "r.csv"))
        with FileLock(folder / "lock"), pytest.raises(LockedError), _open(paths):
            pytest.fail("two runs at once")
        assert (folder / "part-000000.parquet").read_bytes() == b"of the other run"

    def test_two_outputs_in_one_folder_do_not_meet(self, tmp_path: Path) -> None:
        paths = output_paths(str(tmp_path / "a.csv"))
        with _open(paths) as one:
            _publish(tmp_path / "b.csv", [_cell("s/b.jpg")])
            one.append([_cell("s/a.jpg")])
            publish_run(one, paths, [], [], "", small_record)
        assert [row["path"] for row in _rows(tmp_path / "a.csv")] == ["s/a.jpg"]
        assert [row["path"] for row in _rows(tmp_path / "b.csv")] == ["s/b.jpg"]

    def test_parts_of_a_killed_run_are_removed(self, tmp_path: Path) -> None:
        folder = tmp_path / "r.csv.partial"
        folder.mkdir()
        for number in range(3):
            (folder / f"part-{number:06d}.parquet").write_bytes(b"stale")
        (folder / "lock").touch()
        _publish(tmp_path / "r.csv", [_cell("s/a.jpg")])
        assert [row["path"] for row in _rows(tmp_path / "r.csv")] == ["s/a.jpg"]
        assert _names(tmp_path) == ["r.csv", "r.run.json", "r.slides.csv"]
