"""What an image costs when there are more of them: `classify` on growing folders, then again with nothing to do."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

from bloodcell_batch.benchmark.drawn_images import draw_slides, link_as_slides
from bloodcell_batch.config.benchmark import BenchmarkConfig
from bloodcell_batch.errors import BloodcellBatchError, InputError
from bloodcell_batch.model.file import ModelFile
from bloodcell_batch.progress import Observer
from bloodcell_batch.results.run_record import read_record
from bloodcell_batch.stages.scan import scan

# A small process between this one and the run: to Linux, a process has had the memory of the one that started it.
_WATCH = """
import os, subprocess, sys
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
if hasattr(os, "wait4"):
    _, status, usage = os.wait4(child.pid, 0)
    print(usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024))
    sys.exit(os.waitstatus_to_exitcode(status) & 255)
print(0)
sys.exit(child.wait())
"""


@dataclass(frozen=True, slots=True)
class GrownRun:
    """A run on `files` images: its seconds from the scan to the published tables, without the loading of the network,
    and the largest memory that its process had (0 where the system doesn't tell); then the same of `--update`."""

    files: int
    dedup: str
    seconds: float
    peak_bytes: int
    update_seconds: float
    update_peak_bytes: int

    @property
    def images_per_second(self) -> float:
        """Of the first run."""
        return self.files / self.seconds


def measure_growth(
    folder: Path | None, config: BenchmarkConfig, model: ModelFile, observer: Observer
) -> Iterator[GrownRun]:
    """One run for each of `config.growth`, the smallest first.

    Drawn pictures are all distinct and the search for duplicates is on. The images under `folder` are used again and
    again until there are enough, with the search off.

    Raises:
        BloodcellBatchError: no images, no room for drawn ones, or a run that failed.
    """
    if not config.growth:
        return
    with tempfile.TemporaryDirectory(prefix="bloodcell-batch-") as name:
        source, dedup = folder, "off"
        if source is None:
            source, dedup = Path(name) / "drawn", "near"
            source.mkdir()
            observer.note(f"drawing {max(config.growth):,} images of {config.size} pixels")
            draw_slides(source, max(config.growth), config.drawn_size)
        found = scan(source)
        if not found.files:
            raise InputError(f"No images under {source}.", hint="Leave DIR out to measure on drawn images.")
        for count in sorted(set(config.growth)):
            slides, out = Path(name) / f"slides-{count}", Path(name) / f"results-{count}.parquet"
            link_as_slides(found.root, islice(cycle(found.files), count), slides)
            observer.note(f"measuring classify on {count:,} files, then --update")
            options = [str(slides), "--out", str(out), "--dedup", dedup, *_options(config, model)]
            seconds, peak = _run(options, out)
            update_seconds, update_peak = _run([*options, "--update"], out)
            yield GrownRun(count, dedup, seconds, peak, update_seconds, update_peak)


def _options(config: BenchmarkConfig, model: ModelFile) -> list[str]:
    options = ["--model", str(model.path), "--backend", config.backend, "--precision", config.precision]
    options += ["--batch-size", str(config.batch_size), "--allow-failed", str(max(config.growth))]
    return options if config.workers is None else [*options, "--workers", str(config.workers)]


def _run(options: list[str], out: Path) -> tuple[float, int]:
    """Seconds and largest memory, in bytes, of a process of its own."""
    command = [sys.executable, "-m", "bloodcell_batch", "classify", *options, "--progress", "none"]
    # Our own program, with our own arguments.
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", _WATCH, *command], capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise BloodcellBatchError(f"classify failed: {last}", hint="Leave --growth out, or make room in TMPDIR.")
    times = read_record(out).timings_seconds
    return times["total"] - times["load"], int(done.stdout)
