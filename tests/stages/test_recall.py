import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from default_tables import IMAGE_SCHEMA
from finished_run import Run
from small_record import small_record

from bloodcell_batch.cell_classes import DEFAULT_CLASSES
from bloodcell_batch.errors import InputError, UsageError
from bloodcell_batch.images.damage import UndecodableImageError
from bloodcell_batch.progress import NullObserver
from bloodcell_batch.records import ImageFile, KnownImage, Prediction, Reason, Rejection, Status
from bloodcell_batch.results.file_names import run_record_of
from bloodcell_batch.results.formats import read_table
from bloodcell_batch.stages.recall import EarlierRows, load_earlier, recall, unless_unchanged


class Telling(NullObserver):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str, **_fields: object) -> None:
        self.warnings.append(text)


def _files(run: Run) -> list[ImageFile]:
    return [
        replace(outcome.file, size_bytes=(run.images / outcome.file.path).stat().st_size) for outcome in run.outcomes
    ]


def _earlier(run: Run) -> EarlierRows:
    """The rows of the run, with the sizes that its files really have."""
    table = read_table(run.table, IMAGE_SCHEMA)
    sizes = [file.size_bytes for file in _files(run)]
    position = table.schema.get_field_index("size_bytes")
    return EarlierRows(table.set_column(position, IMAGE_SCHEMA.field("size_bytes"), [sizes]), DEFAULT_CLASSES)


def _decoded(file: ImageFile) -> Rejection:
    return Rejection(file, Status.FAILED, detail="decoded")


def test_what_has_not_changed_is_not_decoded(run: Run) -> None:
    earlier = _earlier(run)
    read: list[str] = []

    def reader(file: ImageFile) -> bytes:
        read.append(file.path)
        return (run.images / file.path).read_bytes()

    decode = unless_unchanged(_decoded, reader, earlier)
    files = _files(run)
    found = [decode(file) for file in earlier.passing(files)]
    failed = [outcome.file.path for outcome in run.outcomes if outcome.status is Status.FAILED]
    assert [outcome.file.path for outcome in found if isinstance(outcome, Rejection)] == failed
    assert read == [file.path for file in files if file.path not in failed]
    assert earlier.kept == len(files) - len(failed)
    for outcome, before, file in zip(found, run.outcomes, files, strict=True):
        if isinstance(before, Prediction):
            assert isinstance(outcome, KnownImage)
            (row,) = outcome.rows
            assert isinstance(row, Prediction)
            assert (row.label, row.file) == (before.label, file)
        elif before.status is not Status.FAILED:
            assert isinstance(outcome, KnownImage)
            assert outcome.rows == ()


@pytest.mark.parametrize("change", ["content", "size", "gone", "new"])
def test_what_has_changed_is_decoded(run: Run, change: str) -> None:
    earlier = _earlier(run)
    file = _files(run)[0]
    data = (run.images / file.path).read_bytes()
    if change == "content":
        data = data[:-1] + b"?"
    elif change == "size":
        file = replace(file, size_bytes=file.size_bytes + 1)
    elif change == "new":
        file = replace(file, path="007/new.jpg")
    assert hashlib.sha256(data).hexdigest()

    def reader(_file: ImageFile) -> bytes:
        if change == "gone":
            raise UndecodableImageError(Reason.CHANGED_DURING_RUN, "gone")
        return data

    [passed] = earlier.passing([file])
    assert unless_unchanged(_decoded, reader, earlier)(passed) == _decoded(file)
    assert earlier.kept == 0


def test_recall_gives_the_earlier_prediction_and_decodes_what_has_none(run: Run) -> None:
    cell = next(outcome for outcome in run.outcomes if isinstance(outcome, Prediction))
    copy = next(outcome for outcome in run.outcomes if outcome.status is Status.EXACT_DUPLICATE)
    assert copy.facts is not None
    failed = Rejection(cell.file, Status.FAILED)
    known = [KnownImage(cell.file, cell.facts, (cell,)), KnownImage(copy.file, copy.facts, ())]
    assert list(recall([*known, failed], _decoded)) == [cell, _decoded(copy.file), failed]


KEY = {"model": "ab"}
RECORD = dict(small_record().document())


class TestLoadEarlier:
    def _record(self, table: Path, content: object) -> None:
        run_record_of(table).write_text(json.dumps(content), encoding="utf-8")

    def test_there_is_nothing_to_update_yet(self, tmp_path: Path) -> None:
        assert load_earlier(tmp_path / "r.csv", KEY, NullObserver()) is None

    @pytest.mark.parametrize("suffix", [".parquet", ".csv", ".xlsx"])
    def test_rows_of_the_same_key(self, run: Run, tmp_path: Path, suffix: str) -> None:
        table = run.copy(tmp_path / f"r{suffix}")
        self._record(table, {**RECORD, "key": KEY})
        earlier = load_earlier(table, KEY, NullObserver())
        assert earlier is not None
        files = [outcome.file for outcome in run.outcomes]
        rows = [earlier.take(file) for file in earlier.passing(files)]
        assert [row.status for (row,) in rows] == [outcome.status for outcome in run.outcomes]

    def test_another_key_is_named(self, run: Run, tmp_path: Path) -> None:
        table = run.copy(tmp_path / "r.csv")
        observer = Telling()
        self._record(table, {**RECORD, "key": {"model": "cd"}})
        assert load_earlier(table, KEY, observer) is None
        assert observer.warnings == ["everything is classified again: model was cd and now is ab"]

    def test_columns_of_another_version_are_why_all_is_classified_again(self, run: Run, tmp_path: Path) -> None:
        table = run.copy(tmp_path / "r.csv")
        table.write_text("path\n", encoding="utf-8")  # not even read
        observer = Telling()
        self._record(table, {**RECORD, "schema_version": "2", "key": KEY | {"schema_version": "2"}})
        assert load_earlier(table, KEY | {"schema_version": "3"}, observer) is None
        assert observer.warnings == ["everything is classified again: schema_version was 2 and now is 3"]

    @pytest.mark.parametrize(
        "content",
        [{}, [], RECORD, {**RECORD, "key": 3}, {**RECORD, "key": None}, {**RECORD, "key": KEY, "tables_sha256": [3]}],
    )
    def test_a_foreign_record_is_an_error(self, run: Run, tmp_path: Path, content: object) -> None:
        table = run.copy(tmp_path / "r.csv")
        self._record(table, content)
        with pytest.raises(InputError, match="can't be updated"):
            load_earlier(table, KEY, NullObserver())

    def test_a_record_nested_without_end_is_an_error(self, run: Run, tmp_path: Path) -> None:
        table = run.copy(tmp_path / "r.csv")
        run_record_of(table).write_text("[" * 100_000, encoding="utf-8")
        with pytest.raises(InputError, match="can't be updated"):
            load_earlier(table, KEY, NullObserver())

    def test_stdout_has_no_earlier_result(self) -> None:
        with pytest.raises(UsageError, match="needs a file"):
            load_earlier(None, KEY, NullObserver())
