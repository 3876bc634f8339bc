"""A finished run to work on: real classifications of drawn pictures would all be outliers, so labels are set here."""

import hashlib
import random
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from conftest import draw_picture, encode
from default_tables import IMAGE_COLUMNS, IMAGE_SCHEMA, SLIDE_COLUMNS, SLIDE_SCHEMA

from bloodcell_batch.cell_classes import DEFAULT_CLASSES, RESEARCH_USE_ONLY
from bloodcell_batch.integrity.results_id import results_id
from bloodcell_batch.model.file import open_model
from bloodcell_batch.records import ImageFacts, ImageFile, Outcome, Prediction, Quality, Reason, Rejection, Status
from bloodcell_batch.results.file_names import run_record_of
from bloodcell_batch.results.formats import OUTPUT_FORMATS, read_table
from bloodcell_batch.results.run_record import RunRecord
from bloodcell_batch.results.tables import SCHEMA_VERSION, to_batch
from bloodcell_batch.results.workbook import write_results_workbook
from bloodcell_batch.stages.tally import SlideTally

QUALITY = Quality(120.0, 30.0, 90.0)
MIX = {"neutrophil": 24, "lymphocyte": 12, "monocyte": 3, "eosinophil": 2, "basophil": 1, "ig": 2}
MAX_UNCLASSIFIED = 0.2
SLIDES = ("007", "2E5", "=A1", "1-2")


@dataclass(frozen=True)
class Run:
    """A result table, the folder that was classified, and a way to write the same table elsewhere."""

    table: Path
    images: Path
    outcomes: tuple[Outcome, ...]

    def copy(self, out: Path) -> Path:
        return write_run(self.images, self.outcomes, out)


def cell(root: Path, name: str, label: str, confidence: float, reason: Reason | None = None) -> Prediction:
    data = (root / name).read_bytes()
    rest = (1 - confidence) / (len(DEFAULT_CLASSES.names) - 1)
    shares = tuple(confidence if other == label else rest for other in DEFAULT_CLASSES.names)
    return Prediction(
        file=ImageFile(name, name.rpartition("/")[0], len(data), 0),
        facts=ImageFacts(hashlib.sha256(data).hexdigest(), bytes(32), 96, 96, QUALITY, bytes(16)),
        status=Status.UNCLASSIFIED if reason else Status.CLASSIFIED,
        reason=reason,
        label="" if reason else label,
        confidence=confidence,
        probabilities=shares,
        outlier_score=1.0,
        review_reasons=(reason.value,) if reason else (),
    )


def write_run(root: Path, outcomes: tuple[Outcome, ...], out: Path) -> Path:
    """The files that `classify` would publish."""
    tally = SlideTally(len(outcomes), 0, DEFAULT_CLASSES)
    list(tally(outcomes))
    model = open_model()
    record = RunRecord.from_document(
        {
            "bloodcell_batch": "0",
            "schema_version": SCHEMA_VERSION,
            "notice": RESEARCH_USE_ONLY,
            "command": ["bloodcell-batch", "classify", str(root)],
            "started": "2026-01-02T03:04:05+00:00",
            "finished": "2026-01-02T03:04:09+00:00",
            "input": str(root),
            "config": {"dedup": "near"},
            "thresholds": {"confidence": 0.66, "outlier": 9.0},
            "max_unclassified": MAX_UNCLASSIFIED,
            "denominator": DEFAULT_CLASSES.denominator,
            "model": {"name": model.header.name, "sha256": model.sha256, "architecture": model.header.architecture},
            "backend": {"name": "pytorch", "description": "PyTorch on cpu", "skipped": []},
            "counts": {"found": len(outcomes), **{s.value: n for s, n in tally.counts.by_status.items()}, "ignored": 0},
            "cross_slide_duplicates": [],
            "versions": {"python": "3"},
        }
    )
    batches: list[pa.RecordBatch] = [to_batch(outcomes, IMAGE_COLUMNS, IMAGE_SCHEMA)]
    if out.suffix == ".xlsx":
        slides = to_batch(tally.differentials(), SLIDE_COLUMNS, SLIDE_SCHEMA)
        write_results_workbook(out, slides, IMAGE_SCHEMA, batches, record.document())
    else:
        OUTPUT_FORMATS[out.suffix].write(out, IMAGE_SCHEMA, batches)
    identity = results_id(read_table(out, IMAGE_SCHEMA), model.sha256)
    run_record_of(out).write_text(record.with_digests(identity, {"images": out}).as_json(), encoding="utf-8")
    return out


def make_run(folder: Path) -> Run:
    """Four slides with odd names: 44 classified and 6 unclassified cells each, 2 duplicates, 1 failed file."""
    root = folder / "slides"
    rng = random.Random(0)
    outcomes: list[Outcome] = []
    for number, slide in enumerate(SLIDES):
        (root / slide).mkdir(parents=True)
        labels = [label for label, count in MIX.items() for _ in range(count)] + ["neutrophil"] * 6
        for i, label in enumerate(labels):
            odd = {3: "=SUM", 4: "<img src=x onerror=alert(1)>&\"'"}
            name = f"{slide}/{odd.get(i, 'cell')} {i:02}.jpg"
            (root / name).write_bytes(encode(draw_picture(100 * number + i, 48)))
            reason = (Reason.LOW_CONFIDENCE, Reason.OUTLIER)[i % 2] if i >= len(labels) - 6 else None
            outcomes.append(cell(root, name, label, 0.5 if reason else rng.uniform(0.7, 0.999), reason))
        for kind, status in (("exact", Status.EXACT_DUPLICATE), ("near", Status.NEAR_DUPLICATE)):
            (root / slide / f"{kind}.jpg").write_bytes((root / slide / "cell 00.jpg").read_bytes())
            digest = hashlib.sha256((root / slide / "cell 00.jpg").read_bytes()).hexdigest()
            facts = ImageFacts(digest, bytes(32), 96, 96, QUALITY, bytes(16))
            file = ImageFile(f"{slide}/{kind}.jpg", slide, 10, 0)
            distance = 0 if kind == "exact" else 7
            outcomes.append(
                Rejection(file, status, facts=facts, duplicate_of=f"{slide}/cell 00.jpg", duplicate_distance=distance)
            )
        (root / slide / "broken.jpg").write_bytes(b"\xff\xd8\xff")
        outcomes.append(Rejection(ImageFile(f"{slide}/broken.jpg", slide, 3, 0), Status.FAILED, Reason.TRUNCATED))
    outcomes.sort(key=lambda outcome: (outcome.file.slide_id, outcome.file.path))
    table = write_run(root, tuple(outcomes), root.parent / "results.parquet")
    return Run(table, root, tuple(outcomes))
