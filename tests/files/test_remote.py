"""Slides and results at URLs: the same tables as from local folders, and errors that say what is wrong."""

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from messy_slides import QUICK, draw_messy_slides, quick_backend
from program_commands import app
from typer.testing import CliRunner

from bloodcell_batch.errors import InputError, LockedError, OutputError, UsageError
from bloodcell_batch.files.remote import RemoteFolder
from bloodcell_batch.results.remote_output import local_output
from bloodcell_batch.runs.pipeline import classify_slides
from bloodcell_batch.stages.scan import scan

fsspec = pytest.importorskip("fsspec", reason="the extra [remote] is not installed")
Memory: TypeAlias = Any  # fsspec has no types


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The messy slides, without the names that no URL can have, and the link that an object store can't."""
    root = draw_messy_slides(tmp_path_factory.mktemp("slides"))
    for path in sorted(root.rglob("*"), reverse=True):
        if os.fsencode(path).decode("utf-8", "ignore") != str(path) or not path.exists():
            (path.rmdir if path.is_dir() else path.unlink)()
    return root


@pytest.fixture(scope="module")
def plain(slides: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("plain") / "r.parquet"
    with quick_backend():
        classify_slides(slides, str(out), QUICK)
    return out


@pytest.fixture
def memory(slides: Path) -> Iterator[Memory]:
    """fsspec's file system in memory, with the slides under /bucket/slides."""
    system = fsspec.filesystem("memory")
    system.put(f"{slides}/", "/bucket/slides/", recursive=True)
    yield system
    system.rm("/bucket", recursive=True)


@pytest.fixture(scope="module")
def bucket(slides: Path) -> Iterator[str]:
    """A bucket on an S3-compatible server of this test, with the slides in it."""
    server = pytest.importorskip("moto.server", reason="moto is not installed")
    pytest.importorskip("s3fs", reason="the extra [remote] is not installed")
    import s3fs  # noqa: PLC0415 - see above

    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        system = s3fs.S3FileSystem()
        system.mkdir("bucket")
        system.put(f"{slides}/", "bucket/slides/", recursive=True)
        yield "s3://bucket"
    running.stop()


def beside(out: Path) -> tuple[Path, Path]:
    return out.with_name(f"{out.stem}.slides{out.suffix}"), out.with_name(f"{out.stem}.run.json")


def test_s3_gives_the_tables_of_the_local_run(bucket: str, plain: Path) -> None:
    with quick_backend():
        classify_slides(f"{bucket}/slides", f"{bucket}/results/r.parquet", QUICK)
    folder = RemoteFolder(f"{bucket}/results")
    assert [file.path for file in folder.files()] == ["r.parquet", "r.run.json", "r.slides.parquet"]
    assert folder.read("r.parquet", 1 << 30) == plain.read_bytes()
    assert folder.read("r.slides.parquet", 1 << 30) == beside(plain)[0].read_bytes()
    record = json.loads(folder.read("r.run.json", 1 << 30))
    expected = json.loads(beside(plain)[1].read_text(encoding="utf-8"))
    for name in ("counts", "failures", "cross_slide_duplicates", "ignored"):
        assert record[name] == expected[name]
    assert record["input"] == f"{bucket}/slides"


def test_the_command_reads_and_writes_s3(bucket: str, private_cache: Path) -> None:
    words = ["classify", f"{bucket}/slides", "--out", f"{bucket}/cli/r.csv", "--workers", "2", "--batch-size", "4"]
    with quick_backend():
        assert CliRunner().invoke(app, [*words, "--allow-failed", "99"]).exit_code == 0
        again = CliRunner().invoke(app, words)
        assert again.exit_code == 1
        assert "exists already" in again.stderr
        assert CliRunner().invoke(app, [*words, "--overwrite"]).exit_code == 3
    assert not [path for path in (private_cache / "bloodcell-batch" / "output").iterdir() if path.is_dir()]


def test_a_bucket_that_is_not_there(bucket: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no-such-bucket"):
        classify_slides("s3://no-such-bucket/slides", str(tmp_path / "r.csv"), QUICK)
    with pytest.raises(InputError, match="no files under"):
        classify_slides(f"{bucket}/empty", str(tmp_path / "r.csv"), QUICK)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("memory")
def test_a_scan_finds_what_the_local_one_finds(slides: Path) -> None:
    local, remote = scan(slides), scan("memory://bucket/slides")
    assert [(file.path, file.slide_id, file.size_bytes) for file in remote.files] == [
        (file.path, file.slide_id, file.size_bytes) for file in local.files
    ]
    assert remote.ignored == local.ignored
    assert all(file.mtime_ns > 1_600_000_000_000_000_000 for file in remote.files)


def fail(memory: Memory, monkeypatch: pytest.MonkeyPatch, name: str, times: int, error: Exception) -> list[str]:
    """Reading the file of that name raises `error` so many times."""
    calls: list[str] = []
    read = memory.cat_file

    def cat_file(path: str, **limits: int) -> bytes:
        if path.endswith(name):
            calls.append(path)
            if len(calls) <= times:
                raise error
        data: bytes = read(path, **limits)
        return data

    monkeypatch.setattr(type(memory), "cat_file", staticmethod(cat_file))
    monkeypatch.setattr("bloodcell_batch.files.remote._PAUSES", (0.0, 0.0))
    return calls


CELL = {("classified", ""), ("unclassified", "outlier"), ("unclassified", "low_confidence")}


@pytest.mark.parametrize(
    ("times", "error", "tries", "rows"),
    [
        pytest.param(2, TimeoutError("slow"), 3 + 1, CELL, id="passes"),
        pytest.param(99, OSError("the server is gone"), 3 + 3, {("failed", "unreadable")}, id="stays"),
        pytest.param(99, FileNotFoundError("gone"), 1 + 1, {("failed", "changed_during_run")}, id="vanished"),
    ],
)
def test_a_read_that_fails(
    memory: Memory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    times: int,
    error: Exception,
    tries: int,
    rows: set[tuple[str, str]],
) -> None:
    """It is read for the look at what the slide shows, and then to be classified."""
    calls = fail(memory, monkeypatch, "S-1/0.jpg", times, error)
    with quick_backend():
        classify_slides("memory://bucket/slides", str(tmp_path / "r.csv"), QUICK)
    assert len(calls) == tries
    with (tmp_path / "r.csv").open(newline="", encoding="utf-8") as handle:
        found = {row["path"]: (row["status"], row["reason"]) for row in csv.DictReader(handle)}
    assert found["S-1/0.jpg"] in rows
    record = json.loads((tmp_path / "r.run.json").read_text(encoding="utf-8"))
    details = {failure["path"]: failure["detail"] for failure in record["failures"]}
    assert ("the server is gone" in details.get("S-1/0.jpg", "")) == (rows == {("failed", "unreadable")})


def test_an_upload_that_fails_keeps_the_results(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bloodcell_batch.files.remote._PAUSES", (0.0, 0.0))
    put = type(memory).put_file
    monkeypatch.setattr(type(memory), "put_file", _no_space)
    with quick_backend(), pytest.raises(OutputError, match="no space") as caught:
        classify_slides("memory://bucket/slides", "memory://bucket/out/r.csv", QUICK)
    kept = Path(caught.value.hint.split(" in ")[1].split(": ")[0])
    assert {path.name for path in kept.iterdir()} == {"r.csv", "r.slides.csv", "r.run.json"}
    monkeypatch.setattr(type(memory), "put_file", put)
    with quick_backend():
        classify_slides("memory://bucket/slides", "memory://bucket/out/r.csv", QUICK)
    assert memory.exists("/bucket/out/r.csv")
    assert not kept.exists()


def _no_space(*_: object, **__: object) -> None:
    raise OSError("no space")


@pytest.mark.usefixtures("memory")
def test_two_runs_do_not_write_one_url() -> None:
    with local_output(["memory://bucket/out/r.csv"], overwrite=False):
        with pytest.raises(LockedError), local_output(["memory://bucket/out/r.csv"], overwrite=False):
            pass
        with local_output(["memory://bucket/out/other.csv"], overwrite=False):
            pass


REVIEW = {
    "imported": "2026-01-02T03:04:05+00:00",
    "program": "0",
    "version": 1,
    "scope": "all",
    "cells": 7,
    "cells_left_open": 0,
    "verified_by": ["A"],
    "agreement": {"cells": 0, "agreed": 0, "kappa": None, "per_class": {}},
}


def test_several_formats_at_one_url(memory: Memory) -> None:
    outs = ["memory://bucket/out/r.csv", "memory://bucket/out/r.parquet"]
    with quick_backend():
        classify_slides("memory://bucket/slides", outs, QUICK)
        with pytest.raises(UsageError, match="can't be formats of one run"):
            classify_slides("memory://bucket/slides", [outs[0], "elsewhere/r.parquet"], QUICK)
    names = {name.rpartition("/")[2] for name in memory.find("/bucket/out")}
    assert names == {"r.csv", "r.slides.csv", "r.parquet", "r.slides.parquet", "r.run.json"}


def test_reviewed_results_at_a_url_stay(memory: Memory) -> None:
    out = "memory://bucket/out/r.csv"
    with quick_backend():
        classify_slides("memory://bucket/slides", out, QUICK)
        again = QUICK.model_copy(update={"overwrite": True})
        classify_slides("memory://bucket/slides", out, again)
        with pytest.raises(UsageError, match=r"may be the run record of r\.csv"):
            classify_slides("memory://bucket/slides", "memory://bucket/out/r.parquet", again)
        record = json.loads(memory.cat_file("/bucket/out/r.run.json"))
        reviewed = json.dumps(record | {"reviews": [REVIEW]}).encode()
        memory.pipe_file("/bucket/out/r.run.json", reviewed)
        with pytest.raises(OutputError, match=r"r\.run\.json is of results that a person reviewed"):
            classify_slides("memory://bucket/slides", out, again)
    assert memory.cat_file("/bucket/out/r.run.json") == reviewed


def test_a_local_output_is_left_alone() -> None:
    with local_output(["somewhere/r.csv"], overwrite=False) as local:
        assert local == ("somewhere/r.csv",)


@pytest.mark.parametrize("out", ["memory://bucket/r.txt", "memory://bucket/"])
def test_a_url_that_names_no_table(out: str) -> None:
    with pytest.raises(UsageError), local_output([out], overwrite=False):
        pass


def test_an_unknown_kind_of_url(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["classify", "nosuch://x/slides", "--out", str(tmp_path / "r.csv")])
    assert result.exit_code == 2
    assert "bloodcell-batch[remote]" in result.stderr


def test_a_broken_connection_is_an_input_error(monkeypatch: pytest.MonkeyPatch) -> None:
    botocore = pytest.importorskip("botocore.exceptions", reason="the extra [remote] is not installed")
    monkeypatch.setattr("bloodcell_batch.files.remote._PAUSES", (0.0, 0.0))
    folder = RemoteFolder("memory://bucket/slides")

    def find(*_: object, **__: object) -> None:
        raise botocore.EndpointConnectionError(endpoint_url="http://nowhere")

    monkeypatch.setattr(type(folder._system), "find", find)
    with pytest.raises(InputError, match="http://nowhere"):
        list(folder.files())


def test_at_most_the_bytes_asked_for_are_read(memory: Memory) -> None:
    memory.pipe_file("/bucket/big", b"x" * 1000)
    assert RemoteFolder("memory://bucket").read("big", 10) == b"x" * 10
