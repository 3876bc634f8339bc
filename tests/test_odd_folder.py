"""No file of a folder is lost, whatever it is: each has a row, or a reason in the run record."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from messy_slides import QUICK, quick_backend
from odd_folder import CELL, COPY, NO_PICTURE, Odd, write_odd_folder

from bloodcell_batch.files.names import printable
from bloodcell_batch.images.file_formats import FORMATS, LEFT_OUT, suffix_of
from bloodcell_batch.records import Reason
from bloodcell_batch.results.run_record import RunRecord, read_record
from bloodcell_batch.runs.pipeline import classify_slides

CELLS = {"classified", "unclassified"}


@pytest.fixture(scope="module", autouse=True)
def shared_backend() -> Iterator[None]:
    with quick_backend():
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Odd]]:
    root = tmp_path_factory.mktemp("odd") / "slides"
    return root, write_odd_folder(root)


@pytest.fixture(scope="module")
def odd(folder: tuple[Path, dict[str, Odd]]) -> dict[str, Odd]:
    return {printable(name): odd for name, odd in folder[1].items()}


@pytest.fixture(scope="module")
def table(folder: tuple[Path, dict[str, Odd]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("results") / "r.parquet"
    classify_slides(folder[0], str(out), QUICK)
    return out


@pytest.fixture(scope="module")
def rows(table: Path) -> dict[str, dict[str, Any]]:
    found = pq.read_table(table).to_pylist()
    assert len({row["path"] for row in found}) == len(found)
    return {row["path"]: row for row in found}


@pytest.fixture(scope="module")
def record(table: Path) -> RunRecord:
    return read_record(table)


def test_files_found_are_classified_unclassified_duplicates_failed_or_ignored(
    odd: dict[str, Odd], rows: dict[str, dict[str, Any]], record: RunRecord
) -> None:
    counts = dict(record.counts)
    assert counts.pop("found") == sum(counts.values()) == len(odd)
    by_status = Counter(row["status"] for row in rows.values())
    assert {name: counts[name] for name in by_status} == by_status
    assert record.ignored is not None
    assert record.failures is not None
    assert {entry.path for entry in record.ignored} | rows.keys() == odd.keys()
    assert counts["ignored"] == len(record.ignored)
    assert {entry.path for entry in record.failures} == {p for p, row in rows.items() if row["status"] == "failed"}
    assert all(entry.detail for entry in record.failures)


def test_each_file_has_its_fate(odd: dict[str, Odd], rows: dict[str, dict[str, Any]], record: RunRecord) -> None:
    ignored = {entry.path: kind_of(entry.why) for entry in record.ignored or ()}
    expected = {path: one.fate for path, one in odd.items()}
    found = {path: ignored[path] if path in ignored else fate(rows[path]) for path in odd}
    assert {p: (found[p], expected[p]) for p in odd if found[p] != expected[p]} == {}
    assert {path for path, one in odd.items() if one.ignored} == ignored.keys()


def fate(row: dict[str, Any]) -> str:
    reason: str = row["reason"] or ""
    if row["status"] in CELLS:
        return reason if reason == Reason.NO_CONTRAST else CELL
    return COPY if row["duplicate_of"] else reason


def kind_of(why: str) -> str:
    return why if why in {kind.why for kind in LEFT_OUT} else NO_PICTURE


def test_the_largest_of_copies_is_kept(rows: dict[str, dict[str, Any]]) -> None:
    copies = [row for row in rows.values() if row["duplicate_of"]]
    assert {row["duplicate_of"] for row in copies} == {"alike/0 original.png"}
    assert all(0 <= row["duplicate_distance"] <= 16 for row in copies)


def test_every_format_and_every_kind_of_litter_is_there(odd: dict[str, Odd]) -> None:
    suffixes = {suffix_of(path) for path in odd}
    assert [kind.name for kind in FORMATS if not suffixes & set(kind.suffixes)] == []
    reasons = {one.fate for one in odd.values() if one.ignored}
    assert {kind.why for kind in LEFT_OUT} <= reasons


def test_hidden_and_system_files_are_taken_in_on_request(
    folder: tuple[Path, dict[str, Odd]], odd: dict[str, Odd], tmp_path: Path
) -> None:
    result = classify_slides(folder[0], str(tmp_path / "r.parquet"), QUICK.model_copy(update={"include_hidden": True}))
    assert result.counts.balanced()
    assert result.counts.found == len(odd)
    left = {kind_of(entry.why) for entry in read_record(tmp_path / "r.parquet").ignored or ()}
    assert left == {NO_PICTURE}
