"""The fields of a recipe in memory: pixels at one scale, cells, and which classes their boxes tell of."""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bloodcell_batch.config.finder import FieldSource
from bloodcell_batch.errors import InputError, TrainingError
from bloodcell_batch.fields.cells import FIELD_CLASSES
from bloodcell_batch.fields.tiles import background_colour
from bloodcell_batch.images.damage import UndecodableImageError
from bloodcell_batch.images.decoding import decode_rgb
from bloodcell_batch.images.file_formats import IMAGE_SUFFIXES
from bloodcell_batch.images.guards import DecodeLimits
from bloodcell_batch.training.finder.boxes import LabelledBox, voc_boxes, yolo_boxes

STORED_RED_CELL = 40  # pixels of a red cell in memory
UNKNOWN, PARTIAL, COMPLETE = 0, 1, 2
_VALIDATION_SHARE = 0.08
_WHOLE_MARGIN = 2  # pixels between a whole cell and the border
_USUAL_CELL = 1.7  # leukocyte's diameter in red cells, where nobody measured it
Part = Literal["train", "validation", "test"]


@dataclass(frozen=True, slots=True)
class TrainingField:
    """One image of a source.

    Attributes:
        name: of its file.
        source: its name in the recipe.
        levels: uint8 RGB with red cells of 40 pixels, and the same at half the size.
        cells: float32 (n, 5): class, x, y, width, height at the first level; not a number where a size is unknown.
        trust: of each class, one of UNKNOWN, PARTIAL, COMPLETE.
        background: RGB, 0-255.
    """

    name: str
    source: str
    levels: tuple[NDArray[np.uint8], NDArray[np.uint8]]
    cells: NDArray[np.float32]
    trust: tuple[int, ...]
    background: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class FieldFile:
    """An image file of a source, its part and its boxes as they are written."""

    path: Path
    source: str
    part: Part


def field_files(sources: Mapping[str, FieldSource], data: Path) -> Iterator[FieldFile]:
    """Every image of every source, in the order of their names.

    Raises:
        TrainingError: a source has no image.
    """
    for name, source in sources.items():
        paths = [
            path
            for folder in _folders(data, source.folder)
            for path in sorted(folder.iterdir())
            if path.suffix.lower() in IMAGE_SUFFIXES and not _matches(path.name, source.exclude)
        ]
        if not paths:
            hint = "Correct `folder` of this source in the recipe, or the folder of the data."
            raise TrainingError(f"The source {name!r} has no images in {data / source.folder}.", hint=hint)
        if source.at_most is not None:
            paths = sorted(sorted(paths, key=lambda path: _share(path.name, "taken"))[: source.at_most])
        for path in paths:
            yield FieldFile(path, name, part_of(path.name, source))


def _folders(data: Path, pattern: str) -> list[Path]:
    """The folders below `data`, or `data` itself, that a pattern names."""
    if not Path(pattern).parts:
        return [data]  # "." is no pattern for pathlib
    return sorted(path for path in data.glob(str(Path(pattern))) if path.is_dir())


def part_of(name: str, source: FieldSource) -> Part:
    """The part of a file, by its name alone, so that it stays where it is when others come or go."""
    if _matches(name, source.train_only):
        return "train"
    if _matches(name, source.test):
        return "test"
    share = _share(name, "part")
    if share < source.test_share:
        return "test"
    return "validation" if share < source.test_share + _VALIDATION_SHARE else "train"


def read_field(file: FieldFile, source: FieldSource) -> TrainingField | None:
    """The image of a file at the scale of training; None where nothing tells how large its red cells are."""
    rgb = decoded(file.path)
    boxes = read_boxes(file.path, source, rgb.shape)
    cells = labelled_rows(boxes, source)
    scale = source.red_cell_pixels or red_cell_of(cells, rgb.shape)
    if scale is None:
        return None
    factor = STORED_RED_CELL / scale
    levels = tuple(_resized(rgb, factor * share) for share in (1.0, 0.5))
    cells[:, 1:] *= factor
    trust = [
        COMPLETE if name in source.complete else PARTIAL if name in source.partial else 0 for name in FIELD_CLASSES
    ]
    return TrainingField(
        file.path.name,
        file.source,
        (levels[0], levels[1]),
        cells,
        tuple(trust),
        background_colour(levels[1]).astype(np.float32),
    )


def read_boxes(path: Path, source: FieldSource, shape: Sequence[int]) -> list[LabelledBox]:
    """The boxes of an image of (height, width, ...) pixels, in pixels."""
    height, width = shape[:2]
    if source.boxes == "none":
        return []
    if source.boxes == "centre":
        unknown = float("nan")
        return [LabelledBox("centre", width / 2, height / 2, unknown, unknown)]
    if source.boxes == "voc":
        # Beside the folder by its whole name: that of "." has none.
        images = Path(os.path.abspath(path.parent))  # noqa: PTH100 - resolve() would leave a linked folder
        return voc_boxes(images.with_name("boxes") / f"{path.stem}.xml")
    return yolo_boxes(path.with_suffix(".txt"), width, height)


def red_cell_of(cells: NDArray[np.float32], shape: Sequence[int]) -> float | None:
    """Median diameter, in pixels, of the red cells that don't touch the border; None if there are fewer than two."""
    height, width = shape[:2]
    red = cells[cells[:, 0] == FIELD_CLASSES.index("red_cell")]
    x, y, w, h = red[:, 1], red[:, 2], red[:, 3], red[:, 4]
    inside = (x - w / 2 > _WHOLE_MARGIN) & (y - h / 2 > _WHOLE_MARGIN)
    inside &= (x + w / 2 < width - _WHOLE_MARGIN) & (y + h / 2 < height - _WHOLE_MARGIN)
    diameters = np.sqrt(w * h)[inside]
    return float(np.median(diameters)) if len(diameters) >= 2 else None


def decoded(path: Path) -> NDArray[np.uint8]:
    """The pixels of an image file, uint8 (height, width, 3).

    Raises:
        InputError: it can't be read, or it is damaged: what it is labelled with would count for nothing.
    """
    hint = "Repair it or take it out."
    try:
        return decode_rgb(path.read_bytes(), DecodeLimits(), path.suffix.lower())
    except OSError as error:
        raise InputError(f"Can't read {path}: {error.strerror or error}.", hint=hint) from error
    except UndecodableImageError as error:
        raise InputError(f"{path} can't be decoded: {error.detail}.", hint=hint) from error


def labelled_rows(boxes: Sequence[LabelledBox], source: FieldSource) -> NDArray[np.float32]:
    """The boxes of known labels as rows (n, 5): class, x, y, width, height."""
    rows = [
        (FIELD_CLASSES.index(source.labels[box.label]), box.x, box.y, box.width, box.height)
        for box in boxes
        if box.label in source.labels
    ]
    return np.array(rows, dtype=np.float32).reshape(-1, 5)


def usual_sizes(cells: NDArray[np.float32], red_cell: float) -> NDArray[np.float32]:
    """The cells with a usual size where theirs is unknown."""
    return np.where(np.isnan(cells), np.float32(_USUAL_CELL * red_cell), cells)


def _resized(rgb: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    height, width = rgb.shape[:2]
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BILINEAR))


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def _share(name: str, salt: str) -> float:
    return int.from_bytes(hashlib.sha256(f"{salt} {name}".encode()).digest()[:6]) / 2**48
