"""Finer classes than the eight, read off the names of files.

In the PBC images `BNE_1.jpg` is a band and `SNE_1.jpg` a segmented neutrophil, `PMY`, `MY` and `MMY` are pro-, myelo-
and metamyelocytes. A second head that learns them tells the network what to look at.
"""

import re
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from bloodcell_batch.training.data.labelled import LabelledImages

_PREFIX = re.compile(r"[A-Za-z]+(?=[_-])")


def fine_labels(images: LabelledImages) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Fine labels int64 (N,) and their names, `class/PREFIX`, or the class alone for files without a prefix."""
    names = []
    for path, label in zip(images.paths, images.labels, strict=True):
        found = _PREFIX.match(PurePosixPath(path).name)
        names.append(f"{images.classes.names[label]}/{found[0].upper()}" if found else images.classes.names[label])
    order = sorted(set(names))
    position = {name: i for i, name in enumerate(order)}
    return np.array([position[name] for name in names], dtype=np.int64), tuple(order)
