"""Folds of a cross-validation: cells of one slide stay together, and so do copies of a picture."""

import numpy as np
from numpy.typing import NDArray


def joined_groups(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    """Group numbers (N,) of cells that share a group in either of two groupings, or are linked by others that do."""
    groups = np.unique(first, return_inverse=True)[1]
    while True:
        before = groups.copy()
        for key in (second, first):
            lowest: dict[int, int] = {}
            for name, group in zip(key.tolist(), groups.tolist(), strict=True):
                lowest[name] = min(group, lowest.get(name, group))
            groups = np.array([lowest[name] for name in key.tolist()])
        if (groups == before).all():
            return groups


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
