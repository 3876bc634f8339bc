"""Pictures that show no cell, among pictures of cells: how many of them are counted as one?

    python tests/measurements/not_cells.py CELLS FIELDS --red-cell-pixels 42 --each 60

CELLS is a folder of a laboratory's cut-out cells, FIELDS one of fields without leukocytes whose red cells have that
diameter. Each kind of picture makes a slide, together with as many cells, and is classified as `classify` does with
pictures of cells. Prints a line per kind: what was classified, and why the others were not.
"""

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from classify_child import classify
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Draw = Callable[[np.random.Generator], Image.Image]

_SIDE = 360
_RED_CELLS = 4.5  # in the width of a picture
_GROUND = (238, 222, 216)


def pictures(folder: Path) -> list[Path]:
    """All pictures below a folder, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in {".jpg", ".png"})


def windows(fields: Sequence[Path], red_cell_pixels: float) -> Draw:
    """Red cells, as pictures of cells are cut."""
    side = round(_RED_CELLS * red_cell_pixels)

    def draw(rng: np.random.Generator) -> Image.Image:
        field = Image.open(fields[int(rng.integers(len(fields)))]).convert("RGB")
        x, y = (int(rng.integers(length - side)) for length in field.size)
        return field.crop((x, y, x + side, y + side)).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)

    return draw


def corners(cells: Sequence[Path]) -> Draw:
    """Red cells and ground of pictures of cells: four of their corners put together."""

    def draw(rng: np.random.Generator) -> Image.Image:
        half, picture = _SIDE // 2, Image.new("RGB", (_SIDE, _SIDE))
        for x in (0, half):
            for y in (0, half):
                one = Image.open(cells[int(rng.integers(len(cells)))]).convert("RGB").resize((_SIDE, _SIDE))
                part = one.crop((0, 0, _SIDE // 4, _SIDE // 4)).resize((half, half), Image.Resampling.BICUBIC)
                picture.paste(part, (x, y))
        return picture

    return draw


def noise(rng: np.random.Generator) -> Image.Image:
    """A camera without a picture."""
    return Image.fromarray(rng.integers(0, 256, (_SIDE, _SIDE, 3), dtype=np.uint8))


def gradient(rng: np.random.Generator) -> Image.Image:
    """Two colours that run into each other, as behind a lamp."""
    ends = rng.integers(60, 256, (2, 3))
    share = np.linspace(0, 1, _SIDE)[:, None, None]
    levels: NDArray[np.float64] = ends[0] * (1 - share) + ends[1] * share + rng.normal(0, 3, (_SIDE, _SIDE, 3))
    return Image.fromarray(levels.clip(0, 255).astype(np.uint8))


def debris(rng: np.random.Generator) -> Image.Image:
    """Splinters of stain on the ground, a little out of focus."""
    picture = Image.new("RGB", (_SIDE, _SIDE), _GROUND)
    pen = ImageDraw.Draw(picture)
    for _ in range(rng.integers(5, 25)):
        corners_of_one = rng.integers(0, _SIDE, 2) + rng.integers(-18, 19, (5, 2))
        pen.polygon([tuple(one) for one in corners_of_one.tolist()], fill=tuple(rng.integers(60, 170, 3).tolist()))
    return picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.5, 3))))


def text(rng: np.random.Generator) -> Image.Image:
    """A label or a scale."""
    picture = Image.new("RGB", (_SIDE, _SIDE), "white")
    pen = ImageDraw.Draw(picture)
    for _ in range(rng.integers(2, 9)):
        words = "".join(chr(rng.integers(48, 91)) for _ in range(12))
        pen.text(
            tuple(rng.integers(0, _SIDE - 100, 2).tolist()), words, fill="black", font_size=int(rng.integers(12, 50))
        )
    pen.line([(30, 330), (30 + int(rng.integers(50, 300)), 330)], fill="black", width=6)
    return picture


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line per kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cells", type=Path)
    parser.add_argument("fields", type=Path)
    parser.add_argument("--red-cell-pixels", type=float, default=42)
    parser.add_argument("--each", type=int, default=60)
    options = parser.parse_args(arguments)
    cells, rng = pictures(options.cells), np.random.default_rng(0)
    kinds: dict[str, Draw] = {
        "red cells of fields": windows(pictures(options.fields), options.red_cell_pixels),
        "corners of pictures": corners(cells),
        "noise": noise,
        "gradients": gradient,
        "debris": debris,
        "text": text,
    }
    with tempfile.TemporaryDirectory() as made:
        for name, draw in kinds.items():
            slide = Path(made, "slides", name)
            slide.mkdir(parents=True)
            for number, path in enumerate(rng.choice(np.array(cells, dtype=object), options.each, replace=False)):
                Image.open(path).convert("RGB").save(slide / f"cell {number}.png")
            for number in range(options.each):
                draw(rng).save(slide / f"none {number}.png")
        table = Path(made, "r.parquet")
        classify(Path(made, "slides"), table, "--images", "cells", "--dedup", "off", "--quiet")
        rows = pq.read_table(table).to_pylist()
    for name in kinds:
        mine = [row for row in rows if row["slide_id"] == name and "none " in row["path"]]
        reasons = Counter(row["reason"] for row in mine if row["reason"])
        counted = [row["label"] for row in mine if row["status"] == "classified"]
        told = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
        labels = ", ".join(f"{count} {label}" for label, count in Counter(counted).most_common())
        sys.stdout.write(f"{name}: {len(mine)} pictures, {len(counted)} counted ({labels or 'none'}); {told}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
