"""What adapting to a laboratory is worth: its cells that were not given, and PBC's test cells, before and after.

    python tests/measurements/adaptation.py bccd=FOLDER chula=FOLDER ... --pbc FOLDER --cells 20 --draws 5

Draws so many cells of each class of a folder of class folders, at most half of a class, adapts the packaged model to
them as `adapt` does, and tests it on the others, with the thresholds in the model file. Prints a line per draw and the
means. Accuracies of a laboratory are balanced: the mean over its classes with at least five cells in the test. `--pbc`
is the folder of the data that the packaged model was trained on; its test cells are measured, too. `--model` takes
another model, for laboratories that the packaged one knows. `cpu s` are seconds
of all processors together: half of them is what two processors that do nothing else need at least.
Ends with 1 if a model that was written is worse than before on the cells that were not given.
"""

import argparse
import hashlib
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bloodcell_batch.adaptation.adapt import adapt
from bloodcell_batch.config.adapt import AdaptConfig
from bloodcell_batch.config.evaluate import EvaluateConfig
from bloodcell_batch.model.file import ModelFile, open_model
from bloodcell_batch.progress import NullObserver
from bloodcell_batch.training.data.labelled import short_digest
from bloodcell_batch.training.data.seen import Seen
from bloodcell_batch.training.evaluation.evaluate import evaluate
from bloodcell_batch.training.evaluation.metrics import Metrics

_LEAST_TESTED = 5


@dataclass(frozen=True)
class Row:
    """Figures of one draw; shares in 0-1. `layers` are those that learned, `promised` is the accuracy that the
    cross-validation printed."""

    layers: str
    given: int
    before: Metrics
    after: Metrics
    promised: float
    pbc: float
    written: bool
    seconds: float
    processor_seconds: float


def drawn(folder: Path, cells: int, seed: int) -> Iterator[tuple[Path, bool]]:
    """The images of a folder of class folders, and whether they are given."""
    rng = np.random.default_rng(seed)
    for place in sorted(path for path in folder.iterdir() if path.is_dir()):
        files = sorted(path for path in place.iterdir() if path.is_file())
        given = set(rng.permutation(len(files))[: min(cells, len(files) // 2)].tolist())
        yield from ((file, number in given) for number, file in enumerate(files))


def measured(model: ModelFile, data: Path) -> Metrics:
    """The figures of `evaluate`, on images that the model has not seen."""
    config = EvaluateConfig(backend="pytorch", bootstrap=0)
    return evaluate(model, data, config, NullObserver()).metrics


def draw(model: ModelFile, folder: Path, cells: int, seed: int, pbc: Path | None) -> Row:
    """Adapt once and measure."""
    with tempfile.TemporaryDirectory() as made:
        for file, given in drawn(folder, cells, seed):
            place = Path(made, "given" if given else "others", file.parent.name)
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, place)
        start, busy = time.perf_counter(), time.process_time()
        found = adapt(AdaptConfig(seed=seed, model=model.path), Path(made, "given"), Path(made, "ours.safetensors"))
        seconds, busy = time.perf_counter() - start, time.process_time() - busy
        adapted, others = found.model or model, Path(made, "others")
        return Row(
            layers=found.layers,
            given=sum(found.counts.values()),
            before=measured(model, others),
            after=measured(adapted, others),
            promised=found.change.after.accuracy,
            pbc=measured(adapted, pbc).accuracy if pbc else float("nan"),
            written=found.model is not None,
            seconds=seconds,
            processor_seconds=busy,
        )


def balanced(metrics: Metrics) -> float:
    """The mean over the classes of the share that is right; one or two cells of a class say nothing."""
    return float(np.mean([row.recall for row in metrics.per_class.values() if row.images >= _LEAST_TESTED]))


def line(name: str, rows: list[Row]) -> str:
    """Means over rows."""

    def mean(values: list[float]) -> str:
        return f"{np.mean(values):>8.1%}"

    shares = [
        mean([balanced(row.before) for row in rows]),
        mean([balanced(row.after) for row in rows]),
        mean([row.after.accuracy for row in rows]),
        mean([row.promised for row in rows]),
        mean([row.before.review_share for row in rows]),
        mean([row.after.review_share for row in rows]),
        mean([row.after.selective_accuracy for row in rows]),
        mean([row.pbc for row in rows]) if not np.isnan(rows[0].pbc) else f"{'-':>8}",
    ]
    written = f"{sum(row.written for row in rows)}/{len(rows)}"
    seconds = np.mean([row.seconds for row in rows])
    busy = np.mean([row.processor_seconds for row in rows])
    layers = ", ".join(sorted({row.layers for row in rows}))
    return f"{name:<16}{rows[0].given:>6}{''.join(shares)}{written:>9}{seconds:>7.0f}{busy:>7.0f}  {layers}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("laboratories", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--pbc", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--cells", type=int, default=20)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        model = open_model(options.model)
        tested = options.pbc and unseen(model, options.pbc, Path(made))
        return measure_all(options, model, tested)


def unseen(model: ModelFile, folder: Path, made: Path) -> Path:
    """The images that a model has not seen, in another folder."""
    seen = Seen.by(model)
    known = {*seen.train.digests.tolist(), *seen.validation.digests.tolist()}
    for file in sorted(folder.glob("*/*")):
        if short_digest(hashlib.sha256(file.read_bytes()).hexdigest()) not in known:
            (made / file.parent.name).mkdir(exist_ok=True)
            shutil.copy(file, made / file.parent.name)
    return made


def measure_all(options: argparse.Namespace, model: ModelFile, pbc: Path | None) -> int:
    """Print the table; 1 if a model was written that is worse than before."""
    heads = ("before", "after", "plain", "told", "left", "left", "rest", "PBC")
    sys.stdout.write(
        f"{'':<16}{'cells':>6}{''.join(f'{head:>8}' for head in heads)}{'written':>9}{'s':>7}{'cpu s':>7}  layers\n"
    )
    worse = 0
    for laboratory in options.laboratories:
        name, _, folder = laboratory.partition("=")
        rows = []
        for seed in range(options.first, options.first + options.draws):
            rows.append(draw(model, Path(folder), options.cells, seed, pbc))
            sys.stdout.write(line(f"{name} {seed}", rows[-1:]) + "\n")
            sys.stdout.flush()
            worse += rows[-1].written and rows[-1].after.accuracy < rows[-1].before.accuracy
        sys.stdout.write(line(f"{name} mean", rows) + "\n")
    return int(worse > 0)


if __name__ == "__main__":
    sys.exit(main())
