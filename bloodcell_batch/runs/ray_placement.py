"""How the slides of a run are divided among the workers of a cluster."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from bloodcell_batch.errors import BackendError
from bloodcell_batch.records import ImageFile

_BATCHES = 8  # in a group at most: more would only make a lost worker cost more


@dataclass(frozen=True, slots=True)
class Place:
    """Room for one worker: a node and what the worker takes of it."""

    node_id: str
    cpus: int
    gpus: int


def worker_places(nodes: Sequence[dict[str, Any]], cpus: int | None) -> list[Place]:
    """One place per GPU where the cluster has GPUs, else one per node, or per `cpus` processors if they are given.

    Raises:
        BackendError: the cluster has no processors.
    """
    alive = [(node["NodeID"], node["Resources"]) for node in nodes if node["Alive"]]
    places = []
    for gpus in (1, 0):  # a cluster with GPUs leaves the nodes without one alone: they would set the pace
        for node_id, resources in alive:
            own = int(resources.get("CPU", 0))
            count = int(resources.get("GPU", 0)) if gpus else own // min(cpus or own, own) if own else 0
            share = min(cpus or own, own // count) if count else 0
            places += [Place(node_id, share, gpus)] * count
        if places:
            return places
    raise BackendError("The Ray cluster has no processors to give.", hint="Add nodes; see `ray status`.")


def beginning_of_slide(files: Sequence[ImageFile], position: int) -> int:
    """Position of the first file of the slide that the file at `position` belongs to."""
    slide = files[position].slide_id
    while position and files[position - 1].slide_id == slide:
        position -= 1
    return position


def slide_groups(files: Sequence[ImageFile], size: int) -> list[list[ImageFile]]:
    """Whole slides together until they are `size` images or more, in order."""
    groups: list[list[ImageFile]] = []
    for _, slide in groupby(files, key=lambda file: file.slide_id):
        if not groups or len(groups[-1]) >= size:
            groups.append([])
        groups[-1].extend(slide)
    return groups


def group_size(images: int, workers: int, batch_size: int) -> int:
    """Images of a group: several batches, but small enough that every worker gets some groups."""
    return max(batch_size, min(_BATCHES * batch_size, images // (4 * workers)))
