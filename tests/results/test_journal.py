import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from bloodcell_batch.cell_classes import DEFAULT_CLASSES
from bloodcell_batch.errors import ExitCode, OutputError
from bloodcell_batch.records import ImageFacts, ImageFile, Outcome, Prediction, Quality, Reason, Rejection, Status
from bloodcell_batch.results import journal as journals
from bloodcell_batch.results.journal import Journal, begun_publishing, open_journal

KEY = {"model": "ab", "--dedup": '"near"'}
FACTS = ImageFacts("ab" * 32, bytes(range(32)), 360, 363, Quality(120.13, 30.25, 99.0), bytes(range(16)))
SHARES = tuple(0.93 if name == "ig" else 0.01 for name in DEFAULT_CLASSES.names)


def _file(number: int, **changes: int) -> ImageFile:
    return ImageFile(f"s/{number:02}\udcff.jpg", "s", changes.get("size", 100), changes.get("mtime", number))


def _outcome(file: ImageFile) -> Outcome:
    number = file.mtime_ns
    if number % 3 == 1:
        return Rejection(file, Status.FAILED, Reason.CORRUPT, f"detail {number}")
    if number % 3 == 2:
        return Rejection(file, Status.NEAR_DUPLICATE, facts=FACTS, duplicate_of="s/00", duplicate_distance=3)
    return Prediction(file, FACTS, Status.CLASSIFIED, None, "ig", 0.93, SHARES, 1.1, ())


