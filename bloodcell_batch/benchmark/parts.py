"""Each part of a run alone: read, decode, hash, resize and write on one core, every backend on all."""

import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bloodcell_batch import __version__
from bloodcell_batch.backends import BACKENDS, Rung
from bloodcell_batch.backends.contract import BackendOptions
from bloodcell_batch.backends.selection import Choice, open_backend, why_not
from bloodcell_batch.cell_classes import DEFAULT_CLASSES
from bloodcell_batch.config.benchmark import BenchmarkConfig
from bloodcell_batch.errors import BackendError, InputError
from bloodcell_batch.fields.screen import plainly_one_cell
from bloodcell_batch.images.decoding import decode_rgb
from bloodcell_batch.images.guards import DecodeLimits
from bloodcell_batch.images.perceptual_hash import grey_thumbnail, perceptual_hashes
from bloodcell_batch.images.preprocessing import Preprocessing, resize_to_input
from bloodcell_batch.model.file import ModelFile
from bloodcell_batch.parallel.blocks import blocks_of
from bloodcell_batch.records import DecodedImage, ImageFile, Prediction, Status
from bloodcell_batch.results.file_names import output_paths
from bloodcell_batch.results.journal import ROWS_PER_PART, open_journal
from bloodcell_batch.results.record_entries import BackendEntry, ModelEntry
from bloodcell_batch.results.run_record import RunRecord
from bloodcell_batch.results.tables import SCHEMA_VERSION
from bloodcell_batch.stages.decode import make_decoder, measure_quality, pixel_digest
from bloodcell_batch.stages.write import publish_run

INT8_NAME = "openvino int8"
_SAMPLE_IMAGES, _SAMPLE_PIXELS = 256, 40_000_000  # held decoded

READ, DECODE, SCREEN, HASH, RESIZE, WRITE = "read", "decode", "screen", "hash", "resize", "write"
MEANINGS: dict[str, str] = {
    READ: "the file's bytes from the disk or its cache",
    DECODE: "bytes to RGB pixels",
    SCREEN: "whether the pixels plainly show one cell, without a network",
    HASH: "SHA-256 of the bytes, digest of the pixels, perceptual hash, quality measures",
    RESIZE: "pixels to the network's input",
    WRITE: "rows to the journal and to the published Parquet tables",
}


@dataclass(frozen=True, slots=True)
class Part:
    """Images per second of one part on one core."""

    name: str
    images_per_second: float


@dataclass(frozen=True, slots=True)
class BackendSpeed:
    """Images per second of a backend alone, handed `batch` images at a time; or why it can't run (`skipped`)."""

    name: str
    device: str = ""
    description: str = ""
    batch: int = 0
    images_per_second: float = 0.0
    skipped: str = ""


@dataclass(frozen=True, slots=True)
class Sample:
    """Some of the files, decoded: what the parts are measured on."""

    root: str
    images: tuple[DecodedImage, ...]


