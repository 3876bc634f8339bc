"""Large crowded fields drawn from real cells, with their truth beside them, and what a finder makes of them.

    python tests/measurements/crowded_field.py draw DATA OUT --fields 5      # 12 megapixels, 40 leukocytes each
    python tests/measurements/crowded_field.py measure OUT --times 500       # recall, time, memory

DATA holds `fields_txl/pbc` with its YOLO boxes. Leukocytes and red cells are cut out along their boxes from images that
the finder's recipe holds out for the test, and laid on the colour of the smear: 8 pairs of leukocytes touch, 6 are cut
by the border, none covers another. `measure` looks at the fields, each from its file, as often as asked for.
"""

import argparse
import math
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bloodcell_batch.backends.contract import BackendOptions
from bloodcell_batch.backends.selection import open_backend
from bloodcell_batch.config.finder import FieldSource, TrainFinderConfig
from bloodcell_batch.config.resolve import resolve
from bloodcell_batch.fields.finder import find_cells
from bloodcell_batch.fields.tiles import background_colour
from bloodcell_batch.model.file import open_finder
from bloodcell_batch.stages.find import ready_finder
from bloodcell_batch.training.finder.boxes import LabelledBox
from bloodcell_batch.training.finder.data import decoded, field_files, read_boxes, red_cell_of
from bloodcell_batch.training.finder.data import labelled_rows as rows_of
from bloodcell_batch.training.finder.matching import Matches, match_by_box, match_by_centre

_WIDTH, _HEIGHT, _RED_CELL = 4000, 3000, 80
_LEUKOCYTES, _PAIRS, _CUT, _RED_CELLS = 40, 8, 6, 1100
_EDGE = 0.1  # soft edge of a pasted cell, as a share of its radius
_GROUND = (236, 224, 214)

Place = tuple[float, float, float]
"""x, y and radius."""


@dataclass(frozen=True)
class Donor:
    """A cell cut out: RGB, and its box's size, at 80 pixels a red cell."""

    rgb: NDArray[np.float32]
    width: float
    height: float


def donors(data: Path) -> dict[str, list[Donor]]:
    """The whole cells of the held-out images, in the light of one smear."""
    recipe = resolve(TrainFinderConfig, {}, Path("finder/default"))
    source = recipe.sources["txl_pbc"]
    found: dict[str, list[Donor]] = {"leukocyte": [], "red_cell": []}
    for file in field_files({"txl_pbc": source}, data):
        if file.part != "test":
            continue
        rgb = decoded(file.path)
        boxes = read_boxes(file.path, source, rgb.shape)
        scale = red_cell_of(rows_of(boxes, source), rgb.shape)
        light = np.array(_GROUND) / np.maximum(background_colour(rgb).astype(np.float32), 1)
        for box in boxes:
            name = source.labels[box.label]
            cut = _cut(rgb, box, _RED_CELL / scale) if scale and name in found else None
            if cut is not None:
                found[name].append(Donor(cut * light.astype(np.float32), box.width, box.height))
    return found


def _cut(rgb: NDArray[np.uint8], box: LabelledBox, factor: float) -> NDArray[np.float32] | None:
    half_x, half_y = 0.56 * box.width, 0.56 * box.height
    left, top, right, bottom = (
        round(value) for value in (box.x - half_x, box.y - half_y, box.x + half_x, box.y + half_y)
    )
    if left < 0 or top < 0 or right > rgb.shape[1] or bottom > rgb.shape[0]:
        return None
    part = Image.fromarray(np.ascontiguousarray(rgb[top:bottom, left:right]))
    size = (max(2, round((right - left) * factor)), max(2, round((bottom - top) * factor)))
    return np.asarray(part.resize(size, Image.Resampling.BICUBIC), dtype=np.float32)


