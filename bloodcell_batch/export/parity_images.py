"""The pictures on which an exported network is compared with PyTorch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from bloodcell_batch.backends.canary import canary_images
from bloodcell_batch.errors import InputError
from bloodcell_batch.images.guards import DecodeLimits
from bloodcell_batch.images.preprocessing import Preprocessing
from bloodcell_batch.progress import Observer
from bloodcell_batch.records import DecodedImage
from bloodcell_batch.slides.rules import slide_rule
from bloodcell_batch.stages.decode import decode_ahead, make_decoder
from bloodcell_batch.stages.scan import scan

_DRAWN = 64
_WINDOW = 64

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Sample:
    """Network inputs, uint8 (N, S, S, 3), and where they come from."""

    images: NDArray[np.uint8]
    source: str


def load_sample(
    folder: Path | None, most: int, preprocessing: Preprocessing, workers: int, observer: Observer
) -> Sample:
    """At most `most` images of a folder, evenly spread over its files; drawn pictures if there is no folder.

    Raises:
        InputError: there are no readable images in the folder.
    """
    if folder is None:
        observer.warn("no --images given: the export is checked on drawn pictures only, not on images of cells")
        return Sample(canary_images(preprocessing.input_size, _DRAWN), "drawn pictures")
    found = scan(folder, slide_rule("parent", None, None))
    step = max(1, -(-len(found.files) // most))
    decoder = make_decoder(found.root, preprocessing, DecodeLimits())
    decoded = decode_ahead(found.files[::step], decoder, workers, _WINDOW)
    pixels = [outcome.pixels for outcome in decoded if isinstance(outcome, DecodedImage)]
    if not pixels:
        raise InputError(f"No readable images under {folder}.", hint="Give a folder with images of cells.")
    return Sample(np.stack(pixels), str(folder.name))


def evenly(items: Sequence[Item], count: int) -> list[Item]:
    """`count` of the items, spread over the whole list; all if there are fewer."""
    count = min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]
