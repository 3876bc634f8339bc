"""The run record, read back: JSON from a file that anybody may have changed, so its form is checked before its use."""

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bloodcell_batch.errors import InputError
from bloodcell_batch.records import Status
from bloodcell_batch.results.file_names import run_record_of

_MAX_BYTES = 1_000_000_000  # a hundred bytes for each of ten million failed or ignored files


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow", strict=True)


class RecordedModel(_Part):
    """The model that made the results."""

    name: str = ""
    sha256: str = ""
    architecture: str = ""


class RecordedBackend(_Part):
    """What ran it."""

    name: str = ""
    description: str = ""


class RecordedMatch(_Part):
    """The same picture in two slides."""

    paths: Annotated[list[str], Field(min_length=2, max_length=2)]
    distance: int


class RecordedFailure(_Part):
    """A file that could not be decoded."""

    path: str
    reason: str


class RecordedReview(_Part):
    """An imported review."""

    verified_by: list[str] = []


class RecordedRun(_Part):
    """The entries of a run record that are read back. None and empty where a record lacks them, as a pseudonymised
    one lacks most."""

    bloodcell_batch: str = ""
    schema_version: str = ""
    started: str = ""
    finished: str = ""
    input: str = ""
    input_sha256: str | None = None
    denominator: str = ""
    config: dict[str, Any] = {}
    thresholds: dict[str, float] = {}
    model: RecordedModel = RecordedModel()
    backend: RecordedBackend = RecordedBackend()
    counts: dict[str, int] = {}
    failures: list[RecordedFailure] | None = None
    cross_slide_duplicates: list[RecordedMatch] = []
    ignored: list[dict[str, str]] | None = None
    versions: dict[str, str] = {}
    reviews: list[RecordedReview] = []
    pseudonymised: bool = False
    results_id: str = ""
    tables_sha256: dict[str, str] | None = None
    record_sha256: str | None = None


def read_record(table: Path) -> dict[str, Any]:
    """The run record beside an image table, of the form that `RecordedRun` describes.

    Raises:
        InputError: missing, unreadable, no JSON, or of another form.
    """
    path = run_record_of(table)
    hint = "The run record is written beside the table by `classify`; keep the files together."
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InputError(f"The run record {path} has more than {_MAX_BYTES:,} bytes.", hint=hint)
        document = json.loads(path.read_text(encoding="utf-8"))
        RecordedRun.model_validate(document)
    except OSError as error:
        raise InputError(f"Can't read the run record {path}: {error.strerror}.", hint=hint) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "its top level"
        raise InputError(f"{path} is no run record: {where}: {first['msg']}.", hint=hint) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"The run record {path} is no JSON: {error}.", hint=hint) from error
    found: dict[str, Any] = document
    return found


def count_mismatch(found: dict[Status, int], counts: dict[str, int]) -> str:
    """How the rows of a table and the counts of its run record differ, in words; empty if they don't."""
    wrong = [status for status in Status if status.value in counts and counts[status.value] != found.get(status, 0)]
    if not wrong:
        return ""
    name, there = wrong[0].value, counts[wrong[0].value]
    return f"has {found.get(wrong[0], 0)} rows with the status {name}, its run record says {there}"