def drawn(cells: dict[str, list[Donor]], random: np.random.Generator) -> tuple[NDArray[np.uint8], list[LabelledBox]]:
    """A field (3000, 4000, 3) and the boxes of its leukocytes."""
    grain = random.normal(0, 2.5, (_HEIGHT, _WIDTH, 1)).astype(np.float32)
    canvas = np.array(_GROUND, dtype=np.float32) + grain
    white = _leukocyte_places(random)
    for x, y, radius in _red_cell_places(white, random):
        _lay(canvas, cells["red_cell"][random.integers(len(cells["red_cell"]))], x, y, radius)
    boxes = []
    for x, y, radius in white:
        donor = cells["leukocyte"][random.integers(len(cells["leukocyte"]))]
        width, height = _lay(canvas, donor, x, y, radius)
        low_x, low_y = max(0.0, x - width / 2), max(0.0, y - height / 2)
        high_x, high_y = min(float(_WIDTH), x + width / 2), min(float(_HEIGHT), y + height / 2)
        box = LabelledBox("0", (low_x + high_x) / 2, (low_y + high_y) / 2, high_x - low_x, high_y - low_y)
        boxes.append(box)
    return np.clip(canvas, 0, 255).astype(np.uint8), boxes


def _leukocyte_places(random: np.random.Generator) -> list[Place]:
    """Pairs that touch, cells whose centre lies just inside the border, and others by themselves."""
    places: list[Place] = []
    while len(places) < 2 * _PAIRS:
        radii = random.uniform(62, 78, 2)
        x, y = random.uniform(250, _WIDTH - 250), random.uniform(250, _HEIGHT - 250)
        angle = random.uniform(0, 2 * math.pi)
        apart = radii.sum() * random.uniform(0.98, 1.03)
        pair = [(x, y, radii[0]), (x + apart * math.cos(angle), y + apart * math.sin(angle), radii[1])]
        if all(_free(place, places, 40) for place in pair):
            places += pair
    while len(places) < _LEUKOCYTES:
        radius = random.uniform(62, 78)
        if len(places) < 2 * _PAIRS + _CUT:
            inside = radius * random.uniform(0.1, 0.6)
            along = random.uniform(300, _HEIGHT - 300)
            place = random.choice([inside, _WIDTH - inside]), along, radius
        else:
            place = random.uniform(120, _WIDTH - 120), random.uniform(120, _HEIGHT - 120), radius
        if _free(place, places, 40):
            places.append(place)
    return places


def _red_cell_places(white: Sequence[Place], random: np.random.Generator) -> list[Place]:
    """Red cells all over, some of which overlap a little as they do."""
    places: list[Place] = []
    for _ in range(40 * _RED_CELLS):
        if len(places) == _RED_CELLS:
            break
        place = random.uniform(0, _WIDTH), random.uniform(0, _HEIGHT), _RED_CELL / 2 * random.uniform(0.92, 1.08)
        if _free(place, white, 4) and _free(place, places, -6):
            places.append(place)
    return places


def _free(place: Place, others: Sequence[Place], gap: float) -> bool:
    return all(math.hypot(place[0] - x, place[1] - y) > place[2] + radius + gap for x, y, radius in others)


def _lay(canvas: NDArray[np.float32], donor: Donor, x: float, y: float, radius: float) -> tuple[float, float]:
    """Lay a donor of so large a radius on the canvas; the width and height of its box."""
    rows, columns = donor.rgb.shape[:2]
    factor = 2 * radius / math.sqrt(rows * columns) * 1.12
    size = (max(2, round(columns * factor)), max(2, round(rows * factor)))
    picture = np.asarray(Image.fromarray(np.clip(donor.rgb, 0, 255).astype(np.uint8)).resize(size), dtype=np.float32)
    width, height = size[0] / 1.12, size[1] / 1.12
    ticks_y = (np.arange(size[1])[:, None] - (size[1] - 1) / 2) / (height / 2)
    ticks_x = (np.arange(size[0])[None, :] - (size[0] - 1) / 2) / (width / 2)
    mask = np.clip((1 + _EDGE - np.hypot(ticks_x, ticks_y)) / _EDGE, 0, 1)[:, :, None].astype(np.float32)
    left, top = round(x - size[0] / 2), round(y - size[1] / 2)
    there = canvas[max(0, top) : max(0, top + size[1]), max(0, left) : max(0, left + size[0])]
    from_left, from_top = max(0, -left), max(0, -top)
    part = (slice(from_top, from_top + there.shape[0]), slice(from_left, from_left + there.shape[1]))
    there += mask[part] * (picture[part] - there)
    return width, height


