"""Makes `assets/rehearsal.safetensors` from the PBC images, anew whenever the packaged model was trained on others:

    python -m bloodcell_batch.adaptation.build_rehearsal PBC bloodcell_batch/assets/rehearsal.safetensors

PBC is the folder with one folder per class. Cells to be learned again are those that the packaged model was trained on;
control cells are such as it never saw. The same images and model give the same bytes with the same version of Pillow.
"""

import hashlib
import io
import re
import sys
from pathlib import Path, PurePosixPath

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from PIL import Image

from bloodcell_batch.adaptation.rehearsal import METADATA_KEY, RehearsalHeader
from bloodcell_batch.cell_classes import DEFAULT_CLASSES
from bloodcell_batch.files.publishing import written_whole
from bloodcell_batch.labels.synonyms import KNOWN_CELLS, known_cell, rolled_up
from bloodcell_batch.model.file import SEEN_PREFIX, open_model
from bloodcell_batch.progress import NullObserver
from bloodcell_batch.training.data.class_names import ClassNames
from bloodcell_batch.training.data.labelled import short_digest
from bloodcell_batch.training.data.sources import LabelledFile, open_source

_SIDE = 192
_QUALITY = 85
_LEARNED, _CONTROL = 100, 50  # of each class
_SEED = 0
_PREFIX = re.compile(r"[A-Za-z]+(?=[_-])")
_ATTRIBUTION = (
    "A. Acevedo et al., A dataset of microscopic peripheral blood cell images for development of automatic recognition "
    "systems, Data in Brief 30 (2020), Mendeley Data snkd93bnjr; reduced in size and compressed"
)


def build(pbc: Path, out: Path) -> None:
    """Choose the cells and write the file."""
    source = open_source(pbc, ClassNames(DEFAULT_CLASSES), NullObserver())
    bytes_of = {entry.file.path: (pbc / entry.file.path).read_bytes() for entry in source.entries}
    digests = np.array([_digest(bytes_of[entry.file.path]) for entry in source.entries], dtype=np.uint64)
    labels = np.array([entry.label for entry in source.entries])
    seen = open_model().load_tensors(SEEN_PREFIX)
    trained = np.isin(digests, seen["train"])
    held_out = ~trained & ~np.isin(digests, seen["validation"])
    rng = np.random.default_rng(_SEED)
    chosen, control = (_chosen(labels, part, count, rng) for part, count in ((trained, _LEARNED), (held_out, _CONTROL)))
    picks = np.concatenate([chosen, control])
    kinds = tuple(cell.name for cell in KNOWN_CELLS)
    images = [_small(bytes_of[source.entries[i].file.path]) for i in picks]
    header = RehearsalHeader(
        kinds=kinds,
        parents=tuple(rolled_up(cell) for cell in KNOWN_CELLS),
        side=_SIDE,
        attribution=_ATTRIBUTION,
        licence="CC BY 4.0",
    )
    tensors: dict[str, NDArray[np.generic]] = {
        "images": np.frombuffer(b"".join(images), dtype=np.uint8),
        "ends": np.cumsum([len(image) for image in images]),
        "kinds": np.array([kinds.index(_kind(source.entries[i])) for i in picks]),
        "control": np.arange(len(picks)) >= len(chosen),
        "digests": digests[picks],
        "held_out": np.sort(digests[held_out]),
    }
    with written_whole(out) as partial:
        partial.write_bytes(safetensors.numpy.save(tensors, metadata={METADATA_KEY: header.model_dump_json()}))
    sys.stdout.write(f"{len(chosen)} cells to learn, {len(control)} for control, {out.stat().st_size:,} bytes\n")


def _chosen(
    labels: NDArray[np.int64], part: NDArray[np.bool_], count: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    return np.concatenate(
        [rng.permutation(np.flatnonzero(part & (labels == label)))[:count] for label in range(len(DEFAULT_CLASSES))]
    )


def _kind(entry: LabelledFile) -> str:
    """The kind that the prefix of a file's name tells, `BNE_1.jpg`, or else its class."""
    name = DEFAULT_CLASSES.names[entry.label]
    prefix = _PREFIX.match(PurePosixPath(entry.file.path).name)
    kind = known_cell(prefix[0]) if prefix else None
    return kind.name if kind and rolled_up(kind) == name else name


def _small(data: bytes) -> bytes:
    stream = io.BytesIO()
    image = Image.open(io.BytesIO(data)).convert("RGB")
    image.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS).save(stream, "WEBP", quality=_QUALITY, method=6)
    return stream.getvalue()


def _digest(data: bytes) -> int:
    return short_digest(hashlib.sha256(data).hexdigest())


if __name__ == "__main__":
    build(Path(sys.argv[1]), Path(sys.argv[2]))
