from pathlib import Path

import pytest

from bloodcell_batch.errors import UsageError
from bloodcell_batch.results.file_names import (
    journal_folder_of,
    output_paths,
    result_files,
    run_record_of,
    shard_file_of,
    slide_table_of,
)


class TestOutputPaths:
    def test_three_files_belong_to_one_output(self) -> None:
        paths = output_paths("some/folder/results.v2.parquet")
        assert paths.images == Path("some/folder/results.v2.parquet")
        assert paths.tables[0].slides == Path("some/folder/results.v2.slides.parquet")
        assert paths.run == Path("some/folder/results.v2.run.json")
        assert paths.journal == Path("some/folder/results.v2.parquet.partial")
        assert paths.tables[0].suffix == ".parquet"

    def test_the_image_table_is_published_last(self) -> None:
        paths = output_paths("results.csv")
        assert [path.name for path in paths.all()] == ["results.slides.csv", "results.run.json", "results.csv"]

    def test_stdout_has_no_paths(self) -> None:
        paths = output_paths("-")
        assert paths.all() == ()
        assert paths.journal is None
        assert paths.tables == ()

    def test_several_formats_share_name_folder_and_record(self) -> None:
        paths = output_paths(["f/r.parquet", "f/r.XLSX", "f/r.csv"], "excel")
        names = ["r.slides.parquet", "r.slides.csv", "r.run.json", "r.csv", "r.XLSX", "r.parquet"]
        assert [path.name for path in paths.all()] == names
        assert [files.suffix for files in paths.tables] == [".parquet", ".xlsx", ".csv"]
        assert (paths.images, paths.journal) == (Path("f/r.parquet"), Path("f/r.parquet.partial"))

    @pytest.mark.parametrize(
        ("outs", "words"),
        [
            (["r.csv", "s.xlsx"], "can't be formats of one run"),
            (["r.csv", "f/r.xlsx"], "can't be formats of one run"),
            (["r.csv", "-"], "can't be formats of one run"),
            (["-", "r.csv"], "can't be formats of one run"),
            (["-", "-"], "can't be formats of one run"),
            (["r.csv", "r.CSV"], "Two of --out end in .csv"),
            (["r.csv", "r.txt"], "which is not an output format"),
        ],
    )
    def test_what_cant_be_written_by_one_run(self, outs: list[str], words: str) -> None:
        with pytest.raises(UsageError) as caught:
            output_paths(outs)
        assert words in caught.value.message
        assert caught.value.hint

    def test_a_dialect_needs_csv_among_them(self) -> None:
        with pytest.raises(UsageError, match="no meaning"):
            output_paths(["r.parquet", "r.xlsx"], "excel")

    @pytest.mark.parametrize("out", ["results", "results.txt", "results.csv.gz", ".csv", ""])
    def test_other_suffixes_are_a_usage_error(self, out: str) -> None:
        with pytest.raises(UsageError) as caught:
            output_paths(out)
        assert ".parquet" in caught.value.hint
        assert ".csv" in caught.value.hint


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".xlsx", ".CSV"])
def test_all_names_follow_from_the_one_of_the_image_table(suffix: str) -> None:
    table = Path("some/folder") / f"a.b{suffix}"
    names = {file.name for file in (run_record_of(table), shard_file_of(table), journal_folder_of(table))}
    assert names == {"a.b.run.json", "a.b.shard.parquet", f"a.b{suffix}.partial"}
    slides = slide_table_of(table)
    assert slides == (None if suffix == ".xlsx" else Path(f"some/folder/a.b.slides{suffix}"))
    assert result_files(table) == tuple(file for file in (slides, run_record_of(table), table) if file)


def test_several_files_cant_go_to_stdout() -> None:
    with pytest.raises(UsageError, match="can't go to stdout"):
        result_files(Path("-"))