FILES = [_file(number) for number in range(10)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A journal of six of ten files in parts of two, as a killed run leaves it."""
    monkeypatch.setattr(journals, "ROWS_PER_PART", 2)
    place = tmp_path / "r.csv.partial"
    _interrupted(place, 6)
    return place


def _interrupted(place: Path, rows: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        _run(place, FILES[:rows], stop=True)


def _run(place: Path, files: list[ImageFile], *, stop: bool) -> None:
    with open_journal(place, "r.csv", DEFAULT_CLASSES) as journal:
        journal.resume(KEY, FILES)
        for file in files:
            journal.append([_outcome(file)])
        if stop:
            raise KeyboardInterrupt


def _parts(place: Path) -> list[str]:
    """The parts that are there, each with its digest and nothing else."""
    found = sorted(path.name for path in place.glob("part-*.parquet"))
    assert {path.stem for path in place.glob("part-*")} == {Path(name).stem for name in found}
    return found


def _resumed(place: Path, files: list[ImageFile], key: dict[str, str] | None = None) -> tuple[int, str]:
    journal = Journal(place, DEFAULT_CLASSES)
    why = journal.resume(key or KEY, files)
    return journal.resumed, why


def test_rows_come_back_with_the_files_of_this_run(folder: Path) -> None:
    journal = Journal(folder, DEFAULT_CLASSES)
    assert journal.resume(KEY, FILES) == ""
    assert journal.resumed == 6
    outcomes = list(chain.from_iterable(journal.outcomes(FILES)))
    assert [outcome.file for outcome in outcomes] == FILES[:6]
    assert outcomes == [_outcome(file) for file in FILES[:6]]


@pytest.mark.parametrize("rows", [0, 1, 5, 6, 7, 10])
def test_all_rows_are_there_in_the_end_wherever_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(journals, "ROWS_PER_PART", 4)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    _interrupted(whole, 10)
    _interrupted(cut, rows)
    with open_journal(cut, "r", DEFAULT_CLASSES) as journal:
        journal.resume(KEY, FILES)
        assert journal.resumed == rows
        for file in FILES[rows:]:
            journal.append([_outcome(file)])
        journal.flush()
        batches = list(journal.batches())
    assert [len(batch) for batch in batches] == [4, 4, 2]
    expected = Journal(whole, DEFAULT_CLASSES)
    expected.resume(KEY, FILES)
    assert batches == list(expected.batches())


def test_rows_wait_no_longer_than_some_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "_PART_INTERVAL_S", 0.0)
    journal = Journal(tmp_path, DEFAULT_CLASSES)
    journal.append([_outcome(FILES[0])])
    assert _parts(tmp_path) == ["part-000000000.parquet"]


@pytest.mark.parametrize(
    ("files", "kept", "why"),
    [
        (FILES, 6, ""),
        ([*FILES, _file(11)], 6, ""),
        (FILES[:6], 6, ""),
        (FILES[:5], 4, "files at the end are gone"),
        (FILES[1:], 0, "from s/01\udcff.jpg on, files are new, gone or changed"),
        ([*FILES[:3], _file(3, size=101), *FILES[4:]], 2, "from s/03\udcff.jpg on"),
        ([*FILES[:3], _file(3, mtime=8), *FILES[4:]], 2, "from s/03\udcff.jpg on"),
        ([*FILES[:5], ImageFile(FILES[5].path, "t", 100, 5)], 4, "from s/05\udcff.jpg on"),
    ],
)
def test_rows_hold_as_long_as_the_files_are_the_same(folder: Path, files: list[ImageFile], kept: int, why: str) -> None:
    resumed, told = _resumed(folder, files)
    assert resumed == kept
    assert told.startswith(why)
    assert bool(told) == bool(why)
    assert len(_parts(folder)) == kept // 2


def test_rows_of_another_run_are_dropped_and_the_difference_is_named(folder: Path) -> None:
    assert _resumed(folder, FILES, KEY | {"--dedup": '"off"'}) == (0, "--dedup was '\"near\"' and now is '\"off\"'")
    assert _parts(folder) == []
    assert json.loads((folder / "key.json").read_text()) == KEY | {"--dedup": '"off"'}


@pytest.mark.parametrize(
    "damage", ["cut", *(f"flipped at {tenth}" for tenth in range(10)), "empty", "missing", "renamed", "no digest"]
)
def test_a_damaged_part_ends_what_can_be_used(folder: Path, damage: str) -> None:
    part = folder / "part-000000002.parquet"
    data = bytearray(part.read_bytes())
    if damage == "cut":
        part.write_bytes(data[:-100])
    elif damage.startswith("flipped"):
        data[len(data) * int(damage[-1]) // 10] ^= 0x01
        part.write_bytes(data)
    elif damage == "no digest":
        part.with_suffix(".xxh3").unlink()
    elif damage == "empty":
        part.write_bytes(b"")
    elif damage == "renamed":
        part.rename(folder / "part-000000003.parquet")
    else:
        part.unlink()
    resumed, why = _resumed(folder, FILES)
    assert resumed == 2
    assert "part-00000000" in why
    assert _parts(folder) == ["part-000000000.parquet"]


def test_a_lost_key_means_starting_over(folder: Path) -> None:
    (folder / "key.json").unlink()
    assert _resumed(folder, FILES) == (0, "its key is missing or damaged")


def test_a_half_written_part_is_not_seen(folder: Path) -> None:
    (folder / ".part-000000006.parquet.partial").write_bytes(b"half")
    assert _resumed(folder, FILES) == (6, "")


def test_a_run_without_rows_leaves_nothing(tmp_path: Path) -> None:
    _interrupted(tmp_path / "r.csv.partial", 0)
    assert list(tmp_path.iterdir()) == []


def test_a_published_run_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    with open_journal(folder, "r.csv", DEFAULT_CLASSES) as journal:
        journal.resume(KEY, FILES)
        with journal.publishing():
            assert begun_publishing(folder)
    assert list(tmp_path.iterdir()) == []


def test_a_run_killed_while_publishing_is_known_as_such(folder: Path) -> None:
    def killed(journal: Journal) -> Iterator[None]:
        with journal.publishing():
            raise KeyboardInterrupt
        yield

    assert not begun_publishing(folder)
    with pytest.raises(KeyboardInterrupt), open_journal(folder, "r.csv", DEFAULT_CLASSES) as journal:
        next(killed(journal))
    assert begun_publishing(folder)


def test_a_full_disk_keeps_the_parts_before(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: object, **_more: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(OutputError, match="No space left") as caught:
        _run(folder, FILES[6:], stop=False)
    assert caught.value.exit_code == ExitCode.ERROR
    assert "same command" in caught.value.hint
    monkeypatch.undo()
    assert _resumed(folder, FILES) == (6, "")
