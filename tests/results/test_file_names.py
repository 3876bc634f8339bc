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
        assert paths.slides == Path("some/folder/results.v2.slides.parquet")
        assert paths.run == Path("some/folder/results.v2.run.json")
        assert paths.journal == Path("some/folder/results.v2.parquet.partial")
        assert paths.suffix == ".parquet"

    def test_the_image_table_is_published_last(self) -> None:
        paths = output_paths("results.csv")
        assert paths.all() == (paths.slides, paths.run, paths.images)

    def test_stdout_has_no_paths(self) -> None:
        paths = output_paths("-")
        assert paths.all() == ()
        assert paths.journal is None
        assert paths.suffix == "-"

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