def draw(data: Path, out: Path, fields: int, seed: int) -> None:
    """Write `fields` JPEG files and a YOLO file beside each."""
    cells = donors(data)
    out.mkdir(parents=True, exist_ok=True)
    for number in range(fields):
        rgb, boxes = drawn(cells, np.random.default_rng((seed, number)))
        Image.fromarray(rgb).save(out / f"field_{number}.jpg", quality=92)
        lines = [
            f"0 {box.x / _WIDTH:.6f} {box.y / _HEIGHT:.6f} {box.width / _WIDTH:.6f} {box.height / _HEIGHT:.6f}"
            for box in boxes
        ]
        (out / f"field_{number}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    _say(f"{fields} fields with {_LEUKOCYTES} leukocytes each: {2 * _PAIRS} in touching pairs, {_CUT} cut off")


def measure(folder: Path, finder_path: Path | None, times: int, threads: int | None) -> None:
    """Print recall and precision, seconds per field without decoding, and how the memory grew."""
    model = open_finder(finder_path)
    backend = open_backend(model, "auto", BackendOptions(threads=threads)).backend
    finder = ready_finder(model, backend)
    source = FieldSource(folder=".", boxes="yolo", labels={"0": "leukocyte"}, complete=("leukocyte",))
    paths = sorted(folder.glob("*.jpg"))
    by_centre, by_box, cut = Matches(), Matches(), Matches()
    seconds, decoding, memory = [], [], []
    for number in range(max(times, len(paths))):
        path = paths[number % len(paths)]
        start = time.perf_counter()
        rgb = decoded(path)
        middle = time.perf_counter()
        found = find_cells(rgb, finder)
        seconds.append(time.perf_counter() - middle)
        decoding.append(middle - start)
        if number % 10 == 0:
            memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        if number < len(paths):
            boxes = read_boxes(path, source, rgb.shape)
            by_centre += match_by_centre(found.leukocytes, boxes)
            by_box += match_by_box(found.leukocytes, boxes)
            at_border = [box for box in boxes if min(box.x - box.width / 2, _WIDTH - box.x - box.width / 2) < 1]
            marked = [cell for cell in found.leukocytes if cell.cut_off]
            cut += match_by_centre(marked, at_border)
    _say(f"{backend.description}; {len(seconds)} looks at {len(paths)} fields")
    for name, matches in (("centre", by_centre), ("box", by_box), ("cut off, centre", cut)):
        figures = matches.as_dict()
        _say(f"by {name}: {matches.labelled} labelled, recall {figures['recall']}, precision {figures['precision']}")
    _say(
        f"median {np.median(seconds):.2f} s, slowest {max(seconds):.2f} s; decoding {np.median(decoding):.2f} s before"
    )
    half = memory[len(memory) // 2]
    _say(f"peak memory after 1 field {memory[0]:.0f} MiB, after half {half:.0f}, at the end {memory[-1]:.0f}")
    backend.close()


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw or measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    drawing = commands.add_parser("draw")
    drawing.add_argument("data", type=Path)
    drawing.add_argument("out", type=Path)
    drawing.add_argument("--fields", type=int, default=5)
    drawing.add_argument("--seed", type=int, default=1)
    measuring = commands.add_parser("measure")
    measuring.add_argument("folder", type=Path)
    measuring.add_argument("--finder", type=Path)
    measuring.add_argument("--times", type=int, default=1)
    measuring.add_argument("--threads", type=int)
    options = parser.parse_args(arguments)
    if options.command == "draw":
        draw(options.data, options.out, options.fields, options.seed)
    else:
        measure(options.folder, options.finder, options.times, options.threads)
    return 0


if __name__ == "__main__":
    sys.exit(main())
