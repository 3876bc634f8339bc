"""Makes `assets/rehearsal.safetensors` from the PBC images, anew whenever the packaged model was trained on others:

    python -m bloodcell_batch.adaptation.build_rehearsal PBC bloodcell_batch/assets/rehearsal.safetensors

PBC is the folder with one folder per class. Cells to be learned again are those that the packaged model was trained on;
control cells are such as it never saw. The same images and model give the same bytes with the same version of Pillow.
"""

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
from bloodcell_batch.images.preprocessing import Preprocessing
from bloodcell_batch.labels.synonyms import KNOWN_CELLS, known_cell, rolled_up
from bloodcell_batch.model.file import open_model
from bloodcell_batch.parallel.cpus import available_cpus
from bloodcell_batch.progress import NullObserver
from bloodcell_batch.training.data.class_names import ClassNames
from bloodcell_batch.training.data.labelled import load_labelled
from bloodcell_batch.training.data.seen import Seen, SeenPart

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
    names = ClassNames(DEFAULT_CLASSES)
    cells, _ = load_labelled(pbc, Preprocessing(input_size=16), available_cpus(), NullObserver(), names=names)
    seen = Seen.by(open_model())
    trained = np.isin(cells.digests, seen.train.digests)
    held_out = ~trained & ~np.isin(cells.digests, seen.validation.digests)
    rng = np.random.default_rng(_SEED)
    chosen, control = (
        _chosen(cells.labels, part, count, rng) for part, count in ((trained, _LEARNED), (held_out, _CONTROL))
    )
    picks = np.concatenate([chosen, control])
    kinds = tuple(cell.name for cell in KNOWN_CELLS)
    images = [_small((pbc / cells.paths[i]).read_bytes()) for i in picks]
    header = RehearsalHeader(
        kinds=kinds,
        parents=tuple(rolled_up(cell) for cell in KNOWN_CELLS),
        side=_SIDE,
        attribution=_ATTRIBUTION,
        licence="CC BY 4.0",
    )
    tested = SeenPart.of(cells.digests[held_out], cells.hashes[held_out])
    tensors: dict[str, NDArray[np.generic]] = {
        "images": np.frombuffer(b"".join(images), dtype=np.uint8),
        "ends": np.cumsum([len(image) for image in images]),
        "kinds": np.array([kinds.index(_kind(cells.paths[i], DEFAULT_CLASSES.names[cells.labels[i]])) for i in picks]),
        "control": np.arange(len(picks)) >= len(chosen),
        "digests": cells.digests[picks],
        "hashes": cells.hashes[picks],
        "held_out": tested.digests,
        "held_out_hashes": tested.hashes,
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


def _kind(path: str, name: str) -> str:
    """The kind that the prefix of a file's name tells, `BNE_1.jpg`, or else its class."""
    prefix = _PREFIX.match(PurePosixPath(path).name)
    kind = known_cell(prefix[0]) if prefix else None
    return kind.name if kind and rolled_up(kind) == name else name


def _small(data: bytes) -> bytes:
    stream = io.BytesIO()
    image = Image.open(io.BytesIO(data)).convert("RGB")
    image.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS).save(stream, "WEBP", quality=_QUALITY, method=6)
    return stream.getvalue()


if __name__ == "__main__":
    build(Path(sys.argv[1]), Path(sys.argv[2]))
