"""How soon `monitor` sees a drifting stain, and how often it cries wolf: whole seasons of nights, made of real cells.

    python tests/measurements/season.py FOLDER --keep PLACE --seasons 20

FOLDER has a folder of single-cell images for each class. Some of each are drawn again at steps of a drifting stain,
each with 2 % more optical density of the blue (azure) dye and 2 % less of the pink (eosin) one, and all of them are
really classified. A night is a few slides of one table each: patients whose class mix differs, every slide with a stain
of its own around that of the night, and the nights themselves differ, too (SD of 1 step between nights and of 0.7
between slides). Rows are drawn from what was classified at that step, so that many seasons are affordable; every night
is written to files with its run record, and `monitor` reads these, with the first 20 nights as its baseline.

Undisturbed seasons: runs that are rejected, all of them falsely. Drifting seasons: the stain walks off at a given rate
from night 41 on, and the night of the first rejection counts. What is drawn and classified is kept in PLACE and taken
up again. Ends with 1 if there is more than one false alarm a season, or a drift of 3 % a night is not rejected by night
45.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from bloodcell_batch.config.classify import ClassifyConfig
from bloodcell_batch.config.results import MonitorConfig
from bloodcell_batch.monitoring.monitor import watch
from bloodcell_batch.progress import NullObserver
from bloodcell_batch.records import Status
from bloodcell_batch.results.finished import load_results
from bloodcell_batch.results.rewrite import write_results
from bloodcell_batch.results.run_record import RunRecord
from bloodcell_batch.runs.pipeline import classify_slides

STEPS = range(-3, 9)
NIGHTS, BASELINE, DRIFT_FROM, ALARM_BY = 60, 20, 41, 45
_OF_A_STEP = 0.02
_BETWEEN_NIGHTS, _BETWEEN_SLIDES, _PATIENTS = 1.0, 0.7, 60.0
_MIX = {
    "neutrophil": 0.56,
    "lymphocyte": 0.27,
    "monocyte": 0.06,
    "eosinophil": 0.03,
    "basophil": 0.01,
    "ig": 0.015,
    "erythroblast": 0.015,
    "platelet": 0.04,
}
_BLUE, _PINK = (0.65, 0.70, 0.29), (0.07, 0.99, 0.11)
"""Optical densities of the two dyes in red, green and blue light (Ruifrok & Johnston 2001: haematoxylin and eosin)."""


def stained(rgb: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    """A picture at a step of the drift: more of the blue dye, less of the pink one; step 0 changes nothing."""
    blue, pink = (np.array(dye) / np.linalg.norm(dye) for dye in (_BLUE, _PINK))
    rest = np.cross(blue, pink)
    dyes = np.stack([blue, pink, rest / np.linalg.norm(rest)])
    change = np.linalg.inv(dyes) @ np.diag([1 + _OF_A_STEP * step, 1 - _OF_A_STEP * step, 1]) @ dyes
    density = -np.log((np.arange(256) + 1) / 256).astype(np.float32)[rgb].reshape(-1, 3)
    drawn = 256 * np.exp(-(density @ change.astype(np.float32))) - 1
    return np.asarray(drawn.round().clip(0, 255).astype(np.uint8).reshape(rgb.shape))


def draw(folder: Path, place: Path, cells: int) -> None:
    """Draw about so many cells at every step, one folder a step; what is there already stays."""
    for name, share in _MIX.items():
        files = sorted(path for path in (folder / name).glob("*.jpg"))
        if not files:
            continue
        chosen = np.random.default_rng(0).permutation(len(files))[: max(4, round(share**0.5 * cells / 2.3))]
        for path in (files[index] for index in sorted(chosen)):
            outs = {step: place / f"{step:+03d}" / f"{name}_{path.stem}.jpg" for step in STEPS}
            if all(out.exists() for out in outs.values()):
                continue
            rgb = np.asarray(Image.open(path).convert("RGB"))
            for step, out in outs.items():
                out.parent.mkdir(parents=True, exist_ok=True)
                fresh = out.with_suffix(".partial")
                Image.fromarray(stained(rgb, step)).save(fresh, "JPEG", quality=95)
                fresh.rename(out)


@dataclass(frozen=True)
class Stock:
    """Classified rows to draw from: by step and class, the places of the rows in the table."""

    images: pa.Table
    record: RunRecord
    places: dict[tuple[int, str], NDArray[np.int64]]

    @property
    def classes(self) -> list[str]:
        return [name for name in _MIX if (STEPS[0], name) in self.places]


def stock_of(folder: Path, place: Path, cells: int) -> Stock:
    """Draw and classify, as far as it is not done yet."""
    table = place / "steps.parquet"
    if not table.exists():
        draw(folder, place / "steps", cells)
        classify_slides(place / "steps", str(table), ClassifyConfig(dedup="off"))
    results = load_results(table)
    places: dict[tuple[int, str], list[int]] = {}
    for index, row in enumerate(results.rows):
        step, _, name = row.file.partition("/")
        places.setdefault((int(step), name.partition("_")[0]), []).append(index)
    return Stock(results.images, results.record, {key: np.array(found) for key, found in places.items()})


def write_night(
    stock: Stock, rng: np.random.Generator, night: int, drift: float, size: tuple[int, int], out: Path
) -> None:
    """One night's results as `classify` leaves them: `size` is the number of slides and of the images of each."""
    slides, images = size
    stain = rng.normal(drift, _BETWEEN_NIGHTS)
    mix = np.array([_MIX[name] for name in stock.classes])
    rows: list[int] = []
    names: list[tuple[str, str]] = []
    for slide in range(slides):
        step = int(np.clip(round(rng.normal(stain, _BETWEEN_SLIDES)), STEPS[0], STEPS[-1]))
        patient = rng.dirichlet(_PATIENTS * mix / mix.sum())
        for name, count in zip(stock.classes, rng.multinomial(images, patient), strict=True):
            known = stock.places[step, name]
            rows += known[rng.integers(0, len(known), count)].tolist()
        names += [(f"{slide:02}/{number:04}.jpg", f"{slide:02}") for number in range(images)]
    table = stock.images.take(pa.array(rows))
    for column, values in zip(("path", "slide_id"), zip(*names, strict=True), strict=True):
        place = table.schema.get_field_index(column)
        table = table.set_column(place, table.schema.field(column), pa.array(values, pa.string()))
    started = datetime(2026, 1, 1, 2, 15, tzinfo=UTC) + timedelta(days=night - 1)
    statuses = table.column("status").to_pylist()
    counts = {"found": len(rows), **{status.value: statuses.count(status.value) for status in Status}, "ignored": 0}
    ended = started + timedelta(seconds=len(rows) / rng.normal(900, 30))
    record = stock.record.updated(
        started=started.isoformat(),
        finished=ended.isoformat(),
        counts=counts,
        throughput={"images_per_second": round(len(rows) / (ended - started).total_seconds(), 1)},
        failures=[],
        cross_slide_duplicates=[],
    )
    write_results(out, table, [], record)


