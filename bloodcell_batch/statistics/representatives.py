"""Choosing a few points that stand for many: centres of clusters, and what is uncertain and unlike all of these."""

import warnings

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2

Floats = NDArray[np.float64]

_DIRECTIONS = 32  # of the features in which the points differ most; the rest is mostly noise
_ITERATIONS = 30
_OF_CLUSTERS = 0.8


def representatives(
    features: NDArray[np.floating], uncertainty: Floats, count: int, taken: NDArray[np.bool_], seed: int
) -> list[int]:
    """Choose `count` points: four fifths of them are nearest to the centres of clusters, the largest first, and the
    others are added one by one where uncertainty times squared distance to what is chosen already is largest.

    Args:
        features: (N, D); only their directions count.
        uncertainty: (N,), 0 to 1.
        count: how many; all that are free if there are no more.
        taken: (N,), points that were chosen earlier: neither they nor others of their clusters are chosen.
        seed: where the random numbers of the first centres start.

    Returns:
        Positions, each once, in the order of choice.
    """
    free = np.flatnonzero(~taken)
    if count >= len(free):
        return [int(place) for place in free]
    points = _leading_directions(np.asarray(features, dtype=np.float64))
    of_clusters = round(_OF_CLUSTERS * count)
    chosen = _central(points, min(len(points), of_clusters + int(taken.sum())), taken, seed)[:of_clusters]
    gap = np.full(len(points), np.inf)
    for place in (*np.flatnonzero(taken), *chosen):
        gap = np.minimum(gap, _squared_distances(points, points[place]))
    while len(chosen) < count:
        score = uncertainty * gap
        score[taken] = score[chosen] = -1
        place = int(np.argmax(score))
        chosen.append(place)
        gap = np.minimum(gap, _squared_distances(points, points[place]))
    return chosen


def _leading_directions(features: Floats) -> Floats:
    """The points on the leading principal axes of the features scaled to length 1."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    unit = features / np.where(lengths > 0, lengths, 1)
    unit -= unit.mean(axis=0)
    _, axes = np.linalg.eigh(unit.T @ unit)
    leading: Floats = unit @ axes[:, ::-1][:, :_DIRECTIONS]
    return leading


def _central(points: Floats, clusters: int, taken: NDArray[np.bool_], seed: int) -> list[int]:
    """The point nearest to the centre of every cluster without a taken one, those of the largest clusters first."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a cluster that lost its points has no nearest one, and is left
        centres, member = kmeans2(points, _first_centres(points, clusters, seed), _ITERATIONS, minit="matrix")
    found: list[tuple[int, int]] = []
    for cluster, centre in enumerate(centres):
        places = np.flatnonzero(member == cluster)
        if len(places) and not taken[places].any():
            nearest = places[np.argmin(_squared_distances(points[places], centre))]
            found.append((-len(places), int(nearest)))
    return [place for _, place in sorted(found)]


def _first_centres(points: Floats, count: int, seed: int) -> Floats:
    """Points at random, each with a chance that grows with its squared distance to those before (k-means++)."""
    rng = np.random.default_rng(seed)
    chosen = [int(rng.integers(len(points)))]
    gap = _squared_distances(points, points[chosen[0]])
    while len(chosen) < count and gap.any():
        chosen.append(int(rng.choice(len(points), p=gap / gap.sum())))
        gap = np.minimum(gap, _squared_distances(points, points[chosen[-1]]))
    return points[chosen]


def _squared_distances(points: Floats, point: Floats) -> Floats:
    difference = points - point
    squared: Floats = np.einsum("ij,ij->i", difference, difference)
    return squared
