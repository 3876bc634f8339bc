"""What a run of `classify` writes into its record."""

import importlib.metadata
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from bloodcell_batch import __version__
from bloodcell_batch.cell_classes import RESEARCH_USE_ONLY, ClassList
from bloodcell_batch.config.base import not_compared
from bloodcell_batch.config.classify import ClassifyConfig
from bloodcell_batch.fields.vote import SlideView
from bloodcell_batch.files.names import printable
from bloodcell_batch.integrity.digests import listing_digest
from bloodcell_batch.model.evidence import doubt
from bloodcell_batch.model.file import ModelFile
from bloodcell_batch.progress import RunCounts
from bloodcell_batch.records import Rejection, Status
from bloodcell_batch.results.record_entries import (
    BackendEntry,
    FailureEntry,
    FinderEntry,
    IgnoredEntry,
    MatchEntry,
    ModelEntry,
    ShardEntry,
    SlideShowsEntry,
    ThroughputEntry,
    reported_classes,
)
from bloodcell_batch.results.run_record import RunRecord
from bloodcell_batch.results.tables import SCHEMA_VERSION
from bloodcell_batch.runs.local import Classifier
from bloodcell_batch.slides.found import ScanResult
from bloodcell_batch.slides.matches import CrossSlideMatch
from bloodcell_batch.slides.shards import parse_shard

_PACKAGES = ("numpy", "pillow", "simplejpeg", "pyarrow", "openvino", "torch", "timm")


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What the pipeline knows at the end of a run; times in seconds."""

    command: Sequence[str]
    config: ClassifyConfig
    key: dict[str, str]
    thresholds: dict[str, float]
    model: ModelFile
    finder: ModelFile
    finder_backend: BackendEntry
    views: Mapping[str, SlideView]
    classes: ClassList
    backend: str
    backend_description: str
    backends_skipped: Sequence[str]
    scan: ScanResult
    input_sha256: str
    counts: RunCounts
    failures: Sequence[Rejection]
    resumed: int
    kept: int
    matches: Sequence[CrossSlideMatch]
    started: datetime
    timings: dict[str, float]


def record_of(facts: RunFacts) -> RunRecord:
    """The record of a run of `classify` that ends now."""
    record = RunRecord(
        bloodcell_batch=__version__,
        schema_version=SCHEMA_VERSION,
        notice=RESEARCH_USE_ONLY,
        command=[printable(word) for word in facts.command],
        started=facts.started.isoformat(),
        finished=datetime.now(UTC).isoformat(),
        input=printable(facts.scan.root),
        input_sha256=facts.input_sha256,
        config=facts.config.model_dump(mode="json"),
        key=facts.key,
        thresholds=facts.thresholds,
        max_unclassified=facts.config.max_unclassified,
        finder=FinderEntry(
            name=facts.finder.header.name,
            sha256=facts.finder.sha256,
            red_cell_pixels=facts.config.red_cell_pixels,
            backend=facts.finder_backend,
        ),
        slides_show={printable(slide): SlideShowsEntry(**asdict(view)) for slide, view in facts.views.items()},
        denominator=facts.classes.denominator,
        model=ModelEntry(
            name=facts.model.header.name,
            sha256=facts.model.sha256,
            architecture=facts.model.header.architecture,
            classes=reported_classes(facts.classes),
            **({"doubt": why} if (why := doubt(facts.model.header)) else {}),
        ),
        backend=BackendEntry(
            name=facts.backend, description=facts.backend_description, skipped=list(facts.backends_skipped)
        ),
        counts=counts_of(facts.counts),
        resumed=facts.resumed,
        kept_from_earlier_result=facts.kept,
        throughput=throughput(facts.counts, facts.timings["total"]),
        timings_seconds={name: round(value, 3) for name, value in facts.timings.items()},
        failures=failures_of(facts.failures),
        cross_slide_duplicates=matches_of(facts.matches),
        unreadable_folders=[printable(folder) for folder in facts.scan.unreadable_folders],
        ignored=[IgnoredEntry(path=printable(file.path), why=file.why) for file in facts.scan.ignored],
        versions=versions(),
    )
    if facts.config.shard is None:
        return record
    shard = parse_shard(facts.config.shard)
    entry = ShardEntry(index=shard.index, count=shard.count, listing_sha256=facts.scan.listing_sha256)
    return record.model_copy(update={"shard": entry})


def run_key(
    model: ModelFile,
    finder: ModelFile,
    classifier: Classifier,
    thresholds: Mapping[str, float],
    config: ClassifyConfig,
) -> dict[str, str]:
    """Everything but the images that the rows depend on, by the names people know: two runs with the same key give
    the same row for the same file."""
    options = config.model_dump(mode="json", exclude=not_compared(ClassifyConfig))
    return {
        "version": __version__,
        "schema_version": SCHEMA_VERSION,
        "model": model.sha256,
        "finder": finder.sha256,
        "backend": classifier.description,
        "the finder's backend": classifier.finder_backend.description,
        **{f"the threshold of the {name}": str(value) for name, value in thresholds.items()},
        **{f"--{name.replace('_', '-')}": json.dumps(value) for name, value in options.items()},
    }


def input_digest(found: ScanResult) -> str:
    """What identifies the images of a run, SHA-256 in hex: see `listing_digest`."""
    return listing_digest((printable(file.path), file.size_bytes) for file in found.files)


def counts_of(counts: RunCounts) -> dict[str, int]:
    """The entry `counts`."""
    by_status = {status.value: counts.by_status[status] for status in Status}
    return {"found": counts.found, **by_status, "ignored": counts.ignored}


def throughput(counts: RunCounts, seconds: float) -> ThroughputEntry:
    """The entry `throughput`."""
    return ThroughputEntry(images_per_second=round(counts.done / seconds, 1) if seconds else None)


def failures_of(failures: Sequence[Rejection]) -> list[FailureEntry]:
    """The entry `failures`."""
    return [
        FailureEntry(
            path=printable(rejection.file.path),
            reason=rejection.reason.value if rejection.reason else "",
            detail=printable(rejection.detail),
        )
        for rejection in failures
    ]


def matches_of(matches: Sequence[CrossSlideMatch]) -> list[MatchEntry]:
    """The entry `cross_slide_duplicates`."""
    return [
        MatchEntry(paths=[printable(match.path), printable(match.other_path)], distance=match.distance)
        for match in matches
    ]


def versions() -> dict[str, str]:
    """Versions of what can change a number: Python, the operating system and the packages in the data path."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found
