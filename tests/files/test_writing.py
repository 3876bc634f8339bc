from pathlib import Path

import pytest

from bloodcell_batch.errors import ExitCode, LockedError, OutputError
from bloodcell_batch.files.writing import locked, writing


def test_what_goes_wrong_with_a_disk_names_what_was_written() -> None:
    error = OSError(28, "No space left on device")
    wanted = pytest.raises(OutputError, match=r"^Can't write the model: No space left on device\.$")
    with wanted as caught, writing("the model", "Free some space."):
        raise error
    assert caught.value.hint == "Free some space."


def test_an_error_without_a_number_is_told_in_its_own_words() -> None:
    with pytest.raises(OutputError, match=r"Can't write r\.csv: the upload stopped"), writing(Path("r.csv")):
        raise OSError("the upload stopped")


def test_a_reader_that_has_seen_enough_is_no_error_of_ours() -> None:
    with pytest.raises(BrokenPipeError), writing("to stdout"):
        raise BrokenPipeError


def test_a_bug_stays_a_bug() -> None:
    with pytest.raises(ZeroDivisionError), writing("r.csv"):
        raise ZeroDivisionError


def test_one_at_a_time(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with locked(lock, "Another run is writing r.csv"):
        wanted = pytest.raises(LockedError, match=r"^Another run is writing r\.csv\.$")
        with wanted as caught, locked(lock, "Another run is writing r.csv"):
            pass
        assert caught.value.exit_code == ExitCode.LOCKED
        assert "Wait" in caught.value.hint
    with locked(lock, "Another run is writing r.csv"):
        pass


def test_an_error_in_the_body_is_not_taken_for_one_of_the_lock(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), locked(tmp_path / "lock", "busy"):
        (tmp_path / "none").read_bytes()
    with locked(tmp_path / "lock", "busy"):
        pass


def test_a_lock_that_cant_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="Can't write the lock"), locked(tmp_path / "file" / "lock", "busy"):
        pass
