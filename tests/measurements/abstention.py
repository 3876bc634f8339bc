"""Whether the limits of a differential hold when the network leaves cells out: simulated, and on labelled images.

    python tests/measurements/abstention.py simulate --slides 500
    python tests/measurements/abstention.py slide bccd=FOLDER_WITH_CLASS_FOLDERS ... --grey pbc=FOLDER --limit 60

`simulate` draws slides of known truth and leaves up to 80 % of their cells unclassified, one class before all others.
`slide` classifies each folder of class folders as one slide and compares the printed limits with its labels, `--grey`
with the colour taken out of the images first. Cells of classes that the program does not have are leukocytes of no
class in the truth, if they are called something: such confusions, which no limits cover, are counted apart.
Ends with 1 if a simulated limit covers less than 95 % by more than chance explains (one of 10,000), a printed one
misses the truth without being withheld, or a FHIR quantity has no limits.
"""

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from bloodcell_batch.cell_classes import DEFAULT_CLASSES
from bloodcell_batch.config.classify import ClassifyConfig
from bloodcell_batch.differential.slide import SlideCounts, slide_differential
from bloodcell_batch.progress import SlideDifferential
from bloodcell_batch.records import Status
from bloodcell_batch.reports.fhir import fhir_bundle
from bloodcell_batch.results.finished import load_results
from bloodcell_batch.runs.pipeline import classify_slides
from bloodcell_batch.statistics.binomial import clopper_pearson

_MIX = {"neutrophil": 0.58, "lymphocyte": 0.27, "monocyte": 0.06, "eosinophil": 0.03, "basophil": 0.01, "ig": 0.02}
_CLASSES = (*DEFAULT_CLASSES.leukocytes, *DEFAULT_CLASSES.nrbc, "none")  # none: no cell at all
_SHARES = np.array([*(_MIX[name] for name in DEFAULT_CLASSES.leukocytes), 0.02, 0.01])
_LEUKOCYTE = np.array([name in DEFAULT_CLASSES.leukocytes for name in _CLASSES])
_PREFERENCE = 8.0  # how much likelier a cell of the preferred class is to be left out


def simulated(rng: np.random.Generator, cells: int, abstention: float, preferred: int) -> SlideDifferential:
    """The differential of a slide drawn from `_SHARES`, with a share of its cells left out, one class before all."""
    drawn = rng.choice(len(_CLASSES), cells, p=_SHARES / _SHARES.sum())
    weights = np.where(drawn == preferred, _PREFERENCE, 1.0)
    left_out = rng.choice(cells, round(abstention * cells), replace=False, p=weights / weights.sum())
    named = np.delete(drawn, left_out)
    named = named[named < len(DEFAULT_CLASSES.leukocytes) + 1]  # what is no cell is never given a class here
    labels = Counter(_CLASSES[index] for index in named)
    statuses = Counter({Status.CLASSIFIED: len(named), Status.UNCLASSIFIED: len(left_out)})
    return slide_differential("s", SlideCounts(statuses, labels), DEFAULT_CLASSES)


def simulate(slides: int, cells: int) -> bool:
    """Print how often the limits cover the population's shares, by abstention and preferred class."""
    truth = 100 * _SHARES / _SHARES[_LEUKOCYTE].sum()
    held, lowest = True, 1.0
    names = (*DEFAULT_CLASSES.leukocytes, "nrbc")
    _say(f"{slides} slides of {cells} cells each; slides in which the limits hold the truth, by class")
    _say(f"{'left out':>8} {'first':<12}" + "".join(f"{name:>12}" for name in names) + f"{'withheld':>10}")
    for abstention in (0.0, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8):
        for preferred, first in enumerate(_CLASSES):
            rng = np.random.default_rng([preferred, round(100 * abstention)])
            found = [simulated(rng, cells, abstention, preferred) for _ in range(slides)]
            inside = [
                np.mean([_holds(slide, name, truth[i]) for slide in found])
                for i, name in enumerate(DEFAULT_CLASSES.leukocytes)
            ]
            inside.append(
                np.mean(
                    [_holds(slide, DEFAULT_CLASSES.nrbc[0], truth[len(DEFAULT_CLASSES.leukocytes)]) for slide in found]
                )
            )
            withheld = np.mean([slide.withheld is not None for slide in found])
            _say(f"{abstention:>8.0%} {first:<12}" + "".join(f"{x:>12.1%}" for x in inside) + f"{withheld:>10.1%}")
            held &= clopper_pearson(round(min(inside) * slides), slides, confidence=0.9998)[1] >= 0.95
            lowest = min(lowest, float(min(inside)))
    _say(f"lowest coverage {lowest:.1%}")
    return held


