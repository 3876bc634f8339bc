"""Smooth fields that drawn blood cells are made of: noise, outlines, stain colours.

Everything is a float32 picture of ``SIDE`` x ``SIDE`` pixels with the origin in its
middle. Outlines are signed distances (negative inside), so an edge is a soft ramp and
never a vector-flat step.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Field: TypeAlias = npt.NDArray[np.float32]
Point: TypeAlias = tuple[float, float]
Rng: TypeAlias = np.random.Generator

SIDE = 400
"""Canvas side; larger than the picture, so that blurring never meets a border."""

# May-Grünwald-Giemsa stains lie close to one curve from cream over lilac to violet.
# A cell is therefore drawn as one level (its green value); red and blue follow from it.
_LEVELS = (0.0, 10.0, 30.0, 50.0, 70.0, 90.0, 110.0, 130.0, 150.0, 170.0, 190.0, 210.0, 228.0)
_REDS = (60.0, 65.0, 75.0, 97.0, 117.0, 135.0, 150.0, 165.0, 180.0, 194.0, 206.0, 222.0, 254.0)
_BLUES = (134.0, 135.0, 135.0, 139.0, 145.0, 152.0, 161.0, 167.0, 172.0, 178.0, 184.0, 190.0, 201.0)


@dataclass(frozen=True, slots=True)
class Layer:
    """One stained part of a cell.

    Attributes:
        level: Green value of every pixel, 0 (densest stain) to 255.
        tint: What is added to red and blue: ``(12, -8)`` is warmer, ``(-8, 4)`` bluer.
        alpha: Cover of every pixel, 0 to 1.
    """

    level: Field
    tint: Point
    alpha: Field


@cache
def axes() -> tuple[Field, Field]:
    """Return the x and y coordinate of every pixel, zero in the middle."""
    line = np.arange(SIDE, dtype=np.float32) - SIDE / 2
    across, down = np.meshgrid(line, line)
    return across, down


@cache
def _squared_frequency() -> Field:
    down = np.fft.fftfreq(SIDE)[:, None]
    across = np.fft.rfftfreq(SIDE)[None, :]
    squared: Field = (2 * np.pi**2 * (down**2 + across**2)).astype(np.float32)
    return squared


def blur(field: Field, sigma: float) -> Field:
    """Return the field after a Gaussian blur."""
    spectrum = np.fft.rfft2(field) * np.exp(-_squared_frequency() * sigma**2)
    blurred: Field = np.fft.irfft2(spectrum, s=(SIDE, SIDE)).astype(np.float32)
    return blurred


def noise(rng: Rng, fine: float, coarse: float) -> Field:
    """Return noise of mean 0 and deviation 1 with structure between two scales.

    Args:
        rng: Source of chance.
        fine: Detail below this size in pixels is smoothed away.
        coarse: Structure above this size in pixels is removed.
    """
    squared = _squared_frequency()
    band = np.exp(-squared * fine**2) - np.exp(-squared * coarse**2)
    white = rng.standard_normal((SIDE, SIDE), dtype=np.float32)
    field = np.fft.irfft2(np.fft.rfft2(white) * band, s=(SIDE, SIDE))
    scaled: Field = (field / field.std()).astype(np.float32)
    return scaled


def bent_axes(rng: Rng, amount: float, scale: float) -> tuple[Field, Field]:
    """Return coordinates displaced by smooth noise, so that outlines become irregular."""
    across, down = axes()
    bent_across = across + amount * noise(rng, scale, 4 * scale)
    bent_down = down + amount * noise(rng, scale, 4 * scale)
    return bent_across, bent_down


def ellipse(at: tuple[Field, Field], centre: Point, radii: Point, angle: float) -> Field:
    """Return the signed distance to an ellipse (exact enough near its edge)."""
    across, down = at[0] - centre[0], at[1] - centre[1]
    along = across * np.cos(angle) + down * np.sin(angle)
    beside = down * np.cos(angle) - across * np.sin(angle)
    ratio = np.hypot(along / radii[0], beside / radii[1])
    slope = np.hypot(along / radii[0] ** 2, beside / radii[1] ** 2)
    distance: Field = (ratio * (ratio - 1) / np.maximum(slope, 1e-4)).astype(np.float32)
    return distance


def strand(at: tuple[Field, Field], start: Point, end: Point, radii: Point) -> Field:
    """Return the signed distance to a rod whose radius changes from start to end."""
    rod = (end[0] - start[0], end[1] - start[1])
    length = max(rod[0] ** 2 + rod[1] ** 2, 1e-6)
    across, down = at[0] - start[0], at[1] - start[1]
    part = np.clip((across * rod[0] + down * rod[1]) / length, 0, 1)
    reach = np.hypot(across - part * rod[0], down - part * rod[1])
    distance: Field = (reach - radii[0] - part * (radii[1] - radii[0])).astype(np.float32)
    return distance


def join(shapes: list[Field], melt: float) -> Field:
    """Return the union of outlines, their meeting corners rounded over ``melt`` pixels."""
    union = shapes[0]
    for shape in shapes[1:]:
        near = np.maximum(melt - np.abs(union - shape), 0) / melt
        union = np.minimum(union, shape) - near * near * melt / 4
    return union


def cover(distance: Field, soft: float) -> Field:
    """Return how much of each pixel lies inside an outline with an edge of given width."""
    ramp = np.clip(0.5 - distance / soft, 0, 1)
    smooth: Field = (ramp * ramp * (3 - 2 * ramp)).astype(np.float32)
    return smooth


def grains(rng: Rng, where: Field, count: int, radius: float) -> Field:
    """Return the cover of round granules strewn where a field is high.

    Args:
        rng: Source of chance.
        where: Relative density of granules; zero keeps a pixel free.
        count: Number of granules.
        radius: Radius of a granule in pixels.
    """
    density = np.cumsum(where, dtype=np.float64)
    if density[-1] <= 0:
        return np.zeros_like(where)
    spots = np.searchsorted(density, rng.uniform(0, density[-1], count))
    points = np.zeros(SIDE * SIDE, dtype=np.float32)
    # A granule's stain varies; its square root lifts pale ones above invisibility.
    points[np.minimum(spots, SIDE * SIDE - 1)] = np.sqrt(rng.uniform(0.25, 1, len(spots)))
    bumps = blur(points.reshape(SIDE, SIDE), radius * 0.65) * (2 * np.pi * (radius * 0.65) ** 2)
    ramp = np.clip((bumps - 0.2) / 0.6, 0, 1)
    smooth: Field = (ramp * ramp * (3 - 2 * ramp)).astype(np.float32)
    return smooth


def stain(level: Field, tint: Point) -> Field:
    """Return the colour (height x width x 3) of a stain level."""
    dense = np.clip(level, 0, 228)
    red = np.interp(dense, _LEVELS, _REDS) + tint[0]
    # Cameras resolve blue less finely than green, so blue follows the blurred level.
    blue = np.interp(blur(dense, 1.8), _LEVELS, _BLUES) + tint[1]
    colour: Field = np.stack([red, dense, blue], axis=-1).astype(np.float32)
    return colour