def take_sample(root: str, files: Sequence[ImageFile], preprocessing: Preprocessing) -> Sample:
    """Decode files spread evenly over the list, as many as memory allows.

    Raises:
        InputError: none of them can be decoded.
    """
    decoder = make_decoder(root, preprocessing, DecodeLimits())
    images: list[DecodedImage] = []
    pixels = 0
    for file in files[:: max(1, len(files) // _SAMPLE_IMAGES)]:
        outcome = decoder(file)
        if isinstance(outcome, DecodedImage):
            images.append(outcome)
            pixels += outcome.facts.width * outcome.facts.height
        if len(images) == _SAMPLE_IMAGES or pixels >= _SAMPLE_PIXELS:
            break
    if not images:
        raise InputError(f"None of the images under {root} can be decoded.", hint="Give a folder of intact images.")
    return Sample(root, tuple(images))


def measure_decoding(sample: Sample, preprocessing: Preprocessing, config: BenchmarkConfig) -> Iterator[Part]:
    """What a decoding thread does for each file, part by part."""
    limits = DecodeLimits()
    paths = [Path(sample.root, image.file.path) for image in sample.images]
    files = [path.read_bytes() for path in paths]
    pictures = [decode_rgb(data, limits) for data in files]
    prepared = list(zip(files, pictures, strict=True))

    def timed(name: str, work: Callable[[Any], object], inputs: Sequence[Any]) -> Part:
        def job() -> int:
            for one in inputs:
                work(one)
            return len(inputs)

        return Part(name, best_rate(job, config))

    yield timed(READ, Path.read_bytes, paths)
    yield timed(DECODE, lambda data: decode_rgb(data, limits), files)
    yield timed(SCREEN, lambda rgb: plainly_one_cell(rgb, None), pictures)
    blocks = list(blocks_of(prepared))
    yield Part(HASH, best_rate(lambda: sum(map(_hash, blocks)), config))
    yield timed(RESIZE, lambda rgb: resize_to_input(rgb, preprocessing), pictures)


# What is measured is the writing of rows: the record says nothing.
_RECORD = RunRecord(
    bloodcell_batch=__version__,
    schema_version=SCHEMA_VERSION,
    notice="",
    started="",
    finished="",
    thresholds={},
    denominator="",
    model=ModelEntry(name="", sha256="", architecture=""),
    backend=BackendEntry(name="", description=""),
    counts={},
    versions={},
)


def measure_writer(sample: Sample, config: BenchmarkConfig) -> Part:
    """Rows like those of a run, as Parquet, in a temporary folder; flushing to the disk included."""
    rng = np.random.default_rng(0)
    rows = [
        _row(sample.images[i % len(sample.images)], odds)
        for i, odds in enumerate(rng.dirichlet(np.ones(len(DEFAULT_CLASSES)), ROWS_PER_PART).tolist())
    ]
    with tempfile.TemporaryDirectory(prefix="bloodcell-batch-") as folder:
        paths = output_paths(str(Path(folder) / "results.parquet"))

        def job() -> int:
            with open_journal(paths.journal, str(paths.images), DEFAULT_CLASSES) as journal:
                for row in rows:
                    journal.append([row])
                publish_run(journal, paths, (), (), "", lambda: _RECORD)
            return len(rows)

        return Part(WRITE, best_rate(job, config))


def measure_backends(model: ModelFile, sample: Sample, config: BenchmarkConfig) -> Iterator[BackendSpeed]:
    """Every backend that runs here, at every batch size; OpenVINO also in int8, or why not."""
    runs = [(name, name, config.precision) for name in BACKENDS]
    why_no_int8 = ""
    if config.precision != "int8":
        why_no_int8 = why_not(Rung("openvino", "cpu"), model, BackendOptions("int8"))
        runs += [] if why_no_int8 else [(INT8_NAME, "openvino", "int8")]
    for name, backend, precision in runs:
        for batch in sorted({*config.batch_sizes, config.batch_size}):
            try:
                choice = open_backend(model, backend, BackendOptions(precision, batch))
            except BackendError as error:
                yield BackendSpeed(name, skipped=error.message)
                break
            yield replace(measure_backend(choice, batch, sample, config), name=name)
    if why_no_int8:
        yield BackendSpeed(INT8_NAME, skipped=why_no_int8)


def measure_backend(choice: Choice, batch: int, sample: Sample, config: BenchmarkConfig) -> BackendSpeed:
    """An open backend, which is closed at the end."""
    images = np.stack([sample.images[i % len(sample.images)].pixels for i in range(batch)])

    def job() -> int:
        choice.backend.infer(images)
        return len(images)

    try:
        job()  # the first call sets up what the others reuse
        return BackendSpeed(choice.name, choice.device, choice.backend.description, batch, best_rate(job, config))
    finally:
        choice.backend.close()


def best_rate(job: Callable[[], int], config: BenchmarkConfig) -> float:
    """Images per second of the best round. A round repeats `job`, which returns its number of images, until
    `config.seconds` are over."""
    best = 0.0
    for _ in range(config.rounds):
        done, start, seconds = 0, time.perf_counter(), 0.0
        while seconds < config.seconds:
            done += job()
            seconds = time.perf_counter() - start
        best = max(best, done / seconds)
    return best


def _hash(block: Sequence[tuple[bytes, NDArray[np.uint8]]]) -> int:
    """What is done to a block of images, and how many they are."""
    thumbnails = []
    for data, rgb in block:
        hashlib.sha256(data).hexdigest()
        pixel_digest(rgb)
        thumbnails.append(grey_thumbnail(Image.fromarray(rgb)))
    perceptual_hashes(np.stack(thumbnails))
    measure_quality(np.stack(thumbnails))
    return len(block)


def _row(image: DecodedImage, odds: list[float]) -> Prediction:
    return Prediction(
        file=image.file,
        facts=image.facts,
        status=Status.CLASSIFIED,
        reason=None,
        label=DEFAULT_CLASSES.names[odds.index(max(odds))],
        confidence=max(odds),
        probabilities=tuple(odds),
        outlier_score=1.0,
        review_reasons=(),
    )
