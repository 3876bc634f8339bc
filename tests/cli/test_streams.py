"""Nobody reads the streams: they are closed, full, without a reader, or their terminal is gone."""

import io
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TextIO, cast

import pytest
from conftest import draw_picture, encode
from processes import wait_until

from bloodcell_batch.cli.streams import QuietWhenUnheard, wrapped

CLASSIFY = f"'{sys.executable}' -m bloodcell_batch classify in --out r.csv"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(3):
        path = tmp_path / "in" / "s" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(draw_picture(number)))
    return tmp_path


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", line], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "streams",
    [
        "2>&-",
        "2>/dev/full",
        "2> >(exit 0)",
        "2> >(head -c 5 >/dev/null)",
        ">&- 2>&- <&-",
        ">/dev/full 2>/dev/full",
        "--progress rich 2> >(exit 0)",
        "--progress rich 2>/dev/full",
        "--log-format json 2>&-",
        "--json-summary >&-",
        "--json-summary > >(exit 0)",
        "--quiet 2>&-",
    ],
)
def test_the_tables_are_written_all_the_same(folder: Path, streams: str) -> None:
    done = shell(f"{CLASSIFY} {streams}; exit $?", folder)
    assert done.returncode == 0, done.stderr
    assert (folder / "r.csv").read_text(encoding="utf-8").count("\n") == 4
    assert (folder / "r.run.json").stat().st_size > 1000
    assert not (folder / "r.csv.partial").exists()


def test_no_file_takes_the_number_of_a_closed_stream(folder: Path) -> None:
    """A library that writes to descriptor 2 would write into that file."""
    code = (
        "from bloodcell_batch.cli.streams import outlive_readers; outlive_readers()\n"
        "import os; handle = open('taken', 'wb'); os.write(2, b'noise'); os.write(1, b'noise')\n"
        "assert handle.fileno() > 2\n"
    )
    assert shell(f"'{sys.executable}' -c \"{code}\" <&- >&- 2>&-", folder).returncode == 0
    assert (folder / "taken").read_bytes() == b""


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_whole_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    path = "a/" + "long" * 10 + ".png"
    table = "class           images   recall"
    text = f"one two three four five six seven\n  at {path} it was\n{table}\n"
    assert wrapped(text, io.StringIO()) == text
    assert wrapped(text, None) == text
    expected = ["one two three four five six", "seven", "  at", f"  {path}", "  it was", table, ""]
    assert wrapped(text, _Terminal()).split("\n") == expected


@pytest.mark.parametrize(("streams", "said"), [(">&-", "stdout is closed"), (">/dev/full", "No space left")])
def test_data_that_cannot_be_delivered_are_an_error(folder: Path, streams: str, said: str) -> None:
    assert shell(CLASSIFY, folder).returncode == 0
    for command in ("classify in --out -", "differential r.csv"):
        done = shell(f"'{sys.executable}' -m bloodcell_batch {command} {streams}", folder)
        assert done.returncode == 1
        assert said in done.stderr
        assert "Traceback" not in done.stderr


def test_a_reader_that_has_seen_enough_is_no_error(folder: Path) -> None:
    assert shell(CLASSIFY, folder).returncode == 0
    done = shell(f"'{sys.executable}' -m bloodcell_batch verify r.csv | head -c 0; exit ${{PIPESTATUS[0]}}", folder)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_terminal_that_is_closed(folder: Path) -> None:
    """Its processes get SIGHUP, and every later write fails."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        os.execv("/bin/bash", ["bash", "-c", f"{CLASSIFY}; echo $? > code"])
    try:
        os.read(terminal, 1)  # it has begun to talk
    finally:
        os.close(terminal)
    # The shell in between dies of the SIGHUP, as a person's does.
    os.waitpid(child, 0)
    wait_until((folder / "r.csv").exists)
    assert (folder / "r.csv").read_text(encoding="utf-8").count("\n") == 4


def test_a_stream_falls_silent_for_good(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w+", encoding="utf-8") as stream:
        quiet = QuietWhenUnheard(stream)
        assert quiet.write("heard\n") == 6
        quiet.flush()
        os.close(os.dup(stream.fileno()))
        os.dup2(os.open("/dev/full", os.O_WRONLY), stream.fileno())
        for _ in range(3):
            assert quiet.write("lost\n") == 5
            quiet.flush()
        assert quiet.encoding == "utf-8"
    assert (tmp_path / "log").read_text(encoding="utf-8") == "heard\n"


def _closed() -> TextIO:
    stream = io.StringIO()
    stream.close()
    return stream


class _Full(io.StringIO):
    """Without a descriptor, and without room."""

    def write(self, _text: str) -> int:
        raise OSError(28, "No space left on device")


class _WithoutNumber:
    """A stand-in for stderr, as notebooks and services have them."""

    def write(self, _text: str) -> int:
        raise ValueError("nobody listens")

    flush = write


@pytest.mark.parametrize("make", [_closed, _Full, _WithoutNumber])
def test_a_stream_without_a_descriptor_falls_silent(make: Callable[[], object]) -> None:
    quiet = QuietWhenUnheard(cast("TextIO", make()))
    for _ in range(2):
        assert quiet.write("lost") == 4
        quiet.flush()
