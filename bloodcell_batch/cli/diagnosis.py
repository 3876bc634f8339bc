"""What `doctor` finds out about a machine."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import platformdirs

from bloodcell_batch import __version__
from bloodcell_batch.backends import AUTO_LADDER
from bloodcell_batch.backends.selection import open_backend, why_not
from bloodcell_batch.model.evidence import require_evidence
from bloodcell_batch.model.file import ModelFile, open_model
from bloodcell_batch.parallel.cpus import available_cpus
from bloodcell_batch.progress import Observer
from bloodcell_batch.runs.run_facts import versions


def examine(model_path: Path | None, folder: Path, observer: Observer) -> Iterator[str]:
    """Lines of the report, each as soon as it is known; the observer is told of a model that had little to learn from.

    Raises:
        BloodcellBatchError: the model file or every backend is unusable; the lines so far were still yielded.
    """
    yield f"bloodcell-batch {__version__}"
    for name, version in versions().items():
        yield f"  {name:<12} {version}"
    yield f"  {'CPUs':<12} {available_cpus()} usable of {os.cpu_count()}"
    model = open_model(model_path)
    header = model.header
    yield f"model {header.name}: {model.path}"
    yield f"  {'sha256':<12} {model.sha256}"
    yield f"  {'network':<12} {header.architecture}, {header.preprocessing.input_size} px"
    yield f"  {'thresholds':<12} review {header.review_threshold:.3f}, outlier {header.outlier.threshold:.2f}"
    require_evidence(model, observer, force=False)
    yield "backends, best first"
    for rung in AUTO_LADDER:
        reason = why_not(rung, model)
        yield f"  {rung.backend} on {rung.device}: {reason or 'available'}"
        if reason:
            yield f"    needs {rung.needs}"
    choice = open_backend(model)
    yield f"auto uses {choice.backend.description}"
    for reason in choice.skipped:
        yield f"  skipped {reason}"
    if choice.name == "openvino":
        yield from _measured(model)
    choice.backend.close()
    yield "write access"
    for place in (folder.resolve(), platformdirs.user_cache_path("bloodcell-batch"), Path(tempfile.gettempdir())):
        yield f"  {place}: {_write_access(place)}"


def _measured(model: ModelFile) -> Iterator[str]:
    """What OpenVINO makes on this machine, for each way that was tried."""
    from bloodcell_batch.backends.openvino.backend import settings_measured  # noqa: PLC0415 - imports openvino

    for entry in settings_measured(model):
        refused = f"; not used, {entry.wrong}" if entry.wrong else ""
        yield f"  {entry.setting.as_text()}: {entry.rate:,.0f} images/s{refused}"


def _write_access(place: Path) -> str:
    """Writable or why not; tried for real, because permission bits say nothing about full or read-only disks."""
    nearest = next((path for path in (place, *place.parents) if path.exists()), place)
    try:
        with tempfile.TemporaryFile(dir=nearest) as handle:
            handle.write(b"0")
    except OSError as error:
        return f"not writable ({error.strerror})"
    return "writable"
