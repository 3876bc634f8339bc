"""Draw example slides: small JPEG pictures of single blood cells that belong to nobody.

Usage: ``python draw_slides.py [--out DIR] [--seed 7]``. The same seed gives the same
bytes with the same versions of numpy and Pillow.
"""

from __future__ import annotations

import argparse
import csv
import io
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from draw_cells import RECIPES, platelet
from draw_fields import SIDE, Field, Layer, Point, Rng, axes, blur, cover, noise, stain
from PIL import Image

WIDTH, HEIGHT = 360, 363
COMMENT = b"computer-drawn, not patient material"
COLUMNS = ("path", "slide_id", "label", "kind", "duplicate_of")
# Letters of five rows, one bit per pixel: needs no font file and never changes.
_MARK = ("110 110 010 10001 1001", "101 101 101 10001 1101", "101 110 111 10101 1011",
         "101 101 101 11011 1001", "110 101 101 10001 1001")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Slide:
    """What one slide shows and how it was stained and photographed.

    Attributes:
        name: Slide identifier, also its folder name.
        counts: Number of cells of each class.
        tint: Shift of red, green and blue of the whole slide.
        crowd: Number of red cells tried for a picture.
        focus: Blur of a picture in pixels.
    """

    name: str
    counts: dict[str, int]
    tint: tuple[float, float, float]
    crowd: int
    focus: float


SLIDES = (
    Slide(
        "drawn-normal",
        {"neutrophil": 27, "lymphocyte": 13, "monocyte": 5, "eosinophil": 2, "basophil": 1,
         "platelet": 4},
        (0.0, 0.0, 0.0), 19, 0.55,
    ),
    Slide(
        "drawn-eosinophilia",
        {"eosinophil": 22, "neutrophil": 12, "lymphocyte": 7, "monocyte": 3, "basophil": 5,
         "platelet": 3},
        (0.0, 0.0, -4.0), 15, 0.65,
    ),
    Slide(
        "drawn-left-shift",
        {"neutrophil": 15, "ig": 15, "erythroblast": 11, "lymphocyte": 4, "monocyte": 3,
         "eosinophil": 1, "basophil": 1, "platelet": 3},
        (-2.0, 0.0, 2.0), 22, 0.6,
    ),
)  # fmt: skip


def _places(rng: Rng, crowd: int, keep_out: float) -> list[tuple[Point, float]]:
    """Return centres and radii of red cells: some overlap, few reach the cell."""
    placed: list[tuple[Point, float]] = []
    for _ in range(crowd * 6):
        spot = (float(rng.uniform(-205, 205)), float(rng.uniform(-205, 205)))
        radius = float(rng.normal(37, 3.2))
        room = keep_out + radius - float(rng.uniform(-3, 5))
        if np.hypot(*spot) < room:
            continue
        # Most red cells keep apart, some lie half over their neighbour.
        apart = 0.62 if rng.random() < 0.12 else 1.0
        if all(np.hypot(spot[0] - p[0], spot[1] - p[1]) > apart * (radius + r) for p, r in placed):
            placed.append((spot, radius))
        if len(placed) >= crowd:
            break
    return placed


def _red_cell(rng: Rng, spot: Point, radius: float, pallor: float) -> Field:
    """Return the thickness of one red cell: a disc, thinner in its middle."""
    across, down = axes()
    across, down = across - spot[0], down - spot[1]
    angle = np.arctan2(down, across)
    turn = rng.uniform(0, 2 * np.pi, 4)
    swell = 1 + rng.normal(0, 0.06) * np.cos(2 * angle + turn[0])
    swell += rng.normal(0, 0.028) * np.cos(3 * angle + turn[1])
    swell += rng.normal(0, 0.014) * np.cos(4 * angle + turn[2])
    if rng.random() < 0.06:
        swell += 0.03 * np.cos(float(rng.integers(9, 14)) * angle + turn[3])
    ratio = np.hypot(across, down) / (radius * swell)
    hollow = float(rng.uniform(0.36, 0.6))
    dent = np.clip(pallor + float(rng.normal(0, 0.12)), 0, 0.9)
    profile = 1 - dent * np.exp(-((ratio / hollow) ** 4)) - 0.06 * np.exp(-(ratio**2))
    rim = 0.10 * np.exp(-(((ratio - 0.96) / 0.05) ** 2))
    disc = cover(((ratio - 1) * radius).astype(np.float32), 3.2)
    thickness: Field = ((profile + rim) * disc * rng.uniform(0.88, 1.12)).astype(np.float32)
    return thickness


