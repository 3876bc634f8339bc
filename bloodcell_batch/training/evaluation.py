"""`evaluate`: figures of a model on labelled images, through the decoder and backend that `classify` uses."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bloodcell_batch.backends.contract import Backend
from bloodcell_batch.backends.ladder import open_backend
from bloodcell_batch.config import EvaluateConfig
from bloodcell_batch.cpus import available_cpus
from bloodcell_batch.errors import InputError, OutputError
from bloodcell_batch.model_file import SEEN_PREFIX, ModelFile
from bloodcell_batch.outlier import load_outlier_score
from bloodcell_batch.progress import Observer
from bloodcell_batch.training.labelled import LabelledImages, load_labelled
from bloodcell_batch.training.metrics import Metrics, Rules, measure


@dataclass(frozen=True, slots=True)
class Report:
    """Figures and what they were measured with."""

    metrics: Metrics
    model_sha256: str
    backend: str
    part: str
    images_left_out: int
    failed: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "model_sha256": self.model_sha256,
            "backend": self.backend,
            "part": self.part,
            "images_left_out": self.images_left_out,
            "failed": list(self.failed),
            "metrics": self.metrics.as_dict(),
        }


def evaluate(model: ModelFile, data: Path, config: EvaluateConfig, observer: Observer) -> Report:
    """Measure `model` on the class folders of `data`.

    Raises:
        InputError: no labelled images, or none of the wanted part.
    """
    workers = available_cpus() if config.workers is None else config.workers
    images, rejected = load_labelled(data, model.header.preprocessing, workers, observer)
    for bad in rejected:
        observer.warn(f"left out {bad.file.path}: {bad.reason} ({bad.detail})")
    wanted = images.take(np.flatnonzero(_in_part(model, images, config.part)))
    left_out = len(images) - len(wanted)
    if not len(wanted):
        hint = "Use --part all to include images that the model was trained on."
        raise InputError(f"None of the {len(images)} images in {data} belongs to the part {config.part!r}.", hint=hint)
    if left_out:
        observer.note(f"{left_out} images are outside the part {config.part!r} and were left out")
    choice = open_backend(model, config.backend)
    observer.note(f"model {model.header.name} ({model.sha256[:12]}) on {choice.backend.description}")
    try:
        probabilities, features = _infer(choice.backend, wanted.pixels, config.batch_size, observer)
    finally:
        choice.backend.close()
    rules = Rules(model.header.review_threshold, model.header.outlier.threshold)
    metrics = measure(probabilities, load_outlier_score(model)(features), wanted.labels, rules)
    failed = tuple(bad.file.path for bad in rejected)
    return Report(metrics, model.sha256, choice.backend.description, config.part, left_out, failed)


def write_report(report: Report, out: Path) -> None:
    """Write the figures as JSON.

    Raises:
        OutputError: the file can't be written.
    """
    try:
        out.write_text(json.dumps(report.as_dict(), indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"Can't write {out}: {error.strerror}.", hint="Choose another place for --out.") from error


def _in_part(model: ModelFile, images: LabelledImages, part: str) -> NDArray[np.bool_]:
    seen = {name: np.isin(images.digests, digests) for name, digests in model.load_tensors(SEEN_PREFIX).items()}
    nowhere = np.zeros(len(images), dtype=bool)
    train, validation = seen.get("train", nowhere), seen.get("validation", nowhere)
    if part == "training":
        return train
    if part == "validation":
        return validation
    return ~(train | validation) if part == "unseen" else ~nowhere


def _infer(
    backend: Backend, pixels: NDArray[np.uint8], batch_size: int, observer: Observer
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    observer.started("classifying", len(pixels))
    parts = []
    for start in range(0, len(pixels), batch_size):
        parts.append(backend.infer(pixels[start : start + batch_size]))
        observer.advanced(min(start + batch_size, len(pixels)))
    observer.finished()
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
