"""Merged shards are the plain run, byte for byte; what does not fit together is refused."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from messy_slides import QUICK, draw_messy_slides, quick_backend
from program_commands import app
from pydantic import ValidationError
from typer.testing import CliRunner

from bloodcell_batch.config.base import not_compared
from bloodcell_batch.config.classify import ClassifyConfig
from bloodcell_batch.config.merge import MergeConfig
from bloodcell_batch.errors import BloodcellBatchError, InputError, OutputError, UsageError
from bloodcell_batch.results.run_record import RunRecord
from bloodcell_batch.runs.merge import merge_shards
from bloodcell_batch.runs.pipeline import classify_slides

COUNT = 3
REVIEW = {
    "imported": "2026-01-02T03:04:05+00:00",
    "program": "0",
    "version": 1,
    "scope": "all",
    "cells": 0,
    "cells_left_open": 0,
    "verified_by": [],
    "agreement": {"cells": 0, "agreed": 0, "kappa": None, "per_class": {}},
}


def split(root: Path, folder: Path, suffix: str, **options: object) -> list[Path]:
    tables = [folder / f"shard-{index}{suffix}" for index in range(COUNT)]
    for index, table in enumerate(tables):
        classify_slides(root, str(table), QUICK.model_copy(update=options | {"shard": f"{index}/{COUNT}"}))
    return tables


@pytest.fixture(scope="module", autouse=True)
def shared_backend() -> Iterator[None]:
    with quick_backend():
        yield


@pytest.fixture(scope="module")
def messy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_messy_slides(tmp_path_factory.mktemp("messy"))


@pytest.fixture(scope="module")
def plain(messy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    table = tmp_path_factory.mktemp("plain") / "results.parquet"
    classify_slides(messy, str(table), QUICK)
    return table


@pytest.fixture(scope="module")
def shards(messy: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return split(messy, tmp_path_factory.mktemp("shards"), ".parquet")


@pytest.fixture
def copies(shards: list[Path], tmp_path: Path) -> list[Path]:
    """The same shards in a folder that a test may spoil."""
    shutil.copytree(shards[0].parent, tmp_path / "copies")
    return [tmp_path / "copies" / shard.name for shard in shards]


def change_record(table: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = table.with_name(f"{table.stem}.run.json")
    record = json.loads(path.read_text(encoding="utf-8"))
    change(record)
    try:
        again = RunRecord.from_document(record)
    except ValidationError:
        path.write_text(json.dumps(record), encoding="utf-8")
    else:
        path.write_text(again.with_digests(again.results_id, {"images": table}).as_json(), encoding="utf-8")


def refusal(tables: list[Path], out: Path) -> BloodcellBatchError:
    with pytest.raises(InputError) as caught:
        merge_shards(tables, str(out))
    assert caught.value.hint
    assert not list(out.parent.glob(f"{out.stem}.*"))
    return caught.value


def same_tables(one: Path, other: Path) -> bool:
    pairs = [(path.with_name(f"{path.stem}.slides{path.suffix}"), path) for path in (one, other)]
    return all(a.read_bytes() == b.read_bytes() for a, b in zip(*pairs, strict=True))


def test_the_messy_slides_have_all_that_matters(plain: Path) -> None:
    record = json.loads(plain.with_name("results.run.json").read_text(encoding="utf-8"))
    assert all(record["counts"][kind] for kind in ("unclassified", "exact_duplicate", "failed", "ignored"))
    matches = record["cross_slide_duplicates"]
    assert not any("bla" in path for match in matches for path in match["paths"])  # blank and black ones
    assert {0} < {match["distance"] for match in matches}


def test_merged_tables_are_those_of_the_plain_run(plain: Path, shards: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "merged.parquet"
    result = merge_shards(shards[::-1], str(out))
    assert same_tables(plain, out)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "merged.parquet",
        "merged.run.json",
        "merged.slides.parquet",
    ]
    assert {table.num_rows for table in map(pq.read_table, shards)} != {0}
    assert result.counts.balanced()


def test_the_record_says_what_the_plain_one_says_and_names_the_shards(
    plain: Path, shards: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "merged.parquet"
    merge_shards(shards, str(out), command=["bloodcell-batch", "merge"])
    expected = json.loads(plain.with_name("results.run.json").read_text(encoding="utf-8"))
    record = json.loads(out.with_name("merged.run.json").read_text(encoding="utf-8"))
    of_their_own = {"command", "started", "finished", "throughput", "timings_seconds", "record_sha256"}
    for name in expected.keys() - of_their_own:
        assert record[name] == expected[name], name
    assert record["command"] == ["bloodcell-batch", "merge"]
    assert [(one["results"], one["shard"]["index"]) for one in record["shards"]] == [
        (str(shard), index) for index, shard in enumerate(shards)
    ]
    assert sum(one["counts"]["found"] for one in record["shards"]) == record["counts"]["found"]


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        (".csv", {"dedup": "exact"}),
        (".csv", {"csv_dialect": "excel-comma"}),
        (".xlsx", {}),
        (".parquet", {"dedup": "off"}),
    ],
)
def test_every_format_and_kind_of_duplicates(messy: Path, tmp_path: Path, suffix: str, options: dict[str, Any]) -> None:
    plain, out = tmp_path / f"plain{suffix}", tmp_path / f"merged{suffix}"
    classify_slides(messy, str(plain), QUICK.model_copy(update=options))
    merge_shards(
        split(messy, tmp_path, suffix, **options),
        str(out),
        MergeConfig(csv_dialect=options.get("csv_dialect", "plain")),
    )
    if suffix == ".xlsx":  # the workbook holds the run record, with its times
        plain, out = (path.with_name(f"{path.stem}-again.parquet") for path in (plain, out))
        classify_slides(messy, str(plain), QUICK.model_copy(update=options))
        merge_shards([tmp_path / f"shard-{i}.xlsx" for i in range(COUNT)], str(out))
    assert same_tables(plain, out)


def test_shards_of_another_share_of_unclassified_cells(messy: Path, plain: Path, tmp_path: Path) -> None:
    """The share beyond which percentages are withheld is that of the shards, in the tables and in the record."""
    loose, out = tmp_path / "loose.parquet", tmp_path / "merged.parquet"
    classify_slides(messy, str(loose), QUICK.model_copy(update={"max_unclassified": 0.99}))
    merge_shards(split(messy, tmp_path, ".parquet", max_unclassified=0.99), str(out))
    assert same_tables(loose, out)
    withheld = [
        pq.read_table(table.with_name(f"{table.stem}.slides.parquet")).column("withheld").to_pylist()
        for table in (plain, out)
    ]
    assert withheld[0].count("too_many_unclassified") > withheld[1].count("too_many_unclassified")
    record = json.loads(out.with_name("merged.run.json").read_text(encoding="utf-8"))
    assert record["max_unclassified"] == record["config"]["max_unclassified"] == 0.99


def test_a_shard_without_slides_is_complete(messy: Path, plain: Path, tmp_path: Path) -> None:
    tables = []
    for index in range(10):
        tables.append(tmp_path / f"{index}.parquet")
        classify_slides(messy, str(tables[-1]), QUICK.model_copy(update={"shard": f"{index}/10"}))
    assert 0 in {pq.read_metadata(table).num_rows for table in tables}
    merge_shards(tables, str(tmp_path / "merged.parquet"))
    assert same_tables(plain, tmp_path / "merged.parquet")


def test_the_files_beside_the_tables_may_be_named_too(plain: Path, shards: list[Path], tmp_path: Path) -> None:
    everything = sorted(shards[0].parent.glob("*.parquet"))
    assert len(everything) == 3 * COUNT
    merge_shards(everything, str(tmp_path / "merged.parquet"))
    assert same_tables(plain, tmp_path / "merged.parquet")


class TestRefusals:
    def test_a_missing_shard(self, shards: list[Path], tmp_path: Path) -> None:
        assert "Missing 1 of 3 shards: 1/3" in refusal([shards[0], shards[2]], tmp_path / "m.parquet").message

    def test_a_shard_twice(self, shards: list[Path], tmp_path: Path) -> None:
        assert "both shard 0/3" in refusal([*shards, shards[0]], tmp_path / "m.parquet").message

    def test_another_count(self, copies: list[Path], tmp_path: Path) -> None:
        change_record(copies[1], lambda record: record["shard"].update(count=4))
        assert "is shard 1/4" in refusal(copies, tmp_path / "m.parquet").message

    @pytest.mark.parametrize(
        ("words", "change"),
        [
            ("the model", lambda record: record["model"].update(sha256="00")),
            ("the threshold of the outlier", lambda record: record["thresholds"].update(outlier=9.0)),
            ("the option dedup_distance", lambda record: record["config"].update(dedup_distance=3)),
            ("the option max_unclassified", lambda record: record["config"].update(max_unclassified=0.5)),
            ("the option batch_size", lambda record: record["config"].update(batch_size=5)),
            ("the files that they found", lambda record: record["shard"].update(listing_sha256="00")),
            ("made by version 9", lambda record: record.update(bloodcell_batch="9")),
            ("reviewed already", lambda record: record.update(reviews=[REVIEW])),
            ("its run record says 99", lambda record: record["counts"].update(failed=99)),
            ("not a run record", lambda record: record.pop("thresholds")),
            ("of another run", lambda record: record.update(started="2020-01-01")),
        ],
    )
    def test_what_no_single_run_could_have_made(
        self, copies: list[Path], tmp_path: Path, words: str, change: Callable[[dict[str, Any]], object]
    ) -> None:
        change_record(copies[2], change)
        assert words in refusal(copies, tmp_path / "m.parquet").message

    def test_a_plain_run(self, plain: Path, tmp_path: Path) -> None:
        assert "made without --shard" in refusal([plain], tmp_path / "m.parquet").message

    @pytest.mark.parametrize("name", ["shard-1.run.json", "shard-1.shard.parquet", "shard-1.parquet"])
    def test_a_file_that_was_left_behind(self, copies: list[Path], tmp_path: Path, name: str) -> None:
        (copies[1].parent / name).unlink()
        assert name in refusal(copies, tmp_path / "m.parquet").message

    @pytest.mark.parametrize("content", ["", "[]", "{", "[" * 100_000])
    def test_a_record_that_is_none(self, copies: list[Path], tmp_path: Path, content: str) -> None:
        copies[0].with_name("shard-0.run.json").write_text(content, encoding="utf-8")
        assert re.search(
            r"shard-0\.run\.json is not (a run record|JSON)", refusal(copies, tmp_path / "m.parquet").message
        )

    def test_rows_in_another_order(self, copies: list[Path], tmp_path: Path) -> None:
        table = pq.read_table(copies[0])
        pq.write_table(table.take(list(range(table.num_rows))[::-1]), copies[0])
        change_record(copies[0], dict)
        assert "does not fit the files beside it" in refusal(copies, tmp_path / "m.parquet").message

    def test_a_table_that_was_changed(self, copies: list[Path], tmp_path: Path) -> None:
        pq.write_table(pq.read_table(copies[0]), copies[0], compression="none")
        assert "was changed after it was written" in refusal(copies, tmp_path / "m.parquet").message

    def test_a_slide_of_another_shard(self, copies: list[Path], tmp_path: Path) -> None:
        for name in ("shard-0.parquet", "shard-0.slides.parquet", "shard-0.shard.parquet", "shard-0.run.json"):
            shutil.copy(copies[0].parent / name, copies[0].parent / name.replace("0", "1"))
        change_record(copies[1], lambda record: record["shard"].update(index=1))
        assert "is not of shard 1/3" in refusal(copies, tmp_path / "m.parquet").message

    def test_writing_over_a_shard(self, copies: list[Path]) -> None:
        with pytest.raises(OutputError, match="one of the shards"):
            merge_shards(copies, str(copies[0]), MergeConfig(overwrite=True))

    def test_a_shard_on_stdout(self, messy: Path) -> None:
        with pytest.raises(UsageError, match="stdout"):
            classify_slides(messy, "-", QUICK.model_copy(update={"shard": "0/2"}))


def test_backends_that_differ_are_told(copies: list[Path], tmp_path: Path) -> None:
    change_record(copies[1], lambda record: record["backend"].update(name="openvino", description="OpenVINO"))
    result = CliRunner().invoke(app, ["merge", *map(str, copies), "--out", str(tmp_path / "m.parquet")])
    assert result.exit_code == 3
    assert "different backends (openvino, pytorch)" in result.stderr
    record = json.loads((tmp_path / "m.run.json").read_text(encoding="utf-8"))
    assert record["backend"]["name"] == "openvino, pytorch"


def test_finders_that_ran_in_different_ways_are_told(copies: list[Path], tmp_path: Path) -> None:
    change_record(copies[1], lambda record: record["finder"]["backend"].update(description="OpenVINO, bf16"))
    result = CliRunner().invoke(app, ["merge", *map(str, copies), "--out", str(tmp_path / "m.parquet")])
    assert "the finder of the shards ran in different ways (OpenVINO, bf16; a stand-in for tests)" in result.stderr
    record = json.loads((tmp_path / "m.run.json").read_text(encoding="utf-8"))
    assert record["finder"]["backend"]["description"] == "OpenVINO, bf16, a stand-in for tests"


def test_another_finder_is_another_run(copies: list[Path], tmp_path: Path) -> None:
    change_record(copies[1], lambda record: record["finder"].update(sha256="0" * 64))
    assert "differ in the finder" in refusal(copies, tmp_path / "m.parquet").message


def test_the_command_ends_as_classify_does(shards: list[Path], tmp_path: Path) -> None:
    words = ["merge", *map(str, shards), "--out", str(tmp_path / "m.csv"), "--quiet"]
    assert CliRunner().invoke(app, [*words, "--allow-failed", "99"]).exit_code == 0
    assert CliRunner().invoke(app, words).exit_code == 1  # exists already
    assert CliRunner().invoke(app, [*words, "--overwrite"]).exit_code == 3


def test_options_that_change_rows_are_compared() -> None:
    compared = set(ClassifyConfig.model_fields) - not_compared(ClassifyConfig)
    assert {"views", "precision", "batch_size", "dedup", "dedup_distance", "max_megapixels"} <= compared