def season(stock: Stock, seed: int, rate: float, size: tuple[int, int], place: Path) -> list[int]:
    """The nights that `monitor` rejects in a season whose stain drifts by `rate` steps a night in the end."""
    rng = np.random.default_rng(seed)
    tables = [place / f"night-{night:02}.parquet" for night in range(1, NIGHTS + 1)]
    for night, table in enumerate(tables, start=1):
        write_night(stock, rng, night, rate * max(night - DRIFT_FROM + 1, 0), size, table)
    (judged,) = watch(tables, MonitorConfig(baseline=str(BASELINE)), NullObserver()).periods
    return sorted({tables.index(finding.run.path) + 1 for finding in judged.rejections})


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if alarms come in time and hardly ever without a reason."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--keep", type=Path, metavar="PLACE", help="keep what was drawn and classified here")
    parser.add_argument("--cells", type=int, default=300, help="different cells, about (default: %(default)s)")
    parser.add_argument("--seasons", type=int, default=20, help="of each kind (default: %(default)s)")
    parser.add_argument("--slides", type=int, default=8, help="a night (default: %(default)s)")
    parser.add_argument("--images", type=int, default=100, help="a slide (default: %(default)s)")
    parser.add_argument(
        "--rates", type=float, nargs="*", default=[3, 2, 1], help="per cent of optical density a night (default: 3 2 1)"
    )
    options = parser.parse_args(arguments)
    if not options.folder.is_dir():
        sys.stdout.write(f"skipped: there is no folder {options.folder}\n")
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        place = options.keep or Path(scratch)
        stock, size = stock_of(options.folder, place, options.cells), (options.slides, options.images)
        different = sum(len(found) for (step, _), found in stock.places.items() if step == 0)
        _say(f"{different} different cells at {len(STEPS)} steps; {size[0]} slides of {size[1]} images a night")
        return int(not _report(stock, size, options.seasons, options.rates, Path(scratch)))


def _report(stock: Stock, size: tuple[int, int], seasons: int, rates: Sequence[float], place: Path) -> bool:
    false = []
    for seed in range(seasons):
        false.append(season(stock, seed, 0.0, size, place))
        _say(f"undisturbed season {seed}: {_nights(false[-1])}")
    rate = sum(map(len, false)) / max(seasons, 1)
    _say(f"undisturbed: {sum(map(len, false))} false alarms in {seasons} seasons, {rate:.2f} a season")
    held = rate <= 1
    for per_cent in rates:
        firsts = []
        for seed in range(seasons):
            rejected = season(stock, 1000 + seed, per_cent / 100 / _OF_A_STEP, size, place)
            firsts.append(next((night for night in rejected if night >= DRIFT_FROM), NIGHTS + 1))
        in_time = sum(night <= ALARM_BY for night in firsts)
        shown = ", ".join("never" if night > NIGHTS else str(night) for night in sorted(firsts))
        _say(f"drift of {per_cent:g} % a night from night {DRIFT_FROM} on: first rejected night {shown}")
        _say(f"  by night {ALARM_BY} in {in_time} of {seasons} seasons")
        held &= per_cent < 3 or in_time == seasons
    return held


def _nights(rejected: Sequence[int]) -> str:
    return f"rejected night {', '.join(map(str, rejected))}" if rejected else "no night rejected"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
