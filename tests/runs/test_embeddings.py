"""`classify --embeddings`: one row of every cell that the network saw, however the run goes, and never without its
tables."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import PROJECT
from messy_slides import QUICK, StandIn, draw_messy_slides, quick_backend
from numpy.typing import NDArray
from program_commands import app
from pydantic import ValidationError
from stopping import Killed, Stopping
from typer.testing import CliRunner

from bloodcell_batch.config.classify import ClassifyConfig
from bloodcell_batch.config.results import PseudonymizeConfig
from bloodcell_batch.errors import OutputError, UsageError
from bloodcell_batch.images.decoding import decode_rgb
from bloodcell_batch.images.guards import DecodeLimits
from bloodcell_batch.images.preprocessing import resize_to_input
from bloodcell_batch.model.file import open_model
from bloodcell_batch.reports.sharing import write_shared
from bloodcell_batch.results import journal as journals
from bloodcell_batch.results.run_record import read_record
from bloodcell_batch.runs.merge import merge_shards
from bloodcell_batch.runs.pipeline import classify_slides
from bloodcell_batch.stages import embeddings as module
from bloodcell_batch.stages.infer import as_embeddings

WIDTH = 1280
SEEN = ("classified", "unclassified")


@pytest.fixture(scope="module", autouse=True)
def shared_backend() -> Iterator[None]:
    with quick_backend():
        yield


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_messy_slides(tmp_path_factory.mktemp("slides"))


def keeping(folder: Path, **options: object) -> ClassifyConfig:
    return QUICK.model_copy(update={"embeddings": str(folder / "e.parquet"), **options})


@pytest.fixture(scope="module")
def made(slides: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the results of a run, `r.parquet`, and its embeddings, `e.parquet`."""
    folder = tmp_path_factory.mktemp("made")
    classify_slides(slides, str(folder / "r.parquet"), keeping(folder))
    return folder


def numbers(path: Path) -> NDArray[np.float16]:
    column = pq.read_table(path).column("embedding").combine_chunks()
    return np.asarray(column.flatten()).reshape(len(column), WIDTH)


def contents(folder: Path, *names: str) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in names or ("e.parquet", "r.parquet", "r.slides.parquet")}


def test_every_cell_that_the_network_saw_has_a_row(made: Path, slides: Path) -> None:
    table = pq.read_table(made / "e.parquet")
    cells = pq.read_table(made / "r.parquet").to_pylist()
    expected = [(row["path"], row["cell"], row["slide_id"]) for row in cells if row["status"] in SEEN]
    assert [(row["path"], row["cell"], row["slide_id"]) for row in table.to_pylist()] == expected
    assert 0 < len(expected) < len(cells)
    assert str(table.schema.field("embedding").type) == f"fixed_size_list<element: halffloat>[{WIDTH}]"
    model = open_model()
    path = "S-1/0.jpg"
    rgb = decode_rgb((slides / path).read_bytes(), DecodeLimits(max_pixels=10**8))
    _, features = StandIn(model).infer(resize_to_input(rgb, model.header.preprocessing)[None])
    (place,) = [number for number, key in enumerate(expected) if key[0] == path]
    assert np.array_equal(numbers(made / "e.parquet")[place], features[0].astype(np.float16))


def test_the_file_and_the_record_name_each_other(made: Path) -> None:
    record = read_record(made / "r.parquet")
    said = pq.read_schema(made / "e.parquet").metadata
    assert said[b"bloodcell_batch.model_sha256"].decode() == record.model.sha256
    assert said[b"bloodcell_batch.results_id"].decode() == record.results_id
    assert record.embeddings is not None
    assert (record.embeddings.file, record.embeddings.width) == ("e.parquet", WIDTH)
    assert record.embeddings.cells == pq.read_metadata(made / "e.parquet").num_rows


def test_the_tables_are_those_of_a_run_without(made: Path, slides: Path, tmp_path: Path) -> None:
    classify_slides(slides, str(tmp_path / "r.parquet"), QUICK)
    names = ("r.parquet", "r.slides.parquet")
    assert contents(tmp_path, *names) == contents(made, *names)
    assert read_record(tmp_path / "r.parquet").embeddings is None


@pytest.mark.parametrize("options", [{"workers": 3}, {"batch_size": 7}])
def test_workers_and_batches_change_no_byte_where_the_network_does_not(
    made: Path, slides: Path, tmp_path: Path, options: dict[str, int]
) -> None:
    classify_slides(slides, str(tmp_path / "r.parquet"), keeping(tmp_path, **options))
    assert contents(tmp_path) == contents(made)


