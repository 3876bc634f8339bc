"""The cells that come with the program: some to learn again beside a laboratory's own, so that nothing is forgotten,
and some that no model of ours has learned, to see whether anything was.

`assets/rehearsal.safetensors` holds small WebP images of the PBC data set one after the other, with a JSON document in
its header; `build_rehearsal.py` makes it.
"""

import json
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from bloodcell_batch.cell_classes import ClassList
from bloodcell_batch.images.decoding import decode_rgb
from bloodcell_batch.images.guards import DecodeLimits
from bloodcell_batch.images.preprocessing import Preprocessing, resize_to_input
from bloodcell_batch.training.data.seen import SeenPart

ASSET = "rehearsal.safetensors"
METADATA_KEY = "rehearsal"
SUFFIX = ".webp"


class RehearsalHeader(BaseModel):
    """The JSON document in the file: names of the kinds of cells, the class that each is a kind of (its own name where
    it is none), the source of the images and its licence."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kinds: tuple[str, ...]
    parents: tuple[str, ...]
    side: int
    attribution: str
    licence: str


@dataclass(frozen=True, slots=True)
class PackagedCells:
    """Cells of the package for one network.

    `inputs` uint8 (N, S, S, 3) are as the network takes them, `pixels` uint8 (N, M, M, 3) are larger, for training;
    `labels` int64 (N,) index the classes of the model; `digests` uint64 (N,) and `hashes` uint64 (N, 2, 4) are of the
    original files, see `Seen`.
    """

    pixels: NDArray[np.uint8]
    inputs: NDArray[np.uint8]
    labels: NDArray[np.int64]
    digests: NDArray[np.uint64]
    hashes: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: NDArray[np.int64]) -> "PackagedCells":
        """The cells at `index`, in its order."""
        return PackagedCells(
            self.pixels[index], self.inputs[index], self.labels[index], self.digests[index], self.hashes[index]
        )


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """`learned` are cells to be learned again, `control` cells that the packaged model never learned, `held_out` all
    cells that are kept for tests of it, and `attribution` names the source of all."""

    learned: PackagedCells
    control: PackagedCells
    held_out: SeenPart
    attribution: str


def load_rehearsal(classes: ClassList, preprocessing: Preprocessing) -> Rehearsal:
    """Decode the cells of the package, as far as a model with `classes` has a name for them.

    A cell of a kind counts as the class that it is a kind of where the model has that, else as the kind.
    """
    data = files("bloodcell_batch").joinpath("assets", ASSET).read_bytes()
    tensors = safetensors.numpy.load(data)
    header = read_header(data)
    numbers = np.array([_number(names, classes) for names in zip(header.parents, header.kinds, strict=True)])
    labels = numbers[tensors["kinds"]]
    images = np.split(tensors["images"], tensors["ends"][:-1])
    parts = []
    for control in (False, True):
        chosen = np.flatnonzero((tensors["control"] == control) & (labels >= 0))
        rgb = [decode_rgb(images[i].tobytes(), DecodeLimits(), SUFFIX) for i in chosen]
        larger = preprocessing.model_copy(update={"input_size": min(header.side, 2 * preprocessing.input_size)})
        parts.append(
            PackagedCells(
                pixels=_stacked(rgb, larger),
                inputs=_stacked(rgb, preprocessing),
                labels=labels[chosen],
                digests=tensors["digests"][chosen],
                hashes=tensors["hashes"][chosen],
            )
        )
    held_out = SeenPart(tensors["held_out"], tensors["held_out_hashes"])
    return Rehearsal(parts[0], parts[1], held_out, header.attribution)


def read_header(data: bytes) -> RehearsalHeader:
    """The document in the header of the file's bytes."""
    length = int.from_bytes(data[:8], "little")
    return RehearsalHeader.model_validate_json(json.loads(data[8 : 8 + length])["__metadata__"][METADATA_KEY])


def _number(names: tuple[str, str], classes: ClassList) -> int:
    """The class that a cell with these names is of, the first that the model has; -1 for none."""
    return next((classes.names.index(name) for name in names if name in classes.names), -1)


def _stacked(rgb: list[NDArray[np.uint8]], preprocessing: Preprocessing) -> NDArray[np.uint8]:
    side = preprocessing.input_size
    store = np.empty((len(rgb), side, side, 3), dtype=np.uint8)
    for i, picture in enumerate(rgb):
        store[i] = resize_to_input(picture, preprocessing)
    return store
