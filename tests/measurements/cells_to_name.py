"""Which cells a person should name to adapt a model: those of `review export --for-adaptation` against others.

    python tests/measurements/cells_to_name.py FOLDER_WITH_CLASS_FOLDERS ... --cells 50 100 --repeats 20

Of the labelled images, pools are drawn in which classes are as common as in blood. Of each pool, random cells, the
least certain ones, and those of --for-adaptation are chosen, and a ridge classifier on the model's features learns from
them. Printed are the means over the pools: the share of the pool's classes of which a cell was chosen, and the balanced
accuracy on all images that are not in the pool.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bloodcell_batch.backends.contract import BackendOptions
from bloodcell_batch.backends.selection import open_backend
from bloodcell_batch.images.guards import DecodeLimits
from bloodcell_batch.model.file import open_model
from bloodcell_batch.parallel.blocks import blocks_of
from bloodcell_batch.parallel.cpus import available_cpus
from bloodcell_batch.records import DecodedImage
from bloodcell_batch.stages.decode import decode_ahead, make_decoder
from bloodcell_batch.stages.scan import scan
from bloodcell_batch.statistics.representatives import representatives

_PER_THOUSAND = {"neutrophil": 580, "lymphocyte": 280, "monocyte": 70, "eosinophil": 40}
_RARE = 10  # of every other class
_RIDGE = 0.01

Floats = NDArray[np.float64]
Texts = NDArray[np.str_]


def looked_at(folders: list[Path]) -> tuple[Floats, Floats, Texts]:
    """Unit features, uncertainties and labels (the names of the folders) of all images."""
    model = open_model()
    backend = open_backend(model, "auto", BackendOptions()).backend
    features, gaps, labels = [], [], []
    for folder in folders:
        found = scan(folder)
        decoder = make_decoder(found.root, model.header.preprocessing, DecodeLimits())
        decoded = decode_ahead(found.files, decoder, available_cpus(), 64)
        for block in blocks_of((image for image in decoded if isinstance(image, DecodedImage)), 256):
            probabilities, batch = backend.infer(np.stack([image.pixels for image in block]))
            top = np.sort(probabilities, axis=1)
            gaps.append(top[:, -1] - top[:, -2])
            features.append(batch)
            labels += [image.file.path.split("/")[0] for image in block]
    backend.close()
    stacked = np.concatenate(features).astype(np.float64)
    return stacked / np.linalg.norm(stacked, axis=1, keepdims=True), 1 - np.concatenate(gaps), np.array(labels)


def balanced_accuracy(features: Floats, labels: Texts, chosen: NDArray[np.int64], others: NDArray[np.int64]) -> float:
    """Of a class-weighted ridge classifier that learns from `chosen` alone, on `others`."""
    names, counts = np.unique(labels[chosen], return_counts=True)
    weights = np.sqrt(1 / counts[np.searchsorted(names, labels[chosen])])[:, None]
    middle = features[chosen].mean(axis=0)
    inputs, targets = (features[chosen] - middle) * weights, (labels[chosen][:, None] == names) * weights
    dual = np.linalg.solve(inputs @ inputs.T + _RIDGE * np.eye(len(chosen)), targets)
    said = names[((features[others] - middle) @ (inputs.T @ dual)).argmax(axis=1)]
    truth = labels[others]
    return float(np.mean([np.mean(said[truth == name] == name) for name in np.unique(truth)]))


def drawn_pool(labels: Texts, rng: np.random.Generator) -> NDArray[np.int64]:
    """Images of which the classes are as common as in blood; as many as there are for that."""
    names, counts = np.unique(labels, return_counts=True)
    share = {name: _PER_THOUSAND.get(name, _RARE) / 1000 for name in names}
    size = min(count / share[name] for name, count in zip(names, counts, strict=True) if share[name] > _RARE / 1000)
    some = [
        rng.choice(np.flatnonzero(labels == name), min(count, max(2, round(size * share[name]))), replace=False)
        for name, count in zip(names, counts, strict=True)
    ]
    return np.concatenate(some)


def main() -> None:
    """Print one line per number of cells and choice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--cells", nargs="+", type=int, default=[50, 100])
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    features, uncertainty, labels = looked_at(options.folders)
    for count in options.cells:
        size = len(drawn_pool(labels, np.random.default_rng(0)))
        figures: dict[str, list[tuple[float, float]]] = {
            name: [] for name in ("random", "least certain", "for adaptation")
        }
        for repeat in range(options.repeats):
            rng = np.random.default_rng(repeat)
            pool = drawn_pool(labels, rng)
            others = np.setdiff1d(np.arange(len(labels)), pool)
            nothing = np.zeros(len(pool), dtype=bool)
            picked = representatives(features[pool], uncertainty[pool], count, nothing, repeat)
            places = (rng.permutation(len(pool))[:count], np.argsort(-uncertainty[pool])[:count], np.array(picked))
            for name, some in zip(figures, places, strict=True):
                chosen = pool[some]
                covered = len(np.unique(labels[chosen])) / len(np.unique(labels[pool]))
                figures[name].append((covered, balanced_accuracy(features, labels, chosen, others)))
        for name, found in figures.items():
            covered, accuracy = np.mean(found, axis=0)
            line = f"{count} of {size} cells, {name}: {covered:.1%} of the classes, balanced accuracy {accuracy:.1%}"
            sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
