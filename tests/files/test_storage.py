import builtins
import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bloodcell_batch.files.storage import is_url, open_fetch, persistently
from bloodcell_batch.images.guards import DecodeLimits
from bloodcell_batch.images.preprocessing import Preprocessing
from bloodcell_batch.records import Reason, Rejection
from bloodcell_batch.stages.decode import make_decoder
from bloodcell_batch.stages.scan import scan

TRANSIENT = [errno.EIO, errno.ESTALE, errno.ETIMEDOUT]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bloodcell_batch.files.storage._PAUSES", (0.0, 0.0))


def failing(times: int, number: int) -> Callable[[], int]:
    calls = 0

    def act() -> int:
        nonlocal calls
        calls += 1
        if calls <= times:
            raise OSError(number, os.strerror(number))
        return calls

    return act


@pytest.mark.parametrize("text", ["s3://bucket/a", "gs://b", "memory://x", "simplecache::s3://b/x", "abfs+x://y"])
def test_urls(text: str) -> None:
    assert is_url(text)


@pytest.mark.parametrize("text", ["/slides", "slides", "C:/slides", "C:\\slides", "-", "a:b", "s3:/bucket", "./s3://x"])
def test_paths(text: str) -> None:
    assert not is_url(text)


@pytest.mark.parametrize("number", TRANSIENT)
def test_a_passing_error_is_tried_three_times(number: int) -> None:
    assert persistently(failing(2, number)) == 3
    with pytest.raises(OSError, match=os.strerror(number)):
        persistently(failing(3, number))


def test_other_errors_are_final() -> None:
    with pytest.raises(PermissionError):
        persistently(failing(1, errno.EACCES))


@pytest.mark.parametrize(("times", "readable"), [(2, True), (3, False)])
def test_a_drive_that_fails_while_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, times: int, readable: bool
) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "a.jpg").write_bytes(b"no image")
    (file,) = scan(tmp_path).files
    act = failing(times, errno.EIO)

    def flaky(*arguments: object, **options: object) -> object:
        if str(arguments[0]).endswith("a.jpg"):
            act()
        return real(*arguments, **options)  # type: ignore[call-overload]

    real = builtins.open
    monkeypatch.setattr(builtins, "open", flaky)
    outcome = make_decoder(str(tmp_path), Preprocessing(), DecodeLimits())(file)
    assert isinstance(outcome, Rejection)
    assert outcome.reason is (Reason.NOT_AN_IMAGE if readable else Reason.UNREADABLE)


@pytest.mark.parametrize(("times", "found"), [(2, 1), (3, 0)])
def test_a_drive_that_fails_while_listing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, times: int, found: int
) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "a.jpg").touch()
    act, real = failing(times, errno.ESTALE), os.scandir

    def flaky(path: str) -> object:
        if path.endswith("/s"):
            act()
        return real(path)

    monkeypatch.setattr(os, "scandir", flaky)
    result = scan(tmp_path)
    assert len(result.files) == found
    assert result.unreadable_folders == (() if found else ("s",))


def test_at_most_the_bytes_asked_for_are_read(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"12345")
    assert open_fetch(str(tmp_path))("f", 3) == b"123"


def test_local_runs_leave_fsspec_alone() -> None:
    code = (
        "import sys, bloodcell_batch.runs.pipeline, bloodcell_batch.runs.merge\n"
        "assert not {'fsspec', 'ray'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
