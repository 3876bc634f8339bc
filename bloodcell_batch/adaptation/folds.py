"""Folds of a cross-validation: groups stay together, whole slides and copies of a picture."""

import numpy as np
from numpy.typing import NDArray


def grouped_folds(
    labels: NDArray[np.int64], groups: NDArray[np.int64], folds: int, seed: int
) -> list[NDArray[np.int64]]:
    """Disjoint index arrays that cover all cells: groups together, every class as evenly as that allows.

    The largest groups are placed first, each where its classes are rarest so far.

    Args:
        labels: int64 (N,).
        groups: int64 (N,), with at least as many different ones as there are folds.
        folds: number of arrays.
        seed: of the order of equal groups.
    """
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(np.unique(groups))
    names, codes = np.unique(labels, return_inverse=True)
    held = np.stack([np.bincount(codes[groups == group], minlength=len(names)) for group in shuffled])
    share = held / np.bincount(codes)
    filled = np.zeros((folds, len(names)))
    place = {}
    for row in np.argsort(-held.sum(axis=1), kind="stable"):
        # The sum of squares grows least where what is added is rare; the tie is broken by how full a fold is.
        cost = ((filled + share[row]) ** 2 - filled**2).sum(axis=1)
        fold = int(np.lexsort((filled.sum(axis=1), cost))[0])
        filled[fold] += share[row]
        place[int(shuffled[row])] = fold
    fold_of = np.array([place[int(group)] for group in groups])
    return [np.flatnonzero(fold_of == fold) for fold in range(folds)]