def _red_layer(rng: Rng, slide: Slide, keep_out: float, pallor: float) -> Field:
    """Return the summed thickness of all red cells of a picture."""
    total = np.zeros((SIDE, SIDE), dtype=np.float32)
    thickest = np.zeros_like(total)
    for spot, radius in _places(rng, slide.crowd, keep_out):
        disc = _red_cell(rng, spot, radius, pallor)
        total += disc
        thickest = np.maximum(thickest, disc)
    # Overlaps are darker, though less than twice as dark.
    return thickest + 0.4 * (total - thickest)


def _over(rng: Rng, picture: Field, layers: list[Layer], shift: tuple[int, int] = (0, 0)) -> Field:
    """Return the picture with the layers of a cell laid over it."""
    # Stained parts mottle between blue and red, apart from how dense they are.
    mottle = 5 * noise(rng, 0.6, 2.2) + 4 * noise(rng, 1.6, 6) + 3 * noise(rng, 6, 25)
    for layer in layers:
        colour = stain(layer.level, layer.tint)
        colour[..., 0] += mottle
        colour = np.roll(colour, shift, axis=(0, 1))
        alpha = np.roll(layer.alpha, shift, axis=(0, 1))[..., None]
        picture = picture + alpha * (colour - picture)
    return picture


def _smear(rng: Rng, slide: Slide, keep_out: float) -> Field:
    """Return the empty field: cream background, red cells, a stray platelet at times."""
    # The red cells of one picture share their pallor and their focus.
    pallor = float(rng.choice([0.1, 0.35, 0.55, 0.7, 0.8]))
    thick = _red_layer(rng, slide, keep_out, pallor)
    if rng.random() < 0.4:
        thick = blur(thick, float(rng.uniform(1.0, 2.6)))
    thick = thick * float(rng.uniform(0.27, 0.35)) * (1 + 0.02 * noise(rng, 1.2, 5))
    veil = 0.004 * noise(rng, 30, 120) + 0.002 * noise(rng, 4, 12)
    level = 228 * np.exp(-thick - veil)
    drop = 228 - level
    smear = np.stack([254 - 0.82 * drop, level, 201 - 0.57 * drop], axis=-1).astype(np.float32)
    for _ in range(int(rng.choice([0, 0, 0, 1, 1, 2]))):
        _, layers = platelet(rng, float(rng.uniform(8, 13)))
        angle, reach = rng.uniform(0, 2 * np.pi), rng.uniform(max(keep_out + 22, 75), 165)
        smear = _over(rng, smear, layers, (int(reach * np.sin(angle)), int(reach * np.cos(angle))))
    return smear


def _camera(rng: Rng, slide: Slide, picture: Field) -> Image.Image:
    """Return the photographed picture: blur, light, sharpening, sensor noise, crop."""
    sigma = slide.focus * float(rng.uniform(0.85, 1.35))
    across, down = axes()
    angle = rng.uniform(0, 2 * np.pi)
    tilt = (across * np.cos(angle) + down * np.sin(angle)) / SIDE
    light = 1 + rng.normal(0, 0.006) + 0.012 * tilt
    shot = np.empty_like(picture)
    for channel in range(3):
        seen = blur(picture[..., channel], sigma)
        # Slide scanners sharpen; a faint bright seam around dark cells is typical.
        seen = seen + 0.6 * (seen - blur(seen, 1.6))
        grain = 1.5 * noise(rng, 0.5, 3)
        shot[..., channel] = seen * light + grain + slide.tint[channel]
    top, left = (SIDE - HEIGHT) // 2, (SIDE - WIDTH) // 2
    cut = shot[top : top + HEIGHT, left : left + WIDTH]
    pixels = np.clip(np.rint(_marked(cut)), 0, 255).astype(np.uint8)
    return Image.fromarray(pixels)


