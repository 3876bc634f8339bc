import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from small_record import small_record

from bloodcell_batch.errors import InputError
from bloodcell_batch.integrity.digests import file_sha256
from bloodcell_batch.records import Status
from bloodcell_batch.results import record_entries
from bloodcell_batch.results.run_record import RunRecord, read_record

# What a newer version may write, in an order of its own, with numbers that another type would change.
FOREIGN: dict[str, Any] = {
    "newer": {"b": 1, "a": [1.0, 1e-7, 10**30, None, {"deep": [True]}]},
    "versions": {"python": "3"},
    **{name: value for name, value in small_record().document().items() if name not in {"versions", "thresholds"}},
    "thresholds": {"outlier": 9, "confidence": 0.50},
    "config": {"max_megapixels": 50, "newer_option": {"x": [1]}},
    "model": {"newer": "z", "sha256": "ab", "name": "ü", "architecture": "a"},
}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "r.csv"
    path.write_text("path,slide_id\n", encoding="utf-8")
    return path


def write(table: Path, text: str) -> None:
    table.with_name("r.run.json").write_text(text, encoding="utf-8")


def test_a_record_is_written_as_it_was_read(table: Path) -> None:
    text = json.dumps(FOREIGN, indent=2, ensure_ascii=False) + "\n"
    write(table, text)
    assert read_record(table).as_json() == text


def test_what_a_record_does_not_say_is_not_written() -> None:
    assert list(small_record().document()) == [
        *("bloodcell_batch", "schema_version", "notice", "started", "finished", "thresholds", "denominator", "model"),
        *("backend", "counts", "versions"),
    ]
    assert small_record().document()["backend"] == {"name": "pytorch", "description": "PyTorch on cpu"}


def test_entries_stay_in_their_places_when_they_are_updated() -> None:
    before = RunRecord.from_document(FOREIGN)
    after = before.updated(versions={"python": "4"}, resumed=3)
    assert list(after.document()) == [*FOREIGN, "resumed"]
    assert (after.versions, after.resumed) == ({"python": "4"}, 3)
    assert before.versions == {"python": "3"}


class TestDigests:
    def test_they_are_of_the_tables_and_of_all_else_that_the_record_says(self, table: Path) -> None:
        record = RunRecord.from_document(FOREIGN).with_digests("01ab", {"images": table})
        assert list(record.document())[-3:] == ["results_id", "tables_sha256", "record_sha256"]
        assert record.tables_sha256 == {"images": file_sha256(table)}
        assert record.change_since_written(table) == ""
        write(table, record.as_json())
        assert read_record(table).change_since_written(table) == ""

    def test_earlier_ones_are_replaced(self, table: Path) -> None:
        once = small_record().with_digests("01ab", {"images": table})
        table.write_text("another", encoding="utf-8")
        twice = once.with_digests("01ab", {"images": table})
        assert twice.tables_sha256 != once.tables_sha256
        assert twice.change_since_written(table) == ""

    @pytest.mark.parametrize("change", [{"newer": 1}, {"thresholds": {"outlier": 9.0, "confidence": 0.5}}])
    def test_every_change_of_the_text_is_noticed(self, table: Path, change: dict[str, Any]) -> None:
        record = RunRecord.from_document(FOREIGN).with_digests("01ab", {"images": table})
        write(table, json.dumps({**record.document(), **change}))
        assert "run record of" in read_record(table).change_since_written(table)

    def test_a_changed_table_is_noticed(self, table: Path) -> None:
        record = small_record().with_digests("01ab", {"images": table})
        table.write_text("another", encoding="utf-8")
        assert "another SHA-256" in record.change_since_written(table)

    def test_a_record_without_them_can_not_tell(self, table: Path) -> None:
        assert small_record().change_since_written(table) == ""


class TestCounts:
    @pytest.mark.parametrize("counts", [{}, {"failed": 2, "classified": 0}, {"found": 9, "ignored": 3}])
    def test_what_agrees_or_is_not_said(self, counts: dict[str, Any]) -> None:
        record = RunRecord.from_document({**FOREIGN, "counts": counts})
        assert record.count_mismatch({Status.FAILED: 2}) == ""

    def test_what_differs(self) -> None:
        record = RunRecord.from_document({**FOREIGN, "counts": {"failed": 3}})
        expected = "has 2 rows with the status failed, its run record says 3"
        assert record.count_mismatch({Status.FAILED: 2}) == expected


class TestReading:
    @pytest.mark.parametrize(
        ("content", "words"),
        [
            ("", "is not JSON"),
            ("{", "is not JSON"),
            ("[" * 100_000, "is not JSON"),
            ("[]", "is not a run record: its top level: Input should be"),
            ("{}", "is not a run record: bloodcell_batch: Field required"),
            (json.dumps({**FOREIGN, "model": {"name": "a"}}), "is not a run record: model.sha256: Field required"),
            (json.dumps({**FOREIGN, "counts": {"failed": "3"}}), "counts.failed: Input should be a valid integer"),
            (json.dumps({**FOREIGN, "cross_slide_duplicates": [{"paths": ["a"], "distance": 1}]}), "at least 2 items"),
        ],
    )
    def test_what_is_no_record(self, table: Path, content: str, words: str) -> None:
        write(table, content)
        with pytest.raises(InputError, match=r"r\.run\.json") as caught:
            read_record(table)
        assert words in caught.value.message
        assert "keep the files together" in caught.value.hint

    def test_bytes_that_are_no_text(self, table: Path) -> None:
        table.with_name("r.run.json").write_bytes(b'{"a": "\xff"}')
        with pytest.raises(InputError, match="is not JSON"):
            read_record(table)

    def test_a_missing_record_with_a_hint_of_the_caller(self, table: Path) -> None:
        with pytest.raises(InputError, match=r"Can't read the run record .*: No such file") as caught:
            read_record(table, "Look for it.")
        assert caught.value.hint == "Look for it."


def test_the_json_schema_describes_every_entry() -> None:
    schema = RunRecord.model_json_schema()
    entries = {"RunRecord": schema, **schema["$defs"]}
    models = {kind for kind in vars(record_entries).values() if isinstance(kind, type) and issubclass(kind, BaseModel)}
    assert {kind.__name__ for kind in models} - set(entries) == {"BaseModel", "Entry"}
    for name, entry in entries.items():
        if "properties" not in entry:
            continue  # any JSON value
        assert entry["description"], name
        for field, told in entry["properties"].items():
            assert told["description"], f"{name}.{field}"
            if "seconds" in field:
                assert "second" in told["description"], f"{name}.{field}"
