"""Pictures that are taken for single cells: how many does the finder look at, which are refused, and what does it cost?

    python tests/measurements/single_cells.py FOLDER ... --each 1 --drawn 100

Each FOLDER holds cells that a laboratory cut out, a folder per slide or class; each of them gets its scale from a few
of its images, as in `classify`; what is refused is named. Pictures that show no single cell are drawn from each one's
own images as well, and looked at with its scale: two cells side by side, near and far, only the corners of pictures put
together, and the empty ground. Times are of the processor, for a network on one thread.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bloodcell_batch.config.classify import ClassifyConfig
from bloodcell_batch.fields.scale import CropScale
from bloodcell_batch.fields.screen import plainly_one_cell
from bloodcell_batch.fields.tiles import background_colour
from bloodcell_batch.fields.vote import SMALLEST_FIELD, SlideView
from bloodcell_batch.images.guards import DecodeLimits
from bloodcell_batch.progress import NullObserver
from bloodcell_batch.records import ImageFile
from bloodcell_batch.runs.finder import RunFinder, look_at_slides
from bloodcell_batch.slides.rules import PATH_RULES
from bloodcell_batch.stages.decode import Reader, make_reader
from bloodcell_batch.stages.scan import scan

Picture = NDArray[np.uint8]
Pair = tuple[Picture, Picture]


class Tally:
    """What became of some pictures."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.names: list[str] = []
        self._screen = self._look = 0.0

    def add(self, name: str, rgb: Picture, scale: CropScale, finder: RunFinder) -> None:
        """Look at one."""
        self.seen["images"] += 1
        start = time.thread_time()
        plain = max(rgb.shape[:2]) < SMALLEST_FIELD or plainly_one_cell(rgb, scale.red_cell_pixels)
        self._screen += time.thread_time() - start
        if plain:
            return
        start = time.process_time()
        why = finder.check(rgb, scale)
        self._look += time.process_time() - start
        self.seen["looked at"] += 1
        if why is not None:
            self.seen[why.value] += 1
            self.names.append(f"{name} ({why.value})")

    def as_text(self) -> str:
        """One line."""
        total, looked_at = self.seen["images"], self.seen["looked at"]
        refused = self.seen["several_cells"] + self.seen["no_cell"]
        text = f"{total} pictures, {looked_at} to the finder ({looked_at / max(total, 1):.1%}), {refused} refused "
        text += f"({refused / max(total, 1):.2%}: {self.seen['several_cells']} several, {self.seen['no_cell']} none); "
        text += (
            f"screen {1000 * self._screen / max(total, 1):.2f} ms, look {1000 * self._look / max(looked_at, 1):.1f} ms"
        )
        return text


def pair(pictures: Pair, apart: float) -> Picture:
    """The left half from one picture, the right from another, with their middles `apart` shares of the width apart."""
    left, right = pictures
    width = left.shape[1]
    half, shift = width // 2, round(apart * width / 2)
    drawn = left.copy()
    drawn[:, :half] = left[:, shift : shift + half]
    drawn[:, half:] = right[:, half - shift : half - shift + width - half]
    return drawn


def corners(pictures: Pair, _: float) -> Picture:
    """The corners of two pictures put together, in which no cell's middle is."""
    drawn = pictures[0].copy()
    height, width = (-(-length // 4) for length in drawn.shape[:2])
    parts = [part for one in pictures for part in (one[:height, :width], one[:height, -width:])]
    parts += [part for one in pictures for part in (one[-height:, :width], one[-height:, -width:])]
    for row in range(4):
        for column in range(4):
            part = parts[(3 * row + column) % len(parts)]
            place = drawn[row * height : (row + 1) * height, column * width : (column + 1) * width]
            place[:] = part[: place.shape[0], : place.shape[1]]
    return drawn


def ground(pictures: Pair, _: float) -> Picture:
    """Nothing but the colour of the empty smear, with a little noise."""
    noise = np.random.default_rng(0).normal(0, 3, pictures[0].shape)
    return np.clip(background_colour(pictures[0]) + noise, 0, 255).astype(np.uint8)


DRAWN: dict[str, tuple[Callable[[Pair, float], Picture], float]] = {
    "two cells far apart": (pair, 0.47),
    "two cells side by side": (pair, 0.38),
    "two cells that touch": (pair, 0.28),
    "only corners": (corners, 0.0),
    "empty ground": (ground, 0.0),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line per folder, and one per kind of drawn pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--each", type=int, default=1, help="look at every so manieth image only")
    parser.add_argument("--drawn", type=int, default=100, help="pictures of each kind to draw")
    options = parser.parse_args(arguments)
    config = ClassifyConfig(images="cells")
    finder = RunFinder(config, 1)
    finder.open()
    for folder in options.folders:
        tally, drawn = _folder(folder, config, finder, options.each, options.drawn)
        sys.stdout.write(f"{folder.name}: {tally.as_text()}\n")
        sys.stdout.writelines(f"  {name}\n" for name in tally.names)
        sys.stdout.writelines(f"  {kind}: {one.as_text()}\n" for kind, one in drawn.items())
        sys.stdout.flush()
    finder.close()
    return 0


def _folder(
    folder: Path, config: ClassifyConfig, finder: RunFinder, each: int, count: int
) -> tuple[Tally, dict[str, Tally]]:
    found = scan(str(folder), PATH_RULES["parent"])
    views = look_at_slides(found.root, found.files, finder, config, NullObserver())
    reader = make_reader(found.root, DecodeLimits())
    tally, drawn = Tally(), {kind: Tally() for kind in DRAWN if count}
    for slide, some in groupby(found.files, key=lambda file: file.slide_id):
        scale = views[slide].crop_scale
        files = list(some)[::each]
        if scale is None:
            tally.seen["images"] += len(files)
            continue
        for file in files:
            tally.add(file.path, reader(file)[1], scale, finder)
    for name, view, pictures in _pairs(found.files, views, reader, count):
        for kind, (draw, apart) in DRAWN.items():
            drawn[kind].add(name, draw(pictures, apart), view, finder)
    return tally, drawn


def _pairs(
    files: Sequence[ImageFile], views: Mapping[str, SlideView], reader: Reader, count: int
) -> Iterator[tuple[str, CropScale, Pair]]:
    """So many times two pictures of one size and slide, evenly spread."""
    step = max(1, len(files) // max(1, count))
    for file, other in list(pairwise(files))[::step][:count]:
        scale = views[file.slide_id].crop_scale
        pictures = (reader(file)[1], reader(other)[1])
        if scale is not None and file.slide_id == other.slide_id and pictures[0].shape == pictures[1].shape:
            yield f"{file.path} + {other.path}", scale, pictures


if __name__ == "__main__":
    sys.exit(main())
