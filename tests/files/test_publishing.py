from pathlib import Path

import pytest

from bloodcell_batch.errors import LockedError, OutputError
from bloodcell_batch.files.publishing import (
    bytes_writer,
    check_new,
    check_new_folder,
    folder_whole,
    publish_files,
    text_writer,
    written_whole,
)


def test_a_file_that_was_not_finished_leaves_the_old_one(tmp_path: Path) -> None:
    out = tmp_path / "m.json"
    out.write_text("old")

    def write_half(path: Path) -> None:
        with written_whole(path) as partial:
            partial.write_text("ne")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_half(out)
    assert [path.name for path in tmp_path.iterdir()] == ["m.json"]
    assert out.read_text() == "old"


def test_a_finished_file_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    out = tmp_path / "m.json"
    out.write_text("old")
    with written_whole(out) as partial:
        partial.write_text("new")
        assert out.read_text() == "old"
    assert out.read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["m.json"]


def test_several_files_appear_together_or_not_at_all(tmp_path: Path) -> None:
    def fail(_path: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match=r"Can't write .*a\.txt, .*b\.bin: No space left on device\."):
        publish_files({tmp_path / "a.txt": text_writer("a"), tmp_path / "b.bin": fail})
    assert not list(tmp_path.iterdir())
    publish_files({tmp_path / "a.txt": text_writer("a"), tmp_path / "b.bin": bytes_writer(b"b")})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "b.bin"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.txt", "must end in .json"),
        ("folder.json", "is a folder"),
        ("old.json", "exists"),
        ("no/m.json", "no folder"),
    ],
)
def test_a_place_that_can_not_be_written_is_refused_at_once(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "old.json").touch()
    with pytest.raises(OutputError, match=text):
        check_new(tmp_path / name, overwrite=False, suffix=".json")


def test_a_folder_appears_whole_and_what_a_killed_run_left_is_gone(tmp_path: Path) -> None:
    left = tmp_path / ".out.partial" / "s1"
    left.mkdir(parents=True)
    (left / "old.png").touch()
    (tmp_path / ".out.partial" / "old.csv").touch()
    (tmp_path / ".out.partial" / ".lock").touch()
    with folder_whole(tmp_path / "out") as fresh:
        (fresh / "new.csv").touch()
        assert not (tmp_path / "out").exists()
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == ["out", "out/new.csv"]


@pytest.mark.parametrize("linked", [False, True])
def test_a_folder_that_is_there_is_filled_and_stays_itself(tmp_path: Path, linked: bool) -> None:  # noqa: FBT001
    real = out = tmp_path / "real"
    (real / ".partial" / "s1").mkdir(parents=True)  # left by a killed run
    (real / ".partial" / ".lock").touch()
    if linked:
        out = tmp_path / "out"
        out.symlink_to(real)
    inode = real.stat().st_ino
    check_new_folder(out)
    with folder_whole(out) as fresh:
        (fresh / "s2").mkdir()
        (fresh / "s2" / "a.png").touch()
        (fresh / "cells.csv").touch()
        assert [path.name for path in real.iterdir()] == [".partial"]
    assert real.stat().st_ino == inode
    assert out.is_symlink() == linked
    assert sorted(path.relative_to(real).as_posix() for path in real.rglob("*")) == ["cells.csv", "s2", "s2/a.png"]


@pytest.mark.parametrize("linked", [False, True])
def test_nothing_of_others_is_taken_away(tmp_path: Path, linked: bool) -> None:  # noqa: FBT001
    theirs = tmp_path / ("theirs" if linked else ".out.partial")
    theirs.mkdir()
    (theirs / "precious.csv").touch()
    if linked:
        (theirs / ".lock").touch()
        (tmp_path / ".out.partial").symlink_to(theirs)
    with pytest.raises(OutputError, match="is not what a run"), folder_whole(tmp_path / "out"):
        pass
    assert (theirs / "precious.csv").exists()


def test_two_runs_do_not_fill_one_folder(tmp_path: Path) -> None:
    with folder_whole(tmp_path / "out") as fresh:
        (fresh / "a.png").touch()
        with pytest.raises(LockedError, match="Another run is writing"), folder_whole(tmp_path / "out"):
            pass
        assert (fresh / "a.png").exists()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("file", "is no empty folder"),
        ("full", "is no empty folder"),
        ("cells.CSV", "is the name of a table"),
        ("none/out", "There is no folder"),
    ],
)
def test_a_folder_that_can_not_be_written(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    with pytest.raises(OutputError, match=text):
        check_new_folder(tmp_path / name)


@pytest.mark.parametrize("name", ["new", "2026.11", "empty", "empty.csv"])
def test_a_folder_that_can_be_written(tmp_path: Path, name: str) -> None:
    for empty in ("empty", "empty.csv"):
        (tmp_path / empty).mkdir()
    check_new_folder(tmp_path / name)
