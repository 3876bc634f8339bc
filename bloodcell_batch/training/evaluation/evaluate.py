"""`evaluate`: figures of a model on labelled images, through the decoder and backend that `classify` uses."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bloodcell_batch.backends.contract import Backend, BackendOptions
from bloodcell_batch.backends.selection import open_backend
from bloodcell_batch.cell_classes import ClassList, rolled_up
from bloodcell_batch.config.evaluate import EvaluateConfig
from bloodcell_batch.errors import InputError
from bloodcell_batch.model.file import ModelFile
from bloodcell_batch.model.outlier_score import load_outlier_score
from bloodcell_batch.parallel.cpus import available_cpus
from bloodcell_batch.progress import NullObserver, Observer, counted
from bloodcell_batch.stages.infer import reported
from bloodcell_batch.training.data.class_names import ClassNames
from bloodcell_batch.training.data.labelled import LabelledImages, load_labelled
from bloodcell_batch.training.data.labelled_files import FREE, TRAIN, VALIDATION
from bloodcell_batch.training.data.seen import Counts, Seen
from bloodcell_batch.training.data.sources import open_source
from bloodcell_batch.training.evaluation.corruption_suite import CorruptionReport, pick_images, run_corruptions
from bloodcell_batch.training.evaluation.metrics import Metrics, Rules, measure, without_nan
from bloodcell_batch.training.evaluation.uncertainty import (
    COVERAGES,
    ReliabilityBin,
    RiskCoverage,
    bootstrap_intervals,
    reliability,
    risk_coverage,
)

_CODES = {"unseen": FREE, "training": TRAIN, "validation": VALIDATION}


@dataclass(frozen=True, slots=True)
class Report:
    """Figures and what they were measured with; `left_out` are the images outside the part, `classes` those of the
    figures."""

    metrics: Metrics
    intervals: dict[str, tuple[float, float]]
    reliability: tuple[ReliabilityBin, ...]
    risk_coverage: RiskCoverage
    corruptions: CorruptionReport | None
    model_name: str
    model_sha256: str
    backend: str
    data: str
    part: str
    left_out: Counts
    labels: dict[str, str]
    classes: ClassList
    failed: tuple[str, ...]

    @property
    def images_left_out(self) -> int:
        """Number of images outside the part."""
        return self.left_out.seen + self.left_out.never_seen

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what can't be computed is None."""
        curve = self.risk_coverage
        content = {
            "model": self.model_name,
            "model_sha256": self.model_sha256,
            "backend": self.backend,
            "data": self.data,
            "part": self.part,
            "images_left_out": self.images_left_out,
            "left_out": self.left_out.as_dict(),
            "failed": list(self.failed),
            "labels_taken_for_classes": self.labels,
            "metrics": self.metrics.as_dict(),
            "intervals_95": self.intervals,
            "reliability": [
                {name: getattr(row, name) for name in ReliabilityBin.__slots__} for row in self.reliability
            ],
            "selective": {
                "area_under_risk_coverage": curve.area,
                "accuracy_at_coverage": {f"{share:g}": curve.accuracy_at(share) for share in COVERAGES},
            },
            "corruptions": self.corruptions.as_dict() if self.corruptions else None,
        }
        plain: dict[str, Any] = without_nan(content)
        return plain


def evaluate(model: ModelFile, data: Path, config: EvaluateConfig, observer: Observer) -> Report:
    """Measure `model` on the labelled images of `data`.

    Raises:
        InputError: no labelled images, or none of the wanted part.
        UsageError: the class map names a class that there isn't.
    """
    workers = available_cpus() if config.workers is None else config.workers
    preprocessing = model.header.preprocessing
    roll_up = rolled_up(model.header.class_list, subclasses=config.subclasses)
    names = ClassNames(roll_up.reported, config.class_map)
    images, rejected = load_labelled(data, preprocessing, workers, observer, names=names, images=config.images)
    for bad in rejected:
        observer.warn(f"left out {bad.file.path}: {bad.reason} ({bad.detail})")
    wanted, left_out = _in_part(model, images, config.part, observer)
    if not len(wanted):
        hint = "Use --part all to include images that the model was trained on."
        told = f"No image of {len(images):,} in {data} belongs to the part {config.part!r}"
        raise InputError(f"{told} (left out: {describe(left_out)}).", hint=hint)
    choice = open_backend(
        model, config.backend, BackendOptions(config.precision, config.batch_size, config.plan, views=config.views)
    )
    observer.note(f"model {model.header.name} ({model.sha256[:12]}) on {choice.backend.description}")
    corruptions = None
    try:
        outputs, features = _infer(choice.backend, wanted.pixels, config.batch_size, observer)
        probabilities = reported(outputs, roll_up)
        if config.corruptions:
            source = open_source(data, names, NullObserver(), config.images)
            chosen = pick_images(source, set(wanted.paths), config.corruption_images)
            corruptions = run_corruptions(
                chosen,
                preprocessing,
                lambda batch: reported(choice.backend.infer(batch)[0], roll_up),
                workers,
                observer,
            )
    finally:
        choice.backend.close()
    rules = Rules(model.header.review_threshold, model.header.outlier.threshold)
    intervals = bootstrap_intervals(probabilities, wanted.labels, wanted.groups, config.bootstrap)
    return Report(
        metrics=measure(probabilities, load_outlier_score(model)(features), wanted.labels, wanted.classes, rules),
        intervals=intervals,
        reliability=reliability(probabilities, wanted.labels),
        risk_coverage=risk_coverage(probabilities, wanted.labels),
        corruptions=corruptions,
        model_name=model.header.name,
        model_sha256=model.sha256,
        backend=choice.backend.description,
        data=str(data),
        part=config.part,
        left_out=left_out,
        labels=dict(names.found),
        classes=wanted.classes,
        failed=tuple(bad.file.path for bad in rejected),
    )


def describe(left_out: Counts) -> str:
    """How many images were left out and why, in words."""
    told = []
    if left_out.seen:
        seen = counted(left_out.seen, "image")
        told.append(f"{seen} that the model was trained or calibrated on ({left_out.why()})")
    if left_out.never_seen:
        told.append(f"{counted(left_out.never_seen, 'image')} that it never saw")
    return ", ".join(told) or "none"


def _in_part(model: ModelFile, images: LabelledImages, part: str, observer: Observer) -> tuple[LabelledImages, Counts]:
    """The images of the part, and what the others are."""
    if part == "all":
        return images, Counts(0, 0)
    seen = Seen.by(model)
    seen.warn_of_files_only(model.path, observer)
    known = seen.recognise(images.digests, images.hashes)
    inside = known.parts == _CODES[part]
    left_out = known.counts(np.flatnonzero(~inside))
    if not inside.all():
        observer.note(f"left out: {describe(left_out)}", **left_out.as_dict())
    return images.take(np.flatnonzero(inside)), left_out


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
