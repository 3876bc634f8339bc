"""One run writes its tables in several formats, which share the run record; each stays valid beside the others."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from messy_slides import QUICK, draw_messy_slides, quick_backend
from program_commands import app
from typer.testing import CliRunner

import bloodcell_batch as bb
from bloodcell_batch.errors import UsageError
from bloodcell_batch.results.finished import load_results
from bloodcell_batch.results.run_record import read_record
from bloodcell_batch.runs.merge import merge_shards
from bloodcell_batch.runs.pipeline import classify_slides

SUFFIXES = (".parquet", ".xlsx", ".csv")
FILES = ["r.csv", "r.parquet", "r.run.json", "r.slides.csv", "r.slides.parquet", "r.xlsx"]


@pytest.fixture(scope="module", autouse=True)
def shared_backend() -> Iterator[None]:
    with quick_backend():
        yield


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_messy_slides(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def made(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the results of one run in every format, and its audit log."""
    folder = tmp_path_factory.mktemp("made")
    outs = [word for table in tables(folder) for word in ("--out", str(table))]
    words = ["classify", str(images), *outs, "--audit-log", str(folder / "audit.jsonl"), "--json-summary", "--quiet"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 3, result.output
    summary = json.loads(result.stdout)
    assert [summary["out"], *summary["further_outs"]] == list(map(str, tables(folder)))
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return shutil.copytree(made, tmp_path / "copy")


def tables(folder: Path, stem: str = "r") -> list[Path]:
    return [folder / f"{stem}{suffix}" for suffix in SUFFIXES]


def verified(table: Path, *options: str | Path) -> bool:
    result = CliRunner().invoke(app, ["verify", str(table), *map(str, options)])
    assert result.exit_code in {0, 1}, result.output
    return result.exit_code == 0


def test_every_format_is_valid_beside_the_others(made: Path, images: Path, tmp_path: Path) -> None:
    assert sorted(path.name for path in made.iterdir() if path.name.startswith("r.")) == FILES
    for table in tables(made):
        assert verified(table, "--images", images)
    assert len({load_results(table).results_id for table in tables(made)}) == 1
    for suffix in (".parquet", ".csv"):  # the workbook holds the times of the run
        alone = tmp_path / suffix / f"alone{suffix}"
        alone.parent.mkdir()
        classify_slides(images, str(alone), QUICK.model_copy(update={"batch_size": 256}))
        for kind in ("", ".slides"):
            there = made / f"r{kind}{suffix}"
            assert there.read_bytes() == alone.with_name(f"alone{kind}{suffix}").read_bytes()


def test_the_audit_log_knows_every_format(folder: Path) -> None:
    line = json.loads((folder / "audit.jsonl").read_text(encoding="ascii"))
    assert sorted(Path(name).name for name in line["outputs"]) == FILES
    for table in tables(folder):
        log = folder / "audit.jsonl"
        result = CliRunner().invoke(app, ["verify", str(table), "--audit-log", str(log)])
        assert result.exit_code == 0, result.output


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_change_in_one_format_is_found_there_only(folder: Path, suffix: str) -> None:
    changed = folder / f"r{suffix}"
    changed.write_bytes(changed.read_bytes() + b"\n")
    if suffix == ".parquet":
        shutil.copy(folder / "r.slides.parquet", changed)
        assert CliRunner().invoke(app, ["verify", str(changed)]).exit_code == 1
    else:
        assert not verified(changed)
    assert all(verified(table) for table in tables(folder) if table != changed)


def test_all_are_replaced_together_or_not_at_all(folder: Path, images: Path) -> None:
    again = QUICK.model_copy(update={"overwrite": True, "min_confidence": 0.95})
    before = (folder / "r.run.json").read_bytes()
    with pytest.raises(UsageError, match=r"is the run record of .*r\.csv"):
        classify_slides(images, [str(folder / "r.parquet"), str(folder / "r.xlsx")], again)
    assert (folder / "r.run.json").read_bytes() == before
    classify_slides(images, list(map(str, tables(folder)[::-1])), again)
    assert all(map(verified, tables(folder)))
    assert set(read_record(folder / "r.csv").further_tables_sha256) == {".parquet", ".xlsx"}


def test_formats_of_the_same_rows_come_one_by_one(images: Path, tmp_path: Path) -> None:
    again = QUICK.model_copy(update={"overwrite": True})
    for suffix in (*SUFFIXES, SUFFIXES[0]):
        classify_slides(images, str(tmp_path / f"r{suffix}"), again)
        assert all(verified(table, "--images", images) for table in tables(tmp_path) if table.exists())
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("r.")) == FILES
    (tmp_path / "r.csv").write_bytes((tmp_path / "r.csv").read_bytes() + b"\n")
    classify_slides(images, str(tmp_path / "r.parquet"), again)
    assert not verified(tmp_path / "r.csv")  # a change is not covered up


