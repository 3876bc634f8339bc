"""The run record: everything about a run that is not a row of a table, as JSON."""

import importlib.metadata
import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bloodcell_batch import __version__
from bloodcell_batch.config import ClassifyConfig
from bloodcell_batch.differential import DENOMINATOR
from bloodcell_batch.labels import RESEARCH_USE_ONLY
from bloodcell_batch.model_file import ModelFile
from bloodcell_batch.records import CrossSlideMatch, Rejection, RunCounts, ScanResult, Status
from bloodcell_batch.seals import listing_digest
from bloodcell_batch.tables import SCHEMA_VERSION, printable

_NO_MATTER = {"model", "backend", "workers", "file_timeout", "csv_dialect", "overwrite", "update", "allow_failed"}
_PACKAGES = ("numpy", "pillow", "simplejpeg", "pyarrow", "openvino", "torch", "timm")


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What the pipeline knows at the end of a run; times in seconds."""

    command: Sequence[str]
    config: ClassifyConfig
    key: dict[str, str]
    thresholds: dict[str, float]
    model: ModelFile
    backend: str
    backend_description: str
    backends_skipped: Sequence[str]
    scan: ScanResult
    counts: RunCounts
    failures: Sequence[Rejection]
    resumed: int
    kept: int
    matches: Sequence[CrossSlideMatch]
    started: datetime
    timings: dict[str, float]


def run_record(facts: RunFacts) -> str:
    """The run record as indented JSON with a final newline."""
    seconds = facts.timings["total"]
    document: dict[str, Any] = {
        "bloodcell_batch": __version__,
        "schema_version": SCHEMA_VERSION,
        "notice": RESEARCH_USE_ONLY,
        "command": list(facts.command),
        "started": facts.started.isoformat(),
        "finished": datetime.now(UTC).isoformat(),
        "input": printable(facts.scan.root),
        "input_sha256": input_digest(facts.scan),
        "config": facts.config.model_dump(mode="json"),
        "key": facts.key,
        "thresholds": facts.thresholds,
        "denominator": DENOMINATOR,
        "model": {
            "name": facts.model.header.name,
            "sha256": facts.model.sha256,
            "architecture": facts.model.header.architecture,
        },
        "backend": {
            "name": facts.backend,
            "description": facts.backend_description,
            "skipped": list(facts.backends_skipped),
        },
        "counts": {
            "found": facts.counts.found,
            **{status.value: facts.counts.by_status[status] for status in Status},
            "ignored": facts.counts.ignored,
        },
        "resumed": facts.resumed,
        "kept_from_earlier_result": facts.kept,
        "throughput": {"images_per_second": round(facts.counts.done / seconds, 1) if seconds else None},
        "timings_seconds": {name: round(value, 3) for name, value in facts.timings.items()},
        "failures": [_failure(rejection) for rejection in facts.failures],
        "cross_slide_duplicates": [
            {"paths": [printable(match.path), printable(match.other_path)], "distance": match.distance}
            for match in facts.matches
        ],
        "unreadable_folders": [printable(folder) for folder in facts.scan.unreadable_folders],
        "ignored": [{"path": printable(file.path), "why": file.why} for file in facts.scan.ignored],
        "versions": versions(),
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def run_key(model: ModelFile, backend_description: str, config: ClassifyConfig) -> dict[str, str]:
    """Everything but the images that the rows depend on, by the names people know: two runs with the same key give
    the same row for the same file."""
    options = config.model_dump(mode="json", exclude=_NO_MATTER)
    return {
        "version": __version__,
        "schema_version": SCHEMA_VERSION,
        "model": model.sha256,
        "backend": backend_description,
        **{f"--{name.replace('_', '-')}": json.dumps(value) for name, value in options.items()},
    }


def input_digest(found: ScanResult) -> str:
    """What identifies the images of a run, SHA-256 in hex: see `listing_digest`."""
    return listing_digest((printable(file.path), file.size_bytes) for file in found.files)


def versions() -> dict[str, str]:
    """Versions of what can change a number: Python, the operating system and the packages in the data path."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def _failure(rejection: Rejection) -> dict[str, str]:
    reason = rejection.reason.value if rejection.reason else ""
    return {"path": printable(rejection.file.path), "reason": reason, "detail": rejection.detail}
