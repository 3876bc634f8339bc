"""Training crops: a part of a field, turned and scaled, with leukocytes of other fields pasted in."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bloodcell_batch.config.finder import TrainFinderConfig
from bloodcell_batch.fields.cells import FIELD_CLASSES
from bloodcell_batch.training.finder.appearance import varied
from bloodcell_batch.training.finder.data import STORED_RED_CELL, UNKNOWN, TrainingField, usual_sizes

_LEUKOCYTE = FIELD_CLASSES.index("leukocyte")
_PASTED_EDGE = 0.12  # soft edge of a pasted cell, as a share of its radius


@dataclass(frozen=True, slots=True)
class Drawn:
    """A training crop: uint8 RGB, its cells (class, x, y, width, height in pixels) and the trust in its classes.

    `outside` are the cells whose centre lies beyond the crop: what is seen of them is neither a cell nor background.
    """

    rgb: NDArray[np.uint8]
    cells: NDArray[np.float32]
    outside: NDArray[np.float32]
    trust: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Donor:
    """A leukocyte cut out: RGB at the scale of memory, its box's size there, and its field's background."""

    rgb: NDArray[np.uint8]
    width: float
    height: float
    background: NDArray[np.float32]


class Artist:
    """Draws crops from fields that lie in memory."""

    def __init__(self, config: TrainFinderConfig, fields: Sequence[TrainingField]) -> None:
        self._config = config
        self._fields = fields
        counts: dict[str, int] = {}
        for field in fields:
            counts[field.source] = counts.get(field.source, 0) + 1
        shares = np.array([config.sources[field.source].share / counts[field.source] for field in fields])
        self._chances = shares / shares.sum()
        self._donors = [donor for field in fields for donor in _donors(field)]

    def draw(self, random: np.random.Generator) -> Drawn:
        """One crop; the same for the same state of `random`."""
        config = self._config
        field = self._fields[random.choice(len(self._fields), p=self._chances)]
        rgb, cells, scale = self._part(field, random)
        if field.trust[_LEUKOCYTE] != UNKNOWN and self._donors and random.random() < config.composites:
            rgb, cells = self._paste(rgb, cells, field.background, scale, random)
        inside = ((cells[:, 1:3] >= 0) & (cells[:, 1:3] < config.canvas)).all(axis=1)
        changed = varied(rgb, field.background, config.stain, random)
        return Drawn(changed, cells[inside], cells[~inside], field.trust)

    def _part(
        self, field: TrainingField, random: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32], float]:
        """A part of the field, (side, side, 3), the cells with their boxes in it, and its scale against memory's."""
        config, side = self._config, self._config.canvas
        spread = config.scale
        logarithm = random.normal(0, 0.3 * spread) if random.random() < 0.6 else random.uniform(-spread, spread)
        scale = config.red_cell_side / STORED_RED_CELL * float(np.exp(logarithm))
        angle = random.uniform(0, 2 * np.pi) if random.random() < 0.5 else random.integers(4) * np.pi / 2
        mirrored = -1.0 if random.random() < 0.5 else 1.0
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ np.diag([mirrored, 1.0])
        middle = self._middle(field, side / scale, random)
        level = 0 if scale > 0.55 else 1
        share = (1.0, 0.5)[level]
        back = turn.T / scale  # from the crop to the field
        offset = middle - back @ np.array([side / 2, side / 2])
        coefficients = np.column_stack([back, offset]) * share
        image = Image.fromarray(field.levels[level]).transform(
            (side, side),
            Image.Transform.AFFINE,
            tuple(coefficients.ravel()),
            resample=Image.Resampling.BILINEAR,
            fillcolor=tuple(int(value) for value in field.background),
        )
        cells = usual_sizes(field.cells, STORED_RED_CELL)
        there = (cells[:, 1:3] - middle) @ turn.T * scale + side / 2
        cosine, sine = abs(np.cos(angle)), abs(np.sin(angle))
        width = np.hypot(cells[:, 3] * cosine, cells[:, 4] * sine) * scale
        height = np.hypot(cells[:, 3] * sine, cells[:, 4] * cosine) * scale
        sized = np.where(np.isnan(field.cells[:, 3]), -1.0, 1.0)  # negative: the size is a guess, not to be learned
        rows = np.column_stack([cells[:, 0], there, width * sized, height * sized])
        return np.asarray(image), rows.astype(np.float32), scale

    def _middle(self, field: TrainingField, seen: float, random: np.random.Generator) -> NDArray[np.float64]:
        """Where in the field the crop's centre lies: near a cell, or anywhere; mostly with little beyond the border."""
        size = np.array(field.levels[0].shape[1::-1], dtype=np.float64)
        cells = field.cells
        middle = random.uniform(0, 1, 2) * size
        if len(cells) and random.random() < 0.7:
            rare = cells[cells[:, 0] != FIELD_CLASSES.index("red_cell")]
            some = rare if len(rare) and random.random() < 0.7 else cells
            middle = some[random.integers(len(some)), 1:3] + random.uniform(-0.4, 0.4, 2) * seen
        margin = np.minimum(seen * random.uniform(0.3, 0.5), size / 2)
        return np.clip(middle, margin, size - margin)

    def _paste(
        self,
        rgb: NDArray[np.uint8],
        cells: NDArray[np.float32],
        background: NDArray[np.float32],
        scale: float,
        random: np.random.Generator,
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        canvas = rgb.astype(np.float32)
        side = self._config.canvas
        for _ in range(int(random.integers(1, 5))):
            donor = self._donors[random.integers(len(self._donors))]
            width, height = donor.width * scale, donor.height * scale
            others = cells[(cells[:, 0] == _LEUKOCYTE)]
            if len(others) and random.random() < 0.7:
                other = others[random.integers(len(others))]
                direction = random.uniform(0, 2 * np.pi)
                apart = (np.abs(other[3:5]).mean() + (width + height) / 2) / 2 * random.uniform(0.85, 1.15)
                x, y = other[1:3] + apart * np.array([np.cos(direction), np.sin(direction)])
            else:
                x, y = random.uniform(0, side, 2)
            apart = np.hypot(others[:, 1] - x, others[:, 2] - y)
            if len(others) and (apart < 0.8 * (np.abs(others[:, 3]) + width) / 2).any():
                continue
            if not (0 <= x < side and 0 <= y < side):
                continue
            covered = np.hypot((cells[:, 1] - x) / width, (cells[:, 2] - y) / height) < 0.5
            cells = cells[~covered]
            turns = int(random.integers(4))
            _lay(canvas, donor, (x, y), scale, turns, background)
            if turns % 2:
                width, height = height, width
            row = np.array([[_LEUKOCYTE, x, y, width, height]], dtype=np.float32)
            cells = np.concatenate([cells, row])
        return np.clip(canvas, 0, 255).astype(np.uint8), cells


def _lay(
    canvas: NDArray[np.float32],
    donor: _Donor,
    where: tuple[float, float],
    scale: float,
    turns: int,
    background: NDArray[np.float32],
) -> None:
    """Lay a donor on the canvas, in place, under a soft ellipse, in the light of the canvas's own background."""
    height, width = donor.rgb.shape[:2]
    size = (max(2, round(width * scale)), max(2, round(height * scale)))
    small = np.asarray(Image.fromarray(donor.rgb).resize(size, Image.Resampling.BILINEAR), dtype=np.float32)
    small = np.rot90(small * (background / np.maximum(donor.background, 1)), turns)
    rows, columns = small.shape[:2]
    box = (donor.height * scale / 2, donor.width * scale / 2)
    half = box if turns % 2 == 0 else box[::-1]
    y = (np.arange(rows)[:, None] - (rows - 1) / 2) / half[0]
    x = (np.arange(columns)[None, :] - (columns - 1) / 2) / half[1]
    mask = np.clip((1 + _PASTED_EDGE - np.hypot(x, y)) / _PASTED_EDGE, 0, 1)[:, :, None]
    top, left = round(where[1] - rows / 2), round(where[0] - columns / 2)
    into = (slice(max(0, top), max(0, top + rows)), slice(max(0, left), max(0, left + columns)))
    there = canvas[into]
    from_top, from_left = max(0, -top), max(0, -left)
    part = (slice(from_top, from_top + there.shape[0]), slice(from_left, from_left + there.shape[1]))
    there += mask[part] * (small[part] - there)


def _donors(field: TrainingField) -> list[_Donor]:
    """The leukocytes of a field that are whole and measured."""
    rgb = field.levels[0]
    found = []
    for x, y, width, height in field.cells[field.cells[:, 0] == _LEUKOCYTE, 1:]:
        if np.isnan(width):
            continue
        half_x, half_y = 0.58 * width, 0.58 * height
        left, top, right, bottom = (round(float(v)) for v in (x - half_x, y - half_y, x + half_x, y + half_y))
        if left >= 0 and top >= 0 and right <= rgb.shape[1] and bottom <= rgb.shape[0]:
            cut = np.ascontiguousarray(rgb[top:bottom, left:right])
            found.append(_Donor(cut, float(width), float(height), field.background))
    return found
