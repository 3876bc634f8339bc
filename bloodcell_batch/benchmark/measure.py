"""The benchmark itself: files, parts, backends, `classify`, and the plain script, one after the other."""

import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bloodcell_batch.backends.contract import BackendOptions
from bloodcell_batch.backends.selection import open_backend
from bloodcell_batch.benchmark.drawn_images import draw_slides, link_some
from bloodcell_batch.benchmark.growth import GrownRun, measure_growth
from bloodcell_batch.benchmark.parts import (
    INT8_NAME,
    BackendSpeed,
    Part,
    Sample,
    measure_backend,
    measure_backends,
    measure_decoding,
    measure_writer,
    take_sample,
)
from bloodcell_batch.config.benchmark import BenchmarkConfig
from bloodcell_batch.config.classify import ClassifyConfig
from bloodcell_batch.errors import BloodcellBatchError, InputError
from bloodcell_batch.export.parity_images import evenly
from bloodcell_batch.model.file import ModelFile, open_model
from bloodcell_batch.parallel.cpus import available_cpus
from bloodcell_batch.progress import NullObserver, Observer
from bloodcell_batch.records import ImageFile
from bloodcell_batch.results.run_record import read_record
from bloodcell_batch.runs.pipeline import classify_slides
from bloodcell_batch.stages.scan import scan

DRAWN_IMAGES = 2000
PLAIN_BATCH = 32


@dataclass(frozen=True, slots=True)
class WholeRun:
    """The fastest run of `classify`: its seconds from the scan to the published tables, and those of its laps."""

    images: int
    seconds: float
    laps: dict[str, float]

    @property
    def images_per_second(self) -> float:
        """Of the whole run, the loading of the network included."""
        return self.images / self.seconds


@dataclass(frozen=True, slots=True)
class PlainRun:
    """The fastest run of the plain script: of `images` files, `classified` are read and no copies of another. The
    fastest of timm's loops took `timm_seconds` for these."""

    images: int
    hash_seconds: float
    classify_seconds: float
    failed: int
    classified: int
    timm_seconds: float

    @property
    def images_per_second(self) -> float:
        """Of both passes together."""
        return self.images / (self.hash_seconds + self.classify_seconds)

    @property
    def timm_images_per_second(self) -> float:
        """Of timm's loop, which looks for no copies and takes only files that can be read."""
        return self.classified / self.timm_seconds


@dataclass(frozen=True, slots=True)
class Benchmark:
    """All that was measured in one run. `used` is the backend of `classify`, measured at its batch size."""

    model: ModelFile
    config: BenchmarkConfig
    cpus: int
    source: str
    files: int
    mean_bytes: float
    parts: tuple[Part, ...]
    backends: tuple[BackendSpeed, ...]
    used: BackendSpeed
    run: WholeRun
    plain: PlainRun | None
    growth: tuple[GrownRun, ...]
    notes: tuple[str, ...]

    @property
    def ceiling(self) -> float:
        """Images per second that the parts allow if all CPUs always work and nothing waits.

        On the CPU the network shares the cores with the other parts; a GPU runs beside them.
        """
        return self._ceiling(self.used)

    @property
    def int8_ceiling(self) -> float | None:
        """What it would be with the int8 network; None where there is none, or where `classify` uses it already."""
        if ", int8, " in self.used.description:
            return None
        speeds = [speed for speed in self.backends if speed.name == INT8_NAME and not speed.skipped]
        return self._ceiling(max(speeds, key=lambda speed: speed.images_per_second)) if speeds else None

    def _ceiling(self, network: BackendSpeed) -> float:
        core_seconds = sum(1 / part.images_per_second for part in self.parts)
        if network.device == "cpu":
            return 1 / (core_seconds / self.cpus + 1 / network.images_per_second)
        return min(self.cpus / core_seconds, network.images_per_second)

    @property
    def share(self) -> float:
        """What `classify` reaches of the ceiling."""
        return self.run.images_per_second / self.ceiling

    @property
    def ratio(self) -> float | None:
        """How many times faster than the plain script; None where that did not run."""
        return self.run.images_per_second / self.plain.images_per_second if self.plain else None


def measure(
    folder: Path | None,
    config: BenchmarkConfig | None = None,
    model_path: Path | None = None,
    observer: Observer | None = None,
) -> Benchmark:
    """Measure the parts and the whole on the images under `folder`, or on drawn ones, which are removed at the end.

    Raises:
        BloodcellBatchError: no usable images, no usable model, or no room for the drawn images.
    """
    config, observer = config or BenchmarkConfig(), observer or NullObserver()
    model = open_model(model_path)
    with _files(folder, config, observer) as root:
        found = scan(root)
        if not found.files:
            raise InputError(f"No images under {folder}.", hint="Leave DIR out to measure on drawn images.")
        sample = take_sample(found.root, found.files, model.header.preprocessing)
        observer.note("measuring the parts")
        parts = (*measure_decoding(sample, model.header.preprocessing, config), measure_writer(sample, config))
        backends = tuple(_told(measure_backends(model, sample, config), observer))
        used = _used(model, sample, config, backends)
        observer.note(f"measuring classify on {len(found.files):,} files")
        run = _classify(root, model, config)
        plain, note = _plain(found.root, found.files, model, config, observer)
    growth = tuple(measure_growth(folder, config, model, observer))
    return with_doubts(
        Benchmark(
            model=model,
            config=config,
            cpus=available_cpus(),
            source=f"drawn, {config.size} pixels" if folder is None else str(folder),
            files=len(found.files),
            mean_bytes=sum(file.size_bytes for file in found.files) / len(found.files),
            parts=parts,
            backends=backends,
            used=used,
            run=run,
            plain=plain,
            growth=growth,
            notes=(note,) if note else (),
        )
    )


