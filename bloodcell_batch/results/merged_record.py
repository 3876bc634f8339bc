"""The run record of merged shards: what they have in common once, and the rest shard by shard."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from bloodcell_batch.files.names import printable
from bloodcell_batch.records import CrossSlideMatch, Rejection, RunCounts
from bloodcell_batch.results.run_record import as_json, counts_of, findings, throughput


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")


class ShardEntry(_Entry):
    """Which part of a run it was, and the digest of all files that were found."""

    index: int
    count: int
    listing_sha256: str


class ModelEntry(_Entry):
    """The model, by its digest."""

    sha256: str


class BackendEntry(_Entry):
    """What the network ran on."""

    name: str
    description: str
    skipped: list[str]


class ShardRecord(_Entry):
    """The run record of a shard, as far as merging needs it; the rest is kept as it is."""

    bloodcell_batch: str
    schema_version: str
    notice: str
    started: str
    finished: str
    input: str
    config: dict[str, Any]
    key: dict[str, str]
    resumed: int
    kept_from_earlier_result: int
    shard: ShardEntry | None = None
    thresholds: dict[str, float]
    denominator: str
    model: ModelEntry
    backend: BackendEntry
    counts: dict[str, int]
    timings_seconds: dict[str, float]
    unreadable_folders: list[str]
    ignored: list[dict[str, str]]
    versions: dict[str, str]
    reviews: list[dict[str, Any]] = []
    tables_sha256: dict[str, str] = {}


def merged_record(
    shards: Mapping[str, ShardRecord],
    command: Sequence[str],
    input_sha256: str,
    counts: RunCounts,
    failures: Sequence[Rejection],
    matches: Sequence[CrossSlideMatch],
) -> str:
    """The run record, as JSON, of the run whose shards these are, by the name of their tables.

    Times are those of all shards together: what one machine would have needed.
    """
    records = list(shards.values())
    first = records[0]
    timings: Counter[str] = Counter()
    for record in records:
        timings.update(record.timings_seconds)
    document = {
        "bloodcell_batch": first.bloodcell_batch,
        "schema_version": first.schema_version,
        "notice": first.notice,
        "command": list(command),
        "started": min(record.started for record in records),
        "finished": max(record.finished for record in records),
        "merged": datetime.now(UTC).isoformat(),
        "input": first.input,
        "input_sha256": input_sha256,
        "config": first.config | {"shard": None},
        "key": first.key,
        "thresholds": first.thresholds,
        "denominator": first.denominator,
        "model": first.model.model_dump(),
        "backend": {
            "name": _joined(record.backend.name for record in records),
            "description": _joined(record.backend.description for record in records),
            "skipped": first.backend.skipped,
        },
        "counts": counts_of(counts),
        "resumed": sum(record.resumed for record in records),
        "kept_from_earlier_result": sum(record.kept_from_earlier_result for record in records),
        "throughput": throughput(counts, timings["total"]),
        "timings_seconds": {name: round(seconds, 3) for name, seconds in timings.items()},
        **findings(failures, matches),
        "unreadable_folders": first.unreadable_folders,
        "ignored": sorted((file for record in records for file in record.ignored), key=lambda file: file["path"]),
        "versions": first.versions,
        "shards": [_described(name, record) for name, record in shards.items()],
    }
    return as_json(document)


def _described(name: str, record: ShardRecord) -> dict[str, Any]:
    return {
        "results": printable(name),
        "shard": record.shard.model_dump() if record.shard else None,
        **record.model_dump(
            include={"input", "started", "finished", "backend", "counts", "timings_seconds", "versions"}
        ),
    }


def _joined(names: Iterable[str]) -> str:
    return ", ".join(sorted(set(names)))
