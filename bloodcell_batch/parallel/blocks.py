"""A stream in blocks: what NumPy does to 64 images at a time costs little more than what it does to one."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
BLOCK = 64


def blocks_of(items: Iterable[Item], size: int = BLOCK) -> Iterator[list[Item]]:
    """Lists of `size` items; the last may be shorter."""
    stream = iter(items)
    while block := list(islice(stream, size)):
        yield block