def with_doubts(found: Benchmark) -> Benchmark:
    """The same with a note, where the figures can't be right."""
    if found.share <= 1:
        return found
    doubt = "more than the ceiling: something else used the processor while the parts were measured; measure again"
    return replace(found, notes=(*found.notes, doubt))


@contextmanager
def _files(folder: Path | None, config: BenchmarkConfig, observer: Observer) -> Iterator[Path]:
    """The folder to classify; a temporary one holds drawn pictures, or links where only some files are wanted."""
    files = None if folder is None else scan(folder)
    if folder is not None and files is not None and (config.images or len(files.files)) >= len(files.files):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="bloodcell-batch-") as name:
        if files is None:
            count = config.images or DRAWN_IMAGES
            observer.note(f"drawing {count:,} images of {config.size} pixels")
            draw_slides(Path(name), count, config.drawn_size)
        else:
            link_some(files.root, evenly(files.files, config.images or 0), Path(name))
        yield Path(name)


def _told(speeds: Iterator[BackendSpeed], observer: Observer) -> Iterator[BackendSpeed]:
    for speed in speeds:
        if speed.skipped:
            observer.note(f"{speed.name} is left out: {speed.skipped}")
        else:
            observer.note(f"{speed.name}, batches of {speed.batch}: {speed.images_per_second:,.0f} images/s")
        yield speed


def _used(model: ModelFile, sample: Sample, config: BenchmarkConfig, backends: Sequence[BackendSpeed]) -> BackendSpeed:
    """The speed of the backend that `classify` will choose, at its batch size."""
    choice = open_backend(model, config.backend, BackendOptions(config.precision, config.batch_size))
    for speed in backends:
        if (speed.name, speed.batch) == (choice.name, config.batch_size):
            choice.backend.close()
            return speed
    return measure_backend(choice, config.batch_size, sample, config)


def _classify(root: Path, model: ModelFile, config: BenchmarkConfig) -> WholeRun:
    """Like the command, with every check and the search for duplicates; the tables go to a temporary folder."""
    options = ClassifyConfig(
        model=model.path,
        backend=config.backend,
        precision=config.precision,
        batch_size=config.batch_size,
        workers=config.workers,
        overwrite=True,
        force=True,  # how fast it is doesn't depend on how good it is
    )
    runs: list[WholeRun] = []
    with tempfile.TemporaryDirectory(prefix="bloodcell-batch-") as name:
        for _ in range(config.rounds):
            table = Path(name) / "results.parquet"
            result = classify_slides(root, str(table), options)
            runs.append(WholeRun(result.counts.done, result.seconds, read_record(table).timings_seconds))
    return min(runs, key=lambda run: run.seconds)


def _plain(
    root: str, files: Sequence[ImageFile], model: ModelFile, config: BenchmarkConfig, observer: Observer
) -> tuple[PlainRun | None, str]:
    """The plain script's best round, or why it did not run."""
    if config.plain_images == 0:
        return None, "the plain PyTorch script was left out (--plain-images 0)"
    if importlib.util.find_spec("imagehash") is None:
        hint = "pip install 'bloodcell-batch[benchmark]'"
        return None, f"the plain PyTorch script did not run: imagehash is not installed ({hint})"
    paths = [str(Path(root, file.path).resolve()) for file in evenly(files, config.plain_images)]
    observer.note(f"measuring the plain PyTorch script on {len(paths):,} files")
    script = "bloodcell_batch.benchmark.baseline_script"
    command = [sys.executable, "-m", script, str(model.path), str(PLAIN_BATCH), str(available_cpus())]
    runs = [_run_plain(command, paths) for _ in range(config.rounds)]
    best = min(runs, key=lambda run: run.hash_seconds + run.classify_seconds)
    return replace(best, timm_seconds=min(run.timm_seconds for run in runs)), ""


def _run_plain(command: Sequence[str], paths: Sequence[str]) -> PlainRun:
    # Our own program, with our own arguments.
    done = subprocess.run(  # noqa: S603
        command, input=json.dumps(paths), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        hint = "Use --plain-images 0 to leave it out."
        raise BloodcellBatchError(f"The plain PyTorch script failed: {last}", hint=hint)
    found = json.loads(done.stdout)
    return PlainRun(images=len(paths), **found)
