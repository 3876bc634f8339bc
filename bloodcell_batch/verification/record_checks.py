"""Checks of the run record: its own digest, those of the tables, and its counts against the rows."""

import hashlib
from pathlib import Path

import pyarrow as pa

from bloodcell_batch.errors import ModelFileError
from bloodcell_batch.integrity.digests import file_sha256, listing_digest
from bloodcell_batch.integrity.results_id import results_id
from bloodcell_batch.model.file import DEFAULT_MODEL, open_model
from bloodcell_batch.progress import counted
from bloodcell_batch.records import Status
from bloodcell_batch.results.file_names import slide_table_of
from bloodcell_batch.results.run_record import RunRecord
from bloodcell_batch.verification.findings import Findings
from bloodcell_batch.verification.table_checks import Seen

_PLACE = "run record"


def check_digests(table: Path, record: RunRecord, findings: Findings) -> None:
    """Compare the digests in the run record with the record and with the bytes of the tables."""
    if record.record_sha256 is None:
        findings.add(_PLACE, "record_sha256 is missing")
    elif record.record_sha256 != record.content_sha256():
        findings.add(_PLACE, "was changed after the run: its content has another SHA-256 than it says")
    files = {"images": table}
    slides = slide_table_of(table)
    if slides is not None:
        files["slides"] = slides
    digests = record.digests_of(table)
    for name, path in files.items():
        if name not in digests:
            findings.add(_PLACE, f"tables_sha256 has no digest of the table {path.name}")
        elif path.is_file() and file_sha256(path) != digests[name]:
            findings.add(
                str(path), "was changed after the run: its bytes have another SHA-256 than the run record says"
            )


def check_embeddings(table: Path, record: RunRecord, findings: Findings) -> str:
    """Compare the digest of the embeddings with the bytes of their file; returns why not, empty if it was done or there
    are none."""
    if record.embeddings is None:
        return ""
    path = table.parent / Path(record.embeddings.file).name
    if not path.is_file():
        return f"the embeddings: {path} is not there"
    if file_sha256(path) != record.embeddings.sha256:
        findings.add(str(path), "was changed after the run: its bytes have another SHA-256 than the run record says")
    return ""


def check_identity(images: pa.Table, record: RunRecord, findings: Findings) -> None:
    """Compare the identity in the run record with that of the rows and the model."""
    if not record.results_id:
        findings.add(_PLACE, "results_id is missing")
    elif record.results_id != results_id(images, record.model.sha256):
        findings.add(_PLACE, "results_id is not of the rows in the table and the model")


def check_record(record: RunRecord, seen: Seen, findings: Findings) -> None:
    """Compare the counts and lists of the run record with the rows, and its thresholds with its options."""
    counts = record.counts
    for status in Status:
        if counts.get(status.value) != seen.by_status[status]:
            rows = f"the table has {counted(seen.by_status[status], 'row')} with it"
            findings.add(_PLACE, f"counts: {status.value} is {counts.get(status.value)}, {rows}")
    files = seen.rows - seen.further_cells
    total = files + counts.get("ignored", 0)
    if counts.get("found") != total or counts.get("ignored", -1) < 0:
        parts = f"{counted(files, 'image file')} and {counted(counts.get('ignored', 0), 'ignored file')}"
        findings.add(_PLACE, f"counts: found is {counts.get('found')}, but there are {parts}")
    if record.pseudonymised:
        return
    if record.ignored is None or len(record.ignored) != counts.get("ignored"):
        findings.add(_PLACE, "its list of ignored files doesn't have as many entries as it counts")
    if record.failures is None or [(f.path, f.reason) for f in record.failures] != seen.failed:
        findings.add(_PLACE, "its list of failures is not that of the table")
    if record.input_sha256 != listing_digest((path, size) for path, (size, _) in seen.files.items()):
        findings.add(_PLACE, "input_sha256 is not of the paths and sizes in the table")
    for name, option in (("confidence", "min_confidence"), ("outlier", "outlier_threshold")):
        chosen = record.config.get(option)
        if name not in record.thresholds or (chosen is not None and chosen != record.thresholds[name]):
            findings.add(_PLACE, f"thresholds: {name} is {record.thresholds.get(name)}, the option said {chosen}")


def check_model(record: RunRecord, model: Path | None, findings: Findings) -> str:
    """Hash the model file and compare it with the record; returns why it was not checked, empty if it was."""
    path = model or DEFAULT_MODEL
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        hint = "Correct --model, or leave it out."
        raise ModelFileError(f"Can't read the model file {path}: {error.strerror or error}.", hint=hint) from error
    if digest != record.model.sha256:
        if model is None:
            return f"the model: {record.model.sha256[:12]} is not the one in the package, name its file with --model"
        findings.add(str(model), f"has the SHA-256 {digest}, the results were made by {record.model.sha256}")
        return ""
    header = open_model(path).header
    if record.model.name != header.name or record.model.architecture != header.architecture:
        findings.add(_PLACE, f"model: it is called {header.name} ({header.architecture})")
    own = {
        "confidence": ("min_confidence", header.review_threshold),
        "outlier": ("outlier_threshold", header.outlier.threshold),
    }
    for name, (option, threshold) in own.items():
        if not record.pseudonymised and record.config.get(option) is None and record.thresholds.get(name) != threshold:
            findings.add(_PLACE, f"thresholds: {name} is {record.thresholds.get(name)}, the model's own is {threshold}")
    return ""
