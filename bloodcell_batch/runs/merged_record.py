"""The run record of merged shards: what they have in common once, and the rest shard by shard."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from bloodcell_batch.files.names import printable
from bloodcell_batch.progress import RunCounts
from bloodcell_batch.records import Rejection
from bloodcell_batch.results.record_entries import FinderEntry, MergedShardEntry, joined
from bloodcell_batch.results.run_record import RunRecord
from bloodcell_batch.runs.run_facts import counts_of, failures_of, matches_of, throughput
from bloodcell_batch.slides.matches import CrossSlideMatch


def merged_record(
    shards: Mapping[str, RunRecord],
    command: Sequence[str],
    input_sha256: str,
    counts: RunCounts,
    failures: Sequence[Rejection],
    matches: Sequence[CrossSlideMatch],
) -> RunRecord:
    """The record of the run whose shards these are, by the name of their tables.

    Times are those of all shards together: what one machine would have needed.
    """
    records = list(shards.values())
    first = records[0]
    timings: Counter[str] = Counter()
    for record in records:
        timings.update(record.timings_seconds)
    return RunRecord(
        bloodcell_batch=first.bloodcell_batch,
        schema_version=first.schema_version,
        notice=first.notice,
        command=[printable(word) for word in command],
        started=min(record.started for record in records),
        finished=max(record.finished for record in records),
        merged=datetime.now(UTC).isoformat(),
        input=first.input,
        input_sha256=input_sha256,
        config=first.config | {"shard": None, "embeddings": None},
        key=first.key,
        thresholds=first.thresholds,
        max_unclassified=first.max_unclassified,
        finder=_finder(records),
        slides_show={slide: shown for record in records for slide, shown in record.slides_show.items()},
        denominator=first.denominator,
        model=first.model,
        backend=joined([record.backend for record in records]),
        counts=counts_of(counts),
        resumed=sum(record.resumed for record in records),
        kept_from_earlier_result=sum(record.kept_from_earlier_result for record in records),
        throughput=throughput(counts, timings["total"]),
        timings_seconds={name: round(seconds, 3) for name, seconds in timings.items()},
        failures=failures_of(failures),
        cross_slide_duplicates=matches_of(matches),
        unreadable_folders=first.unreadable_folders,
        ignored=sorted((file for record in records for file in record.ignored or ()), key=lambda file: file.path),
        versions=first.versions,
        shards=[_entry(name, record) for name, record in shards.items()],
    )


def _entry(name: str, record: RunRecord) -> MergedShardEntry:
    return MergedShardEntry(
        results=printable(name),
        shard=record.shard,
        input=record.input,
        started=record.started,
        finished=record.finished,
        backend=record.backend,
        counts=record.counts,
        **({} if record.embeddings is None else {"embeddings": record.embeddings}),
        timings_seconds=record.timings_seconds,
        versions=record.versions,
    )


def _finder(records: Sequence[RunRecord]) -> FinderEntry | None:
    """The one finder of all shards, with all that ran it."""
    finder = records[0].finder
    backends = [record.finder.backend for record in records if record.finder and record.finder.backend]
    return finder.model_copy(update={"backend": joined(backends)}) if finder and backends else finder
