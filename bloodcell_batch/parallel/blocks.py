"""A stream in blocks: what NumPy does to 64 images at a time costs little more than what it does to one."""

import math
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
BLOCK = 64
PATIENCE_S = 2.0
"""After which a block need not be full: where each item takes long, the first should not wait for all others."""


def blocks_of(items: Iterable[Item], size: int = BLOCK, patience: float = math.inf) -> Iterator[list[Item]]:
    """Lists of `size` items; the last may be shorter, and so is one that takes more than `patience` seconds to fill."""
    block: list[Item] = []
    since = 0.0
    for item in items:
        since = since if block else time.monotonic()
        block.append(item)
        if len(block) == size or time.monotonic() - since > patience:
            yield block
            block = []
    if block:
        yield block