def _marked(picture: Field) -> Field:
    """Return the picture with a tiny DRAWN in its lower right corner."""
    rows = [[float(bit == "1") for bit in row.replace(" ", "0")] for row in _MARK]
    mark = np.array(rows, dtype=np.float32)[..., None]
    height, width = mark.shape[:2]
    spot = (slice(-height - 3, -3), slice(-width - 3, -3))
    marked = picture.copy()
    marked[spot] = marked[spot] * (1 - 0.4 * mark)
    return marked


def draw(label: str, slide: Slide, seed: tuple[int, ...]) -> Image.Image:
    """Draw one cell.

    Args:
        label: Class of the cell, a key of ``RECIPES``.
        slide: Stain and optics.
        seed: Numbers that fix every choice of this picture.
    """
    rng = np.random.default_rng(seed)
    radius, layers = RECIPES[label](rng)
    smear = _smear(rng, slide, radius)
    shift = (int(rng.integers(-5, 6)), int(rng.integers(-5, 6)))
    return _camera(rng, slide, _over(rng, smear, layers, shift))


def _jpeg(picture: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality, subsampling=0, optimize=True, comment=COMMENT)
    return buffer.getvalue()


def _draw_slide(folder: Path, slide: Slide, seed: tuple[int, int]) -> list[tuple[str, ...]]:
    """Write the cells of one slide and return their rows of the truth table."""
    labels = [label for label, count in slide.counts.items() for _ in range(count)]
    np.random.default_rng(seed).shuffle(labels)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rows: list[tuple[str, ...]] = []
    for number, label in enumerate(labels, start=1):
        name = f"drawn_{number:04d}.jpg"
        picture = draw(label, slide, (*seed, number))
        (folder / name).write_bytes(_jpeg(picture, 78))
        rows.append((f"{slide.name}/{name}", slide.name, label, "cell", ""))
    return rows


def _add_flaws(out: Path, rows: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Add what real folders contain too: copies, a broken file and a note."""
    first, second, third = (slide.name for slide in SLIDES)
    labels = {row[0]: row[2] for row in rows}
    source = out / first / "drawn_0003.jpg"
    shutil.copyfile(source, out / first / "zz_copy_of_0003.jpg")
    again = out / second / "drawn_0005.jpg"
    with Image.open(again) as picture:
        (out / second / "zz_resaved_0005.jpg").write_bytes(_jpeg(picture.convert("RGB"), 60))
    whole = (out / third / "drawn_0007.jpg").read_bytes()
    (out / third / "zz_truncated.jpg").write_bytes(whole[: len(whole) // 3])
    (out / first / "notes.txt").write_text(
        "This slide is computer-drawn. A file that is not an image is ignored.\n",
        encoding="utf-8",
        newline="\n",
    )
    exact, near = f"{first}/drawn_0003.jpg", f"{second}/drawn_0005.jpg"
    return [
        (f"{first}/zz_copy_of_0003.jpg", first, labels[exact], "exact_duplicate", exact),
        (f"{second}/zz_resaved_0005.jpg", second, labels[near], "near_duplicate", near),
        (f"{third}/zz_truncated.jpg", third, "", "unreadable", ""),
        (f"{first}/notes.txt", first, "", "ignored", ""),
    ]


def main(arguments: list[str] | None = None) -> int:
    """Draw all slides and write their truth table."""
    parser = argparse.ArgumentParser(description="Draw example slides.")
    here = Path(__file__).resolve().parent
    parser.add_argument("--out", type=Path, default=here, help="folder to write to")
    parser.add_argument("--seed", type=int, default=7, help="another seed draws other cells")
    chosen = parser.parse_args(arguments)
    slides = chosen.out / "slides"
    rows: list[tuple[str, ...]] = []
    for number, slide in enumerate(SLIDES):
        rows += _draw_slide(slides / slide.name, slide, (chosen.seed, number))
    rows += _add_flaws(slides, rows)
    with (chosen.out / "truth.csv").open("w", encoding="utf-8", newline="") as handle:
        table = csv.writer(handle, lineterminator="\n")
        table.writerow(COLUMNS)
        table.writerows(sorted(rows))
    sys.stdout.write(f"Drew {len(rows)} files into {slides}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
