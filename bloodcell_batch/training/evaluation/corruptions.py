"""Images as a worse microscope, another stain or another camera would have made them.

In the manner of MedMNIST-C (Di Salvo et al., 2024): every corruption has five severities, from barely visible to as bad
as a laboratory would still look at, and acts on the decoded image before it is resized for the network. To add one,
add a row to `CORRUPTIONS`.
"""

import io
import math
import zlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy.ndimage import convolve1d, rotate

Picture = NDArray[np.uint8]
Corruption = Callable[[Picture, int, np.random.Generator], Picture]

SEVERITIES = (1, 2, 3, 4, 5)
# Rows: densities of haematoxylin, eosin and the rest in red, green and blue (Ruifrok and Johnston, 2001).
_STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])


def corrupt(name: str, rgb: Picture, severity: int, digest: int) -> Picture:
    """One corruption of one image.

    Args:
        name: key of `CORRUPTIONS`.
        rgb: uint8 (height, width, 3).
        severity: 1 to 5.
        digest: identifies the image; chance (a direction, a pattern) depends on it alone, so that neither the order
            of the images nor the severity changes it.

    Returns:
        uint8 (height', width', 3); the size changes where the field of view does.
    """
    rng = np.random.default_rng([digest, zlib.crc32(name.encode())])
    return CORRUPTIONS[name](rgb, severity, rng)


def _pick(severity: int, values: tuple[float, float, float, float, float]) -> float:
    return values[severity - 1]


def _clip(values: NDArray[np.floating]) -> Picture:
    rounded: Picture = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return rounded


def _background(rgb: Picture) -> NDArray[np.float64]:
    border = np.concatenate([rgb[:4].reshape(-1, 3), rgb[-4:].reshape(-1, 3)])
    colour: NDArray[np.float64] = np.quantile(border, 0.9, axis=0)
    return colour


def _defocus(rgb: Picture, severity: int, _rng: np.random.Generator) -> Picture:
    radius = _pick(severity, (0.003, 0.006, 0.009, 0.012, 0.016)) * min(rgb.shape[:2])
    return np.asarray(Image.fromarray(rgb).filter(ImageFilter.GaussianBlur(radius)))


def _motion(rgb: Picture, severity: int, rng: np.random.Generator) -> Picture:
    length = max(2, round(_pick(severity, (0.01, 0.02, 0.03, 0.045, 0.06)) * min(rgb.shape[:2])))
    axis = int(rng.integers(2))
    return _clip(convolve1d(rgb.astype(np.float32), np.full(length, 1 / length), axis=axis, mode="nearest"))


def _noise(rgb: Picture, severity: int, rng: np.random.Generator) -> Picture:
    deviation = _pick(severity, (6, 12, 20, 30, 42))
    return _clip(rgb + rng.standard_normal(rgb.shape, dtype=np.float32) * deviation)


def _jpeg(rgb: Picture, severity: int, _rng: np.random.Generator) -> Picture:
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "JPEG", quality=int(_pick(severity, (50, 30, 18, 11, 7))))
    return np.asarray(Image.open(file))


def _brighter(rgb: Picture, severity: int, _rng: np.random.Generator) -> Picture:
    return _clip(rgb * np.float32(_pick(severity, (1.06, 1.12, 1.2, 1.3, 1.4))))


def _darker(rgb: Picture, severity: int, _rng: np.random.Generator) -> Picture:
    return _clip(rgb * np.float32(_pick(severity, (0.9, 0.8, 0.7, 0.58, 0.45))))


def _contrast(factors: tuple[float, float, float, float, float]) -> Corruption:
    def change(rgb: Picture, severity: int, _rng: np.random.Generator) -> Picture:
        middle = rgb.mean()
        return _clip(middle + (rgb.astype(np.float32) - middle) * np.float32(_pick(severity, factors)))

    return change


def _stain(rgb: Picture, severity: int, rng: np.random.Generator) -> Picture:
    """Thicker or thinner haematoxylin and eosin, at constant background."""
    deviation = _pick(severity, (0.1, 0.2, 0.3, 0.4, 0.5))
    factors = np.exp(rng.choice([-1, 1], 3) * deviation * rng.uniform(0.7, 1.3, 3))
    matrix = np.linalg.inv(_STAINS) @ np.diag(factors) @ _STAINS
    empty = _background(rgb)
    density = -np.log(np.clip(rgb / empty, 4 / 255, 1.25))
    return _clip(empty * np.exp(-density @ matrix))


def _white_balance(rgb: Picture, severity: int, rng: np.random.Generator) -> Picture:
    deviation = _pick(severity, (0.03, 0.06, 0.1, 0.15, 0.2))
    gains = np.exp(-deviation * rng.permutation([0.0, 1.0, 2.0]))
    return _clip(rgb.astype(np.float64) * gains)


def _magnified(rgb: Picture, severity: int, _rng: np.random.Generator) -> Picture:
    keep = _pick(severity, (0.9, 0.8, 0.7, 0.6, 0.5))
    height, width = (round(side * keep) for side in rgb.shape[:2])
    top, left = (rgb.shape[0] - height) // 2, (rgb.shape[1] - width) // 2
    return rgb[top : top + height, left : left + width]


def _reduced(rgb: Picture, severity: int, _rng: np.random.Generator) -> Picture:
    grow = _pick(severity, (1.12, 1.25, 1.45, 1.7, 2.0))
    margins = [round(side * (grow - 1) / 2) for side in rgb.shape[:2]]
    # Mirrored neighbours: empty space around the old frame would give the corruption away.
    return np.pad(rgb, ((margins[0],) * 2, (margins[1],) * 2, (0, 0)), mode="symmetric")


def _shifted(rgb: Picture, severity: int, rng: np.random.Generator) -> Picture:
    distance = _pick(severity, (0.03, 0.06, 0.09, 0.12, 0.16)) * min(rgb.shape[:2])
    angle = rng.uniform(-math.pi, math.pi)
    down, right = round(distance * math.sin(angle)), round(distance * math.cos(angle))
    margin = math.ceil(distance) + 1
    wide = np.pad(rgb, ((margin, margin), (margin, margin), (0, 0)), mode="symmetric")
    return wide[margin + down : margin + down + rgb.shape[0], margin + right : margin + right + rgb.shape[1]]


def _rotated(rgb: Picture, severity: int, rng: np.random.Generator) -> Picture:
    angle = _pick(severity, (15, 40, 90, 135, 170)) * rng.choice([-1, 1])
    turned: Picture = rotate(rgb, angle, reshape=False, order=1, mode="mirror")
    return turned


CORRUPTIONS: dict[str, Corruption] = {
    "defocus": _defocus,
    "motion": _motion,
    "noise": _noise,
    "jpeg": _jpeg,
    "brighter": _brighter,
    "darker": _darker,
    "less contrast": _contrast((0.85, 0.7, 0.57, 0.45, 0.35)),
    "more contrast": _contrast((1.15, 1.3, 1.5, 1.75, 2.0)),
    "stain": _stain,
    "white balance": _white_balance,
    "magnified": _magnified,
    "reduced": _reduced,
    "shifted": _shifted,
    "rotated": _rotated,
}