@pytest.mark.parametrize("after", [3, 40])
def test_an_interrupted_run_goes_on(
    made: Path, slides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    monkeypatch.setattr(journals, "ROWS_PER_PART", 4)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()
    for _ in range(2):
        with pytest.raises(Killed):
            classify_slides(slides, str(cut / "r.parquet"), keeping(cut), Stopping(after))
        assert not (cut / "e.parquet").exists()
    classify_slides(slides, str(cut / "r.parquet"), keeping(cut))
    assert np.array_equal(numbers(cut / "e.parquet"), numbers(made / "e.parquet"))
    classify_slides(slides, str(whole / "r.parquet"), keeping(whole))
    assert contents(cut) == contents(whole)
    assert {path.name for path in cut.iterdir()} == {"e.parquet", "r.parquet", "r.run.json", "r.slides.parquet"}


@pytest.mark.parametrize("first", [True, False])
def test_rows_of_the_other_kind_are_not_gone_on_with(made: Path, slides: Path, tmp_path: Path, *, first: bool) -> None:
    """An interrupted run without embeddings has none to go on with."""
    with_them, without = keeping(tmp_path), QUICK
    with pytest.raises(Killed):
        classify_slides(slides, str(tmp_path / "r.parquet"), with_them if first else without, Stopping(40))
    observer = Stopping()
    classify_slides(slides, str(tmp_path / "r.parquet"), without if first else with_them, observer)
    assert any("what is kept of each cell was 'its row" in text for text in observer.warnings), observer.warnings
    names = ("r.parquet", "r.slides.parquet", *(() if first else ("e.parquet",)))
    assert contents(tmp_path, *names) == contents(made, *names)


@pytest.mark.parametrize("step", [0, 3])
def test_all_files_appear_together(
    made: Path, slides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    real, renamed = Path.replace, list[Path]()

    def replace(path: Path, target: Path) -> Path:
        if path.name.startswith("final-"):
            if len(renamed) == step:
                raise Killed
            renamed.append(path)
        return real(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        with pytest.raises(Killed):
            classify_slides(slides, str(tmp_path / "r.parquet"), keeping(tmp_path))
    assert not (tmp_path / "r.parquet").exists()
    classify_slides(slides, str(tmp_path / "r.parquet"), keeping(tmp_path))
    assert contents(tmp_path) == contents(made)


def test_a_full_disk_publishes_nothing(
    made: Path, slides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_parquet", full)
        with pytest.raises(OutputError, match="No space left") as caught:
            classify_slides(slides, str(tmp_path / "r.parquet"), keeping(tmp_path))
    assert "same command again" in caught.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["r.parquet.partial"]
    classify_slides(slides, str(tmp_path / "r.parquet"), keeping(tmp_path))
    assert contents(tmp_path) == contents(made)


@pytest.mark.parametrize("out", ["r.csv", "r.xlsx", "-"])
def test_it_is_the_same_beside_every_format(
    made: Path, slides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["--embeddings", "e.parquet", "--batch-size", "4", "--workers", "0", "--quiet"]
    done = CliRunner().invoke(app, ["classify", str(slides), "--out", out, *words])
    assert done.exit_code == 3, done.output
    assert (tmp_path / "e.parquet").read_bytes() == (made / "e.parquet").read_bytes()
    assert len(done.stdout.splitlines()) == (pq.read_metadata(made / "r.parquet").num_rows + 1 if out == "-" else 0)


def test_a_closed_stdout_leaves_no_file(slides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", None)
    with pytest.raises(OutputError, match="stdout is closed"):
        classify_slides(slides, "-", keeping(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "out", "why"),
    [
        ("e.csv", "r.csv", r"does not end in \.parquet"),
        ("r.parquet", "r.csv", "name of another file"),
        ("r.slides.parquet", "r.csv", "name of another file"),
        ("elsewhere/e.parquet", "r.csv", "not in the folder of --out"),
        ("s3://bucket/e.parquet", "r.csv", "not in the folder of --out"),
        ("s3://bucket/e.parquet", "-", "beside stdout"),
        ("e.parquet", "s3://bucket/r.csv", "not in the folder of --out"),
    ],
)
def test_names_that_can_not_be(
    slides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, out: str, why: str
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=why):
        classify_slides(slides, out, QUICK.model_copy(update={"embeddings": name}))


def test_another_file_in_its_place_stays(made: Path, slides: Path, tmp_path: Path) -> None:
    (tmp_path / "e.parquet").write_bytes(b"somebody's")
    with pytest.raises(OutputError, match=r"e\.parquet exists already"):
        classify_slides(slides, str(tmp_path / "r.parquet"), keeping(tmp_path))
    assert (tmp_path / "e.parquet").read_bytes() == b"somebody's"
    classify_slides(slides, str(tmp_path / "r.parquet"), keeping(tmp_path, overwrite=True))
    assert contents(tmp_path) == contents(made)


def test_rows_that_are_kept_have_none() -> None:
    with pytest.raises(ValidationError, match="--update and --embeddings exclude each other"):
        ClassifyConfig(update=True, embeddings="e.parquet")


def test_where_no_cell_is_there_is_no_row(tmp_path: Path) -> None:
    (tmp_path / "in" / "s").mkdir(parents=True)
    (tmp_path / "in" / "s" / "bad.png").write_bytes(b"no image")
    classify_slides(tmp_path / "in", str(tmp_path / "r.parquet"), keeping(tmp_path))
    assert numbers(tmp_path / "e.parquet").shape[0] == 0
    assert pq.read_schema(tmp_path / "e.parquet").field("embedding").type.list_size == WIDTH


def test_every_shard_has_its_own(made: Path, slides: Path, tmp_path: Path) -> None:
    for index in range(2):
        options = {"shard": f"{index}/2", "embeddings": str(tmp_path / f"shard-{index}.embeddings.parquet")}
        classify_slides(slides, str(tmp_path / f"shard-{index}.parquet"), QUICK.model_copy(update=options))
    merge_shards([tmp_path / f"shard-{index}.parquet" for index in range(2)], str(tmp_path / "m.parquet"))
    record = read_record(tmp_path / "m.parquet")
    assert (record.embeddings, record.config["embeddings"]) == (None, None)
    files = [shard.embeddings.file for shard in record.shards if shard.embeddings]
    assert files == [f"shard-{index}.embeddings.parquet" for index in range(2)]
    rows = [row for file in files for row in pq.read_table(tmp_path / file).to_pylist()]
    whole = pq.read_table(made / "e.parquet").to_pylist()
    assert sorted(map(repr, rows)) == sorted(map(repr, whole))


def test_two_shards_can_not_share_a_file(slides: Path, tmp_path: Path) -> None:
    """Begun at the same time, neither sees the other's file, and the last would have replaced it without a word."""
    for index in range(2):
        options = {"shard": f"{index}/2", "embeddings": str(tmp_path / "e.parquet")}
        with pytest.raises(UsageError, match=r"e\.parquet is not named after this shard's --out") as error:
            classify_slides(slides, str(tmp_path / f"shard-{index}.parquet"), QUICK.model_copy(update=options))
        assert f"shard-{index}.embeddings.parquet" in (error.value.hint or "")
    assert list(tmp_path.iterdir()) == []


def test_verify_finds_a_change(made: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(made, tmp_path / "copy")

    def verified() -> tuple[int, str]:
        done = CliRunner().invoke(app, ["verify", str(folder / "r.parquet")])
        return done.exit_code, done.output

    code, text = verified()
    assert code == 0
    assert "the embeddings" in text
    data = bytearray((folder / "e.parquet").read_bytes())
    data[100] ^= 1
    (folder / "e.parquet").write_bytes(bytes(data))
    code, text = verified()
    assert code == 1
    assert "e.parquet" in text
    (folder / "e.parquet").unlink()
    code, text = verified()
    assert code == 0
    assert "not checked: the embeddings" in text


def test_the_audit_log_has_its_digest(slides: Path, tmp_path: Path) -> None:
    words = ["--embeddings", tmp_path / "e.parquet", "--audit-log", tmp_path / "log", "--quiet"]
    done = CliRunner().invoke(app, ["classify", str(slides), "--out", str(tmp_path / "r.csv"), *map(str, words)])
    assert done.exit_code == 3, done.output
    line = json.loads((tmp_path / "log").read_text(encoding="ascii"))
    record = read_record(tmp_path / "r.csv")
    assert record.embeddings is not None
    assert line["outputs"][str(tmp_path / "e.parquet")] == record.embeddings.sha256


def test_pseudonyms_leave_no_word_of_it(made: Path, tmp_path: Path, key_file: Path) -> None:
    """The file names slides and paths, and what it holds can be matched with pictures."""
    write_shared(made / "r.parquet", tmp_path / "p.parquet", PseudonymizeConfig(key=key_file))
    assert read_record(tmp_path / "p.parquet").embeddings is None


def test_the_page_is_true(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(made / "r.parquet", tmp_path / "results.parquet")
    shutil.copy(made / "e.parquet", tmp_path / "embeddings.parquet")
    monkeypatch.chdir(tmp_path)
    page = (PROJECT / "docs" / "how-to" / "embeddings.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert blocks
    names: dict[str, object] = {}
    for block in blocks:
        exec(block, names)
    assert sorted(np.asarray(names["order"]).tolist()) == list(range(pq.read_metadata("embeddings.parquet").num_rows))


def test_numbers_beyond_float16_become_the_largest() -> None:
    found = as_embeddings(np.array([[1e9, -1e9, 0.1, np.nan]], dtype=np.float32))
    assert np.array_equal(
        np.frombuffer(found[0], "<f2"), np.array([65504, -65504, 0.1, np.nan], np.float16), equal_nan=True
    )


def test_a_url_gets_it_too(slides: Path) -> None:
    memory: Callable[..., object] = pytest.importorskip("fsspec", reason="the extra [remote] is absent").filesystem
    system = memory("memory")
    config = QUICK.model_copy(update={"embeddings": "memory://bucket/emb/e.parquet"})
    classify_slides(slides, "memory://bucket/emb/r.parquet", config)
    names = {name.rpartition("/")[2] for name in system.find("/bucket/emb")}  # type: ignore[attr-defined]
    assert names == {"e.parquet", "r.parquet", "r.slides.parquet", "r.run.json"}
