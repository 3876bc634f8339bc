"""The run record: everything about a run that is not a row of a table, as JSON beside the image table.

One model describes it wherever it is written, read, merged or verified. `RunRecord.model_json_schema()` is its JSON
Schema.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import Field, JsonValue, PrivateAttr, ValidationError

from bloodcell_batch.config.problems import first_problem
from bloodcell_batch.differential.arithmetic import MAX_UNCLASSIFIED
from bloodcell_batch.errors import InputError
from bloodcell_batch.integrity.digests import canonical_json, file_sha256
from bloodcell_batch.progress import counted
from bloodcell_batch.records import Status
from bloodcell_batch.results.file_names import run_record_of
from bloodcell_batch.results.record_entries import (
    BackendEntry,
    EmbeddingsEntry,
    Entry,
    FailureEntry,
    FinderEntry,
    IgnoredEntry,
    MatchEntry,
    MergedShardEntry,
    ModelEntry,
    ReviewEntry,
    ShardEntry,
    SlideShowsEntry,
    ThroughputEntry,
)

MAX_RECORD_BYTES = 1_000_000_000
"""A hundred bytes for each of ten million failed or ignored files."""

_KEEP_TOGETHER = "The run record is written beside the table by `classify`; keep the files together."


FAILURES_LISTED = 1000
"""How many failed files a run record names; the table has a row for each, and a million would fill the memory."""


class RunRecord(Entry):
    """A run of `classify` or `merge`, with the reviews that were imported since.

    Required is what every record holds. The rest is left out where there is nothing to say, and nearly all of it once
    the results have pseudonyms.
    """

    bloodcell_batch: str = Field(description="Version of the program that classified the images")
    schema_version: str = Field(description="Version of the tables' columns")
    notice: str = Field(description="What the results may be used for")
    command: list[str] = Field([], description="The command line")
    started: str = Field(description="Start of the run, UTC", json_schema_extra={"format": "date-time"})
    finished: str = Field(description="End of the run, UTC", json_schema_extra={"format": "date-time"})
    merged: str = Field("", description="When shards were merged, UTC", json_schema_extra={"format": "date-time"})
    input: str = Field("", description="Folder or URL that was classified")
    input_sha256: str | None = Field(
        None, description="SHA-256, in hex, of the paths and sizes of the images: of a line of JSON for each"
    )
    config: dict[str, JsonValue] = Field({}, description="Every option of `classify`, by its name")
    key: dict[str, str] = Field(
        {}, description="All that the rows depend on besides the images; equal keys, equal rows"
    )
    shard: ShardEntry | None = Field(None, description="Which part of a run this is, for --shard")
    thresholds: dict[str, float] = Field(
        description="Thresholds in use: confidence (0 to 1, lower is unclassified), outlier (higher is unclassified)"
    )
    max_unclassified: float = Field(
        MAX_UNCLASSIFIED,
        ge=0,
        lt=1,
        description="Share of the possible leukocytes; where more are unclassified, percentages are withheld",
    )
    finder: FinderEntry | None = Field(None, description="What looks for cells")
    slides_show: dict[str, SlideShowsEntry] = Field(
        {}, description="What the images of each slide are taken for, and by which votes"
    )
    denominator: str = Field(description="Classes that the percentages of the differential are of")
    model: ModelEntry = Field(description="The model")
    backend: BackendEntry = Field(description="What ran the model")
    counts: dict[str, int] = Field(description="Files: found, by status as in the image table, and ignored")
    resumed: int = Field(0, description="Files whose rows an interrupted run had left")
    kept_from_earlier_result: int = Field(0, description="Files whose rows --update kept")
    throughput: ThroughputEntry | None = Field(None, description="Speed")
    timings_seconds: dict[str, float] = Field({}, description="Duration by part of the run, and in total; seconds")
    failures: list[FailureEntry] | None = Field(
        None, description=f"Files with the status failed, the first {FAILURES_LISTED:,} in the order of the table"
    )
    cross_slide_duplicates: list[MatchEntry] = Field([], description="Pictures that are in two slides")
    unreadable_folders: list[str] = Field([], description="Folders that could not be read")
    ignored: list[IgnoredEntry] | None = Field(None, description="Files that are not images by their names")
    versions: dict[str, str] = Field(description="Versions of Python, the operating system and packages")
    shards: list[MergedShardEntry] = Field([], description="The shards that were merged")
    pseudonymised: bool = Field(False, description="Whether slides, paths, hashes and people have pseudonyms")
    results_id: str = Field("", description="Identity of the rows and the model, whatever the format of the table")
    tables_sha256: dict[str, str] | None = Field(
        None, description="SHA-256, in hex, of the published tables: images, slides"
    )
    further_tables_sha256: dict[str, dict[str, str]] = Field(
        {}, description="The same for every further format that the tables were written in, by its suffix"
    )
    embeddings: EmbeddingsEntry | None = Field(None, description="What the network saw of each cell, where it was kept")
    reviews: list[ReviewEntry] = Field([], description="Reviews that were imported, oldest first")
    record_sha256: str | None = Field(
        None, description="SHA-256, in hex, of this record without this entry: of JSON with sorted keys, without spaces"
    )

    # Of a record that was read: its digest is of what the file says, to the digit.
    _document: dict[str, JsonValue] | None = PrivateAttr(None)

    @classmethod
    def from_document(cls, document: dict[str, JsonValue]) -> Self:
        """The record that a JSON object is, which must not be changed any more.

        Raises:
            pydantic.ValidationError: it is of another form.
        """
        record = cls.model_validate(document)
        record._document = document  # noqa: SLF001 - its own
        return record

    def document(self) -> Mapping[str, JsonValue]:
        """The record as a JSON object, with all that it was read with, in the same order."""
        if self._document is None:
            self._document = self.model_dump(exclude_unset=True)
        return self._document

    def as_json(self) -> str:
        """The text of the file: indented, with a final newline."""
        return json.dumps(self.document(), indent=2, ensure_ascii=False) + "\n"

    def updated(self, **entries: JsonValue) -> Self:
        """The same record with other entries, at the end if it had none of these names."""
        return self.from_document({**self.document(), **entries})

    def content_sha256(self) -> str:
        """What `record_sha256` is if nothing was changed."""
        return _digest({name: value for name, value in self.document().items() if name != "record_sha256"})

    def with_digests(
        self,
        results_id: str,
        tables: Mapping[str, Path],
        further: Mapping[str, Mapping[str, Path]] | None = None,
        kept: Mapping[str, Mapping[str, str]] | None = None,
        embeddings: EmbeddingsEntry | None = None,
    ) -> Self:
        """The same record with the digests of `tables` and of itself, in place of earlier ones.

        They show changes made by accident, or by somebody who can't compute them. Who can is found by the audit log,
        which holds the digests in another place.

        Args:
            results_id: of the image table.
            tables: what each table is called in the record, and the file that holds it.
            further: the same for every further format, by its suffix.
            kept: digests of tables of the same rows that an earlier run wrote, by their suffix.
            embeddings: the file of embeddings that goes with them; that of the record, if it has one, where None.
        """
        more: dict[str, JsonValue] = {suffix: _digests(files) for suffix, files in (further or {}).items()}
        more |= {suffix: {**digests} for suffix, digests in (kept or {}).items()}
        document = {**self.document(), "results_id": results_id, "tables_sha256": _digests(tables)}
        document.pop("further_tables_sha256", None)
        if more:
            document["further_tables_sha256"] = {**more}
        if embeddings is not None:
            document["embeddings"] = embeddings.model_dump()
        document.pop("record_sha256", None)
        document["record_sha256"] = _digest(document)
        # Not parsed again: there may be a million failed or ignored files.
        names = ("results_id", "tables_sha256", "record_sha256")
        changed = {"further_tables_sha256": more, "embeddings": embeddings or self.embeddings}
        fresh = self.model_copy(update={**changed, **{name: document[name] for name in names}})
        fresh._document = document  # noqa: SLF001 - its own
        return fresh

    def digests_of(self, images: Path) -> dict[str, str]:
        """The digests of the tables in the format of this image table, by what the tables are called."""
        return self.further_tables_sha256.get(images.suffix.lower()) or self.tables_sha256 or {}

    def change_since_written(self, images: Path) -> str:
        """What was changed after the record and its image table were written, in words.

        Empty if nothing was, or where there is no digest to compare with: `verify` tells of that.
        """
        if self.record_sha256 is not None and self.record_sha256 != self.content_sha256():
            return f"The run record of {images} was changed after it was written"
        of_table = self.digests_of(images).get("images")
        if of_table is not None and of_table != file_sha256(images):
            return f"{images} was changed after it was written: it has another SHA-256 than its run record says"
        return ""

    def count_mismatch(self, found: Mapping[Status, int]) -> str:
        """How the rows of a table, counted by status, and `counts` differ, in words; empty if they don't."""
        for status in Status:
            said, rows = self.counts.get(status.value), found.get(status, 0)
            if said is not None and said != rows:
                return f"has {counted(rows, 'row')} with the status {status.value}, its run record says {said}"
        return ""


def _digests(files: Mapping[str, Path]) -> dict[str, JsonValue]:
    return {name: file_sha256(path) for name, path in files.items()}


def _digest(document: Mapping[str, JsonValue]) -> str:
    return hashlib.sha256(canonical_json(document)).hexdigest()


def read_record(table: Path, hint: str = _KEEP_TOGETHER) -> RunRecord:
    """The run record beside an image table.

    Raises:
        InputError: missing, unreadable, not JSON, or of another form; with `hint`.
    """
    path = run_record_of(table)
    try:
        if path.stat().st_size > MAX_RECORD_BYTES:
            raise InputError(f"The run record {path} has more than {MAX_RECORD_BYTES:,} bytes.", hint=hint)
        return RunRecord.from_document(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise InputError(f"Can't read the run record {path}: {error.strerror}.", hint=hint) from error
    except ValidationError as error:
        problem = first_problem(error, "its top level")
        raise InputError(f"{path} is not a run record: {problem}.", hint=hint) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"The run record {path} is not JSON: {error}.", hint=hint) from error
