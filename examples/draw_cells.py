"""One drawing recipe for each of the eight blood cell classes.

A recipe returns the radius of the cell and its layers from back to front. Sizes are
pixels of a 360 x 363 picture in which a red cell is about 75 pixels wide.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from draw_fields import Layer, Rng, axes, bent_axes, blur, cover, ellipse, join, noise, strand
from draw_parts import (
    cell_outline,
    chromatin,
    colour_patches,
    cytoplasm,
    granules,
    lobes,
    polar,
    sausage,
)

Cell: TypeAlias = tuple[float, list[Layer]]


def neutrophil(rng: Rng) -> Cell:
    """Draw a band or segmented neutrophil: pink-lilac, dusted with fine granules."""
    radius = float(rng.uniform(58, 70))
    body = cell_outline(rng, radius, 2.6, 0.2)
    if rng.random() < 0.45:
        at = bent_axes(rng, 2.2, 10)
        outline = sausage(rng, at, 33, float(rng.uniform(3.0, 4.1)), float(rng.uniform(15, 17.5)), 6)
    else:
        count = int(rng.choice([3, 3, 4, 4, 5]))
        size = {3: (28.5, 21.0), 4: (24.5, 19.0), 5: (20.5, 17.0)}[count]
        outline = lobes(rng, count, 33, size)
    outline = np.maximum(outline, body + 4)
    pink = (float(rng.uniform(11, 18)), float(rng.uniform(-6, 0)))
    plasm = cytoplasm(rng, body, float(rng.uniform(160, 177)), pink, 9, 9)
    free = cover(body + 4, 4)
    return radius, [
        plasm,
        colour_patches(rng, plasm, (0, 4), 0.5),
        granules(rng, free, int(rng.uniform(250, 520)), 1.9, 132, (10, 0)),
        granules(rng, free, int(rng.uniform(40, 200)), 1.7, 104, (14, 1)),
        chromatin(rng, outline, 36, 22, (0, 1), 0.3),
    ]


def eosinophil(rng: Rng) -> Cell:
    """Draw an eosinophil: a bilobed nucleus amid dense, coarse orange-red granules."""
    radius = float(rng.uniform(57, 67))
    body = cell_outline(rng, radius, 1.6, 0.3)
    count = 2 if rng.random() < 0.75 else 3
    bend, size = (29, (31.0, 28.0)) if count == 2 else (33, (27.0, 23.5))
    outline = np.maximum(lobes(rng, count, bend, size), body + 3)
    plasm = cytoplasm(rng, body, 150, (2, 0), 9)
    dense = cover(body + 1.5, 3) * np.clip(1.0 + 0.7 * noise(rng, 14, 40), 0.03, 1.5)
    warm = (float(rng.uniform(22, 33)), float(rng.uniform(-28, -19)))
    return radius, [
        plasm,
        granules(rng, dense, 1300, 2.3, 110, warm),
        granules(rng, dense, 420, 1.9, 84, (18, -14)),
        granules(rng, dense, 40, 1.8, 160, (8, -8)),
        chromatin(rng, outline, 42, 25, (2, 3), 0.85),
    ]


def basophil(rng: Rng) -> Cell:
    """Draw a basophil: purple-black granules over a nucleus that is hard to make out."""
    radius = float(rng.uniform(56, 67))
    body = cell_outline(rng, radius, 2.0, 0.5)
    at = bent_axes(rng, 3, 8)
    outline = sausage(rng, at, 20, 2.6, float(rng.uniform(27, 33)), 4)
    outline = np.maximum(outline, body + 3)
    plasm = cytoplasm(rng, body + 2, float(rng.uniform(140, 162)), (10, -2), 10)
    red = float(rng.uniform(-2, 8))
    where = cover(body + 2.5, 4)
    amount = float(rng.uniform(0.8, 1.4))
    return radius, [
        plasm,
        chromatin(rng, outline, 46, 24, (4, 2), 0.7),
        granules(rng, where, int(420 * amount), 2.0, 62, (red + 8, 0)),
        granules(rng, where, int(480 * amount), 2.5, 27, (red, -2)),
        granules(rng, where, int(120 * amount), 3.0, 19, (red - 3, -2)),
    ]


def lymphocyte(rng: Rng) -> Cell:
    """Draw a lymphocyte: a dense round nucleus within a thin pale-blue rim."""
    large = rng.random() < 0.2
    radius = float(rng.uniform(51, 58) if large else rng.uniform(41, 50))
    body = cell_outline(rng, radius, float(rng.uniform(1.5, 3.5)), 0.6)
    share = float(rng.uniform(0.82, 0.88) if large else rng.uniform(0.91, 0.97))
    at = bent_axes(rng, 2.4, 16)
    # The rim is a crescent rather than a ring.
    shift = polar(radius * (1 - share) * float(rng.uniform(0.4, 1.1)), float(rng.uniform(0, 2 * np.pi)))
    oval = float(rng.uniform(0.9, 1))
    outline = ellipse(at, shift, (radius * share, radius * share * oval), float(rng.uniform(0, 3)))
    blue = (float(rng.uniform(-22, -12)), float(rng.uniform(0, 7)))
    plasm = cytoplasm(rng, body, float(rng.uniform(104, 136)), blue, 15, 62)
    nucleus = chromatin(rng, outline, float(rng.uniform(30, 38)), 15, (3, 0), 0.3)
    # Its chromatin is a smudge that is densest along the envelope.
    dense = 1 - 0.42 * np.exp(-((np.minimum(outline, 0) / 8) ** 2))
    smudged = (blur(nucleus.level, 0.6) + 4 * noise(rng, 5, 14)) * dense
    return radius, [
        Layer(plasm.level, plasm.tint, blur(plasm.alpha, 0.8)),
        granules(rng, cover(body + 5, 4), 12 if large else 0, 1.7, 66, (18, 2)),
        Layer(smudged.astype(np.float32), nucleus.tint, nucleus.alpha),
    ]


def monocyte(rng: Rng) -> Cell:
    """Draw a monocyte: a large folded nucleus, lacy chromatin, grey-blue cytoplasm."""
    radius = float(rng.uniform(70, 82))
    body = cell_outline(rng, radius, 4.5, 0.4)
    at = bent_axes(rng, 3.4, 11)
    kind = int(rng.integers(3))
    turn = float(rng.uniform(0, 2 * np.pi))
    if kind == 0:
        # A horseshoe.
        outline = sausage(rng, at, 33, float(rng.uniform(3.2, 4.0)), float(rng.uniform(27, 32)), 6)
    elif kind == 1:
        # A bean with a deep, narrow notch.
        bean = ellipse(at, polar(4, turn), (49, 57), turn)
        notch = strand(at, polar(-70, turn), polar(-2, turn), (11, 6))
        outline = -join([-bean, notch], 8)
    else:
        # Four lobes folded over each other.
        spread = rng.uniform(1.4, 2.0, 4)
        parts = [ellipse(at, polar(27, turn + k * float(spread[k])), (37, 30), turn + k * 1.1) for k in range(4)]
        outline = join(parts, 4)
    outline = np.maximum(outline, body + 4)
    grey = (float(rng.uniform(-10, -3)), float(rng.uniform(3, 8)))
    plasm = cytoplasm(rng, body, float(rng.uniform(130, 150)), grey, 19)
    free = cover(body + 6, 5) * cover(-outline - 2, 4)
    nucleus = chromatin(rng, outline, float(rng.uniform(47, 57)), 27, (5, 3), 0.7)
    fold = np.exp(-((noise(rng, 9, 30) / 0.09) ** 2)) * cover(outline + 6, 6)
    level = nucleus.level * (1 - 0.45 * fold)
    return radius, [
        plasm,
        granules(rng, free, 150, 1.2, 112, (4, 4)),
        granules(rng, free, int(rng.uniform(4, 30)), 4.2, 205, (0, 0)),
        Layer(level.astype(np.float32), nucleus.tint, nucleus.alpha),
    ]


def erythroblast(rng: Rng) -> Cell:
    """Draw a nucleated red cell: a small, very dense nucleus in grey-pink or blue."""
    ripe = float(rng.uniform(0, 1))
    radius = 54 - 10 * ripe + float(rng.uniform(-2, 3))
    body = cell_outline(rng, radius, 2.6, 0.3)
    core = radius * (0.68 - 0.1 * ripe) * float(rng.uniform(0.95, 1.05))
    at = bent_axes(rng, 0.9, 16)
    shift = polar(float(rng.uniform(0.05, 0.22)) * radius, float(rng.uniform(0, 2 * np.pi)))
    outline = ellipse(at, shift, (core, core * float(rng.uniform(0.92, 1))), 1.0)
    # Unripe cells are blue, ripe ones take on the grey-pink of the red cells around.
    tint = (-14 + 22 * ripe, 5 - 7 * ripe)
    plasm = cytoplasm(rng, body, 112 + 38 * ripe, tint, 15 - 8 * ripe)
    nucleus = chromatin(rng, outline, 31 - 6 * ripe, 14 - 4 * ripe, (-9, -9), 0.1)
    halo = np.exp(-(((outline - 4) / 3) ** 2)) * 12
    pale = Layer((plasm.level + halo).astype(np.float32), plasm.tint, plasm.alpha)
    return radius, [pale, nucleus]


def immature(rng: Rng) -> Cell:
    """Draw a pro-, myelo- or metamyelocyte: one large fine nucleus, red-purple granules."""
    stage = int(rng.choice([0, 1, 1, 2, 2]))
    radius = float(rng.uniform(0.93, 1.07)) * (70, 64, 60)[stage]
    body = cell_outline(rng, radius, 2.2, 0.3)
    at = bent_axes(rng, 3.0, 15)
    turn = float(rng.uniform(0, 2 * np.pi))
    # The nucleus leans on one side of the cell and is flat or dented on the other.
    length, width, dent = ((0.86, 0.77, -0.1), (0.82, 0.70, 0.06), (0.86, 0.66, 0.34))[stage]
    lean = radius * (0.94 - width)
    outline = ellipse(at, polar(lean, turn), (radius * width, radius * length), turn)
    deep = radius * (dent + float(rng.uniform(-0.06, 0.1)))
    bay_centre = polar(lean - radius * (width + 0.36) + deep, turn)
    bay = ellipse(at, bay_centre, (0.36 * radius, 0.27 * radius), turn)
    outline = -join([-outline, bay], 12)
    outline = np.maximum(outline, body + 3)
    # Promyelocytes are crowded with granules; of the later stages only some are.
    crowded = stage == 0 or rng.random() < 0.65
    count = int(rng.uniform(550, 850) if crowded else rng.uniform(180, 320))
    level = float(rng.uniform(134, 148) if crowded else rng.uniform(136, 150))
    tint = ((-4, 6), (1, 4), (8, 1))[stage]
    plasm = cytoplasm(rng, body, level, tint, 17)
    free = cover(body + 3, 4) * np.clip(1 + 0.3 * noise(rng, 10, 30), 0.05, 2)
    above = granules(rng, free, count // 3, 1.8, 36, (10, 2))
    return radius, [
        plasm,
        colour_patches(rng, plasm, (-12, 6), 0.6),
        granules(rng, free, 420, 1.8, 108, (9, 2)),
        granules(rng, free, count, 1.7, 52, (14, 2)),
        chromatin(rng, outline, (50, 42, 40)[stage], 29, (4, 2), 0.5),
        Layer(above.level, above.tint, above.alpha * (0.6 if stage == 0 else 0.2)),
    ]


def platelet(rng: Rng, radius: float | None = None) -> Cell:
    """Draw a platelet: a small granular lilac body, without nucleus."""
    reach = float(rng.uniform(23, 33)) if radius is None else radius
    body = cell_outline(rng, reach, 2.2, 1.5)
    plasm = cytoplasm(rng, body, float(rng.uniform(136, 156)), (-2, 5), 13)
    across, down = axes()
    heart = np.exp(-((np.hypot(across, down) / (0.75 * reach)) ** 4)).astype(np.float32)
    heart = heart * cover(body + 3, 3)
    soft = Layer(plasm.level, plasm.tint, blur(plasm.alpha, 0.6))
    amount = int(0.2 * reach**2)
    return reach, [
        soft,
        granules(rng, heart, 2 * amount, 2.0, 96, (6, 4)),
        granules(rng, heart, amount, 1.7, 52, (10, 4)),
    ]


RECIPES: dict[str, Callable[[Rng], Cell]] = {
    "basophil": basophil,
    "eosinophil": eosinophil,
    "erythroblast": erythroblast,
    "ig": immature,
    "lymphocyte": lymphocyte,
    "monocyte": monocyte,
    "neutrophil": neutrophil,
    "platelet": platelet,
}
"""Class name to drawing recipe."""
