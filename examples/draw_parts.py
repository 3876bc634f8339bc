"""Parts that drawn blood cells share: outline, cytoplasm, nucleus, granules.

Outlines are signed distances, stained parts are layers; see ``draw_fields``.
"""

from __future__ import annotations

import numpy as np
from draw_fields import (
    Field,
    Layer,
    Point,
    Rng,
    bent_axes,
    blur,
    cover,
    ellipse,
    grains,
    join,
    noise,
    strand,
)


def polar(radius: float, angle: float, centre: Point = (0.0, 0.0)) -> Point:
    """Return the point at a distance and angle from a centre."""
    return (
        centre[0] + radius * float(np.cos(angle)),
        centre[1] + radius * float(np.sin(angle)),
    )


def cell_outline(rng: Rng, radius: float, wobble: float, ragged: float) -> Field:
    """Return the outline of a cell: nearly round, uneven, with a more or less ragged edge."""
    at = bent_axes(rng, wobble, 20)
    stretch = float(rng.uniform(0.93, 1.0))
    angle = float(rng.uniform(0, np.pi))
    outline = ellipse(at, (0, 0), (radius / stretch, radius * stretch), angle)
    # Blurring rounds the corners that bent axes leave behind.
    torn: Field = blur(outline, 4) + ragged * noise(rng, 1.4, 6)
    return torn


def cytoplasm(rng: Rng, body: Field, level: float, tint: Point, rough: float, rim: float = 18) -> Layer:
    """Return cytoplasm: cloudy, finely grained, a little denser at the membrane."""
    cloud = 0.6 * noise(rng, 5, 18) + 0.6 * noise(rng, 1.6, 5) + 0.5 * noise(rng, 0.9, 2.4)
    membrane = np.exp(-(((body + 1.5) / 2.0) ** 2))
    return Layer(level + rough * cloud - rim * membrane, tint, cover(body, 2.6))


def colour_patches(rng: Rng, plasm: Layer, tint: Point, most: float) -> Layer:
    """Return patches of cytoplasm in another colour, as blue and pink mingle in a cell."""
    patchy = np.clip(0.5 + 0.7 * noise(rng, 9, 30), 0, 1) * most
    return Layer(plasm.level, tint, plasm.alpha * patchy)


def chromatin(rng: Rng, outline: Field, mean: float, spread: float, tint: Point, net: float = 0.5) -> Layer:
    """Return a nucleus: clumped chromatin, pale strands between, a dense envelope.

    Args:
        rng: Source of chance.
        outline: Signed distance to the nuclear edge.
        mean: Mean stain level of the chromatin.
        spread: Deviation of that level.
        tint: Shift of red and blue.
        net: Weight of the pale strands: 0 gives smooth smudges, 1 a lacy net.
    """
    smooth = blur(outline, 1.5)
    mosaic = noise(rng, 2.2, 7)
    streaks = np.clip(noise(rng, 1.9, 5) - 0.5, 0, 2)
    lace = np.exp(-((noise(rng, 1.9, 5.5) / 0.55) ** 2)) * np.clip(0.6 + 0.6 * mosaic, 0, 1.5)
    pattern = 0.2 * mosaic + 2 * (1 - 0.6 * net) * streaks + 2 * net * lace + 0.2 * noise(rng, 1, 2.4)
    inner = cover(smooth + 1, 3) > 0.5
    pattern = (pattern - pattern[inner].mean()) / pattern[inner].std()
    pattern = np.where(pattern > 1, 1 + 2.5 * np.tanh((pattern - 1) / 2.5), pattern)
    envelope = np.exp(-(((smooth + 1.8) / 1.8) ** 2))
    level = (mean + 6 + spread * pattern) * (1 - 0.5 * envelope)
    return Layer(np.clip(level, 15, 140).astype(np.float32), tint, cover(smooth, 2.2))


def granules(rng: Rng, where: Field, count: int, radius: float, level: float, tint: Point) -> Layer:
    """Return round granules of one size, strewn where ``where`` is high."""
    shade = level + 9 * noise(rng, 2, 6)
    return Layer(shade, tint, grains(rng, where, count, radius))


def sausage(rng: Rng, at: tuple[Field, Field], bend: float, span: float, thick: float, steps: int) -> Field:
    """Return a sausage along an arc: bands, kidneys and horseshoes.

    Args:
        rng: Source of chance.
        at: Coordinates, bent for an uneven contour.
        bend: Radius of the arc.
        span: Angle of the arc.
        thick: Half the width of the sausage.
        steps: Number of rods it is made of.
    """
    start = float(rng.uniform(0, 2 * np.pi))
    # A long arc is nearly a ring around the middle, a short one lies on it.
    middle = polar(-bend * float(np.sinc(span / 2 / np.pi)), start + span / 2)
    points = [polar(bend, start + span * k / steps, middle) for k in range(steps + 1)]
    girth = thick * rng.uniform(0.86, 1.14, steps + 1)
    girth[steps // 2] *= 0.86
    rods = [strand(at, points[k], points[k + 1], (float(girth[k]), float(girth[k + 1]))) for k in range(steps)]
    return join(rods, 6)


def lobes(rng: Rng, count: int, bend: float, size: Point) -> Field:
    """Return the lobes of a segmented nucleus, strung on thin bridges along an arc."""
    at = bent_axes(rng, 2.0, 11)
    start = float(rng.uniform(0, 2 * np.pi))
    gap = float(2 * size[0] * rng.uniform(1.0, 1.12) / bend)
    gap = min(gap, 1.8 * np.pi / count)
    middle = polar(-0.35 * bend, start + gap * (count - 1) / 2)
    shapes: list[Field] = []
    last: Point | None = None
    for k in range(count):
        angle = start + gap * k
        here = polar(bend * float(rng.uniform(0.85, 1.12)), angle, middle)
        radii = (size[0] * float(rng.uniform(0.88, 1.12)), size[1] * float(rng.uniform(0.88, 1.12)))
        shapes.append(ellipse(at, here, radii, angle + np.pi / 2 + float(rng.normal(0, 0.35))))
        if last is not None:
            thin = float(rng.uniform(2.4, 8.5))
            shapes.append(strand(at, last, here, (thin, thin)))
        last = here
    return join(shapes, 4)