def _limits(slide: SlideDifferential, name: str) -> tuple[float, float]:
    if name == DEFAULT_CLASSES.nrbc[0]:
        low, high = slide.nrbc_per_100_wbc_low, slide.nrbc_per_100_wbc_high
    else:
        low, high = slide.shares[name].percent_low, slide.shares[name].percent_high
    return (0.0 if low is None else low), (float("inf") if high is None else high)


def _holds(slide: SlideDifferential, name: str, truth: float) -> bool:
    low, high = _limits(slide, name)
    return low - 1e-9 <= truth <= high + 1e-9


def classified(name: str, folder: Path, limit: int | None, *, grey: bool) -> bool:
    """Classify the images of class folders as one slide and compare with the labels; print a line per class."""
    with tempfile.TemporaryDirectory() as place:
        root, out = Path(place) / "slides", Path(place) / "r.parquet"
        (root / name).mkdir(parents=True)
        truth: dict[str, str] = {}
        for path in sorted(folder.glob("*/*")):
            label = path.parent.name
            if limit is not None and sum(true == label for true in truth.values()) >= limit:
                continue
            shown = f"{label}_{path.name}"
            truth[f"{name}/{shown}"] = label
            if grey:
                shown = f"{label}_{path.stem}.png"
                truth[f"{name}/{shown}"] = truth.pop(f"{name}/{label}_{path.name}")
                Image.open(path).convert("L").convert("RGB").save(root / name / shown)
            else:
                (root / name / shown).symlink_to(path.resolve())
        classify_slides(root, str(out), ClassifyConfig(dedup="off"))
        results = load_results(out)
        (slide,) = results.slides
        confused = Counter((truth[row.file], row.label) for row in results.rows if row.label)
        wrong = sum(count for (true, said), count in confused.items() if true != said)
        observations = [entry["resource"] for entry in fhir_bundle(results)["entry"]]
        quantities = [one for one in observations if "valueQuantity" in one]
        bare = [one for one in quantities if not any("95 % limits" in note["text"] for note in one["note"])]
    _say(f"{name}: {len(truth)} cells, {slide.wbc_counted} leukocytes counted, {slide.unclassified} unclassified, ")
    _say(f"  {wrong} of {slide.classified} classified cells wrong; {len(quantities)} FHIR quantities; {slide.alerts}")
    held = _compared(slide, Counter(truth.values()))
    return (held or slide.withheld is not None) and not bare


def _compared(slide: SlideDifferential, labels: Counter[str]) -> bool:
    total = sum(labels[label] for label in DEFAULT_CLASSES.leukocytes)
    held = True
    for label in DEFAULT_CLASSES.leukocytes:
        share = slide.shares[label]
        percent, (low, high) = 100 * labels[label] / total, _limits(slide, label)
        inside = _holds(slide, label, percent)
        shown = "withheld" if share.percent is None else f"{share.percent:.1f} %"
        held &= inside
        verdict = "" if inside else "MISSED"
        _say(f"  {label:<12} truth {percent:5.1f} %  printed {shown:>8} ({low:.1f} - {high:.1f}) {verdict}".rstrip())
    return held


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if all limits hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    drawn = kinds.add_parser("simulate")
    drawn.add_argument("--slides", type=int, default=500)
    drawn.add_argument("--cells", type=int, default=200)
    real = kinds.add_parser("slide")
    real.add_argument("folders", nargs="*", metavar="NAME=FOLDER")
    real.add_argument("--grey", nargs="*", default=[], metavar="NAME=FOLDER")
    real.add_argument("--limit", type=int, help="images per class of the grey folders")
    options = parser.parse_args(arguments)
    if options.kind == "simulate":
        return int(not simulate(options.slides, options.cells))
    held = True
    for given in options.folders:
        name, _, folder = given.partition("=")
        held &= classified(name, Path(folder), None, grey=False)
    for given in options.grey:
        name, _, folder = given.partition("=")
        held &= classified(name, Path(folder), options.limit, grey=True)
    return int(not held)


if __name__ == "__main__":
    sys.exit(main())