def test_formats_of_other_images_are_not_called_the_same(images: Path, tmp_path: Path) -> None:
    shutil.copytree(images, tmp_path / "s", symlinks=True)
    again = QUICK.model_copy(update={"overwrite": True})
    classify_slides(tmp_path / "s", str(tmp_path / "r.csv"), again)
    picture = next(path for path in sorted((tmp_path / "s").rglob("*.png")) if path.stat().st_size > 1000)
    replaced = bytes(picture.stat().st_size)
    picture.write_bytes(replaced)  # of the same name and size: known to be another only when it is read
    with pytest.raises(UsageError, match=r"is the run record of .*r\.csv") as caught:
        classify_slides(tmp_path / "s", str(tmp_path / "r.parquet"), again)
    assert "goes on from them" in caught.value.hint
    picture.with_name("more.png").write_bytes(replaced)
    with pytest.raises(UsageError, match=r"is the run record of .*r\.csv") as caught:
        classify_slides(tmp_path / "s", str(tmp_path / "r.parquet"), again)
    assert "goes on from them" not in caught.value.hint


def test_an_update_keeps_rows_and_adds_a_format(images: Path, tmp_path: Path) -> None:
    classify_slides(images, str(tmp_path / "r.parquet"), QUICK)
    for outs in (tables(tmp_path)[:2], tables(tmp_path)):
        classify_slides(images, list(map(str, outs)), QUICK.model_copy(update={"update": True}))
        assert read_record(outs[0]).kept_from_earlier_result > 0
        assert all(map(verified, outs))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_review_of_one_format_has_a_record_of_its_own(folder: Path, suffix: str) -> None:
    table, review = folder / f"r{suffix}", folder / "review.csv"
    CliRunner().invoke(app, ["review", "export", str(table), "--out", str(review)])
    words = ["review", "import", str(table), str(review), "--partial"]
    assert CliRunner().invoke(app, words).exit_code == 0
    new = folder / f"r.verified{suffix}"
    assert verified(new)
    assert read_record(new).further_tables_sha256 == {}
    assert all(map(verified, tables(folder)))


def test_merge_writes_several_formats_of_shards_in_several_formats(images: Path, tmp_path: Path) -> None:
    for index in range(2):
        shard = QUICK.model_copy(update={"shard": f"{index}/2"})
        classify_slides(images, list(map(str, tables(tmp_path, f"shard-{index}"))), shard)
    merge_shards([tmp_path / "shard-0.csv", tmp_path / "shard-1.xlsx"], list(map(str, tables(tmp_path, "all"))))
    assert all(map(verified, tables(tmp_path, "all")))


def test_the_interface_for_programs_takes_several(images: Path, tmp_path: Path) -> None:
    bb.classify(images, [tmp_path / "r.csv", str(tmp_path / "r.parquet")], QUICK)
    assert verified(tmp_path / "r.csv")
    assert verified(tmp_path / "r.parquet")
