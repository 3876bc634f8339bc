"""Whole slides as the unit in which work is handed out: duplicates are looked for within a slide."""

from collections.abc import Sequence
from itertools import groupby

from bloodcell_batch.records import ImageFile

_BATCHES = 8  # in a group at most: more would only make a lost worker cost more


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
