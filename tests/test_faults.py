"""Faults put in one by one: what the user sees, and what is kept. The README has the same list as a table."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any, Self

import pyarrow.parquet as pq
import pytest
from conftest import draw_picture, encode

from bloodcell_batch.backends.selection import Choice, open_backend
from bloodcell_batch.config.classify import ClassifyConfig
from bloodcell_batch.errors import BackendError, ExitCode, LockedError, OutputError
from bloodcell_batch.images import decoding, jpeg
from bloodcell_batch.progress import NullObserver, RunCounts
from bloodcell_batch.records import ImageFile, LoadedImage, Reason, Rejection, Status
from bloodcell_batch.results import journal as journals
from bloodcell_batch.runs import local, plan
from bloodcell_batch.runs import local as classification
from bloodcell_batch.runs.pipeline import RunResult, classify_slides
from bloodcell_batch.stages.decode import Loader, make_loader

SETTINGS = {"batch_size": 2, "workers": 2}


class Acting(NullObserver):
    """Does something when classification starts, and after some files."""

    def __init__(self, at_start: Callable[[], object] = int, after: int = -1, then: Callable[[], object] = int) -> None:
        self.at_start, self.after, self.then = at_start, after, then

    def started(self, task: str, total: int) -> None:
        self.at_start()

    def advanced(self, done: int, counts: RunCounts | None = None) -> None:
        if done == self.after:
            self.then()


@pytest.fixture
def slides(tmp_path: Path) -> Path:
    folder = tmp_path / "slides"
    for slide in ("a", "b"):
        (folder / slide).mkdir(parents=True)
        for i in range(6):
            (folder / slide / f"{i}.jpg").write_bytes(encode(draw_picture(10 * (slide == "b") + i)))
    return folder


def run(slides: Path, out: Path, observer: NullObserver | None = None, **settings: object) -> RunResult:
    return classify_slides(slides, str(out), ClassifyConfig.model_validate(SETTINGS | settings), observer)


def rows(out: Path) -> dict[str, dict[str, Any]]:
    return {row["path"]: row for row in pq.read_table(out).to_pylist()}


def others_are_unharmed(slides: Path, out: Path, expected: dict[str, Reason]) -> None:
    """The rows at fault have their reasons, all others those of a run without the fault."""
    found = rows(out)
    assert {path: row["reason"] for path, row in found.items() if row["status"] == "failed"} == expected
    whole = out.with_name("whole.parquet")
    run(slides, whole)
    for path, row in rows(whole).items():
        if path not in expected:
            assert found[path] == row


def test_files_that_vanish_grow_or_change_kind(slides: Path, tmp_path: Path) -> None:
    pristine = shutil.copytree(slides, tmp_path / "pristine")

    def disturb() -> None:
        (slides / "a" / "1.jpg").unlink()
        with (slides / "a" / "2.jpg").open("ab") as handle:
            handle.write(b"more")
        os.truncate(slides / "a" / "3.jpg", 100)
        (slides / "b" / "1.jpg").unlink()
        (slides / "b" / "1.jpg").mkdir()

    result = run(slides, tmp_path / "r.parquet", Acting(disturb), batch_size=1, workers=0)
    assert result.counts.by_status[Status.FAILED] == 4
    expected = dict.fromkeys(("a/1.jpg", "a/2.jpg", "a/3.jpg"), Reason.CHANGED_DURING_RUN)
    others_are_unharmed(pristine, tmp_path / "r.parquet", expected | {"b/1.jpg": Reason.UNREADABLE})


def test_a_folder_that_vanishes(slides: Path, tmp_path: Path) -> None:
    result = run(slides, tmp_path / "r.parquet", Acting(lambda: shutil.rmtree(slides / "b")), workers=0)
    assert result.counts.by_status[Status.FAILED] == 6
    assert {row["reason"] for row in rows(tmp_path / "r.parquet").values() if row["slide_id"] == "b"} == {
        Reason.CHANGED_DURING_RUN
    }


def test_a_file_that_hangs(slides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hanging(*arguments: Any) -> Loader:  # noqa: ANN401 - passed on
        decode = make_loader(*arguments)

        def decode_or_hang(file: ImageFile) -> LoadedImage | Rejection:
            if file.path in {"a/1.jpg", "a/2.jpg", "b/0.jpg"}:
                time.sleep(20)
            return decode(file)

        return decode_or_hang

    with monkeypatch.context() as patch:
        patch.setattr(classification, "make_loader", hanging)
        run(slides, tmp_path / "r.parquet", file_timeout=3)
    expected = dict.fromkeys(("a/1.jpg", "a/2.jpg", "b/0.jpg"), Reason.TIMED_OUT)
    others_are_unharmed(slides, tmp_path / "r.parquet", expected)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 200 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "none", place], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("this user may not mount a small disk")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


@pytest.mark.parametrize("free", [4, 12, 40])
def test_a_full_disk(
    slides: Path, small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int
) -> None:
    monkeypatch.setattr(journals, "ROWS_PER_PART", 4)
    run(slides, tmp_path / "whole.parquet")
    out = small_disk / "r.parquet"
    filler = small_disk / "filler"
    filler.write_bytes(bytes(1024 * (200 - free)))
    with pytest.raises(OutputError, match="No space left on device") as caught:
        run(slides, out)
    assert "same command again" in caught.value.hint
    assert not out.exists()
    filler.unlink()
    run(slides, out)
    assert out.read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert sorted(path.name for path in small_disk.iterdir()) == ["r.parquet", "r.run.json", "r.slides.parquet"]


def test_two_runs_at_once(slides: Path, tmp_path: Path) -> None:
    refused: list[LockedError] = []

    def second() -> None:
        with pytest.raises(LockedError) as caught:
            run(slides, tmp_path / "r.parquet")
        refused.append(caught.value)

    run(slides, tmp_path / "r.parquet", Acting(after=3, then=second))
    assert [error.exit_code for error in refused] == [ExitCode.LOCKED]
    others_are_unharmed(slides, tmp_path / "r.parquet", {})


def test_the_clock_is_set_back(slides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return cls(1990 - next(years), 1, 1, tzinfo=tz)

    years = iter(range(900))
    with monkeypatch.context() as patch:
        patch.setattr(plan, "datetime", Clock)
        patch.setattr(time, "time", lambda: 0.0 - next(years))
        run(slides, tmp_path / "r.parquet")
    others_are_unharmed(slides, tmp_path / "r.parquet", {})


@pytest.mark.parametrize("error", [AttributeError("a bug"), MemoryError("a bug")])
def test_a_bug_beside_the_decoder_is_no_row(
    slides: Path, tmp_path: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr(jpeg, "_orientation", broken)
    if isinstance(error, MemoryError):
        monkeypatch.setattr(decoding, "_check_memory", broken)
    with pytest.raises(type(error), match="a bug"):
        run(slides, tmp_path / "r.parquet")
    assert not list(tmp_path.glob("r.*parquet"))


@pytest.mark.parametrize("error", [RuntimeError("CUDA error: an illegal memory access"), MemoryError("std::bad_alloc")])
def test_a_runtime_that_fails_in_the_middle(
    slides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(journals, "ROWS_PER_PART", 4)

    def failing(*arguments: Any) -> Choice:  # noqa: ANN401 - passed on
        choice = open_backend(*arguments)
        calls = iter(range(100))
        infer = choice.backend.infer

        def once(images: Any) -> object:  # noqa: ANN401 - passed on
            if next(calls) == 4:
                raise error
            return infer(images)

        monkeypatch.setattr(choice.backend, "infer", once)
        return choice

    with monkeypatch.context() as patch:
        patch.setattr(local, "open_backend", failing)
        with pytest.raises(BackendError, match=r"failed: (CUDA|std)") as caught:
            run(slides, tmp_path / "r.parquet")
    assert "same command again" in caught.value.hint
    assert not (tmp_path / "r.parquet").exists()
    run(slides, tmp_path / "r.parquet")
    others_are_unharmed(slides, tmp_path / "r.parquet", {})
