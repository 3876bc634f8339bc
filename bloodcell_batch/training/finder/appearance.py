"""Random changes of a field's stain, light, focus and camera."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Floats = NDArray[np.float32]


def varied(
    rgb: NDArray[np.uint8], background: Floats, strength: float, random: np.random.Generator
) -> NDArray[np.uint8]:
    """A field as another laboratory might have stained, lit and photographed it.

    Args:
        rgb: uint8 (height, width, 3).
        background: colour of the empty smear, 0-255.
        strength: 1 for the usual amount, 0 for none.
        random: source of chance.

    Returns:
        uint8 (height, width, 3).
    """
    if random.random() >= 0.9 * strength:
        return rgb
    ground = np.maximum(background / np.float32(255), np.float32(0.2))
    light = _stained(rgb.astype(np.float32) / np.float32(255), ground, strength, random)
    if random.random() < 0.5:
        light = _unevenly_lit(light, strength, random)
    if random.random() < 0.5:
        light = np.clip(light, 0, 1) ** np.float32(np.exp(random.normal(0, 0.2 * strength)))
    return _photographed((np.clip(light, 0, 1) * 255 + 0.5).astype(np.uint8), strength, random)


def _stained(rgb: Floats, background: Floats, strength: float, random: np.random.Generator) -> Floats:
    density = -np.log(np.clip(rgb / background, 0.02, 1.2))
    mixing = np.eye(3) + random.normal(0, 0.12 * strength, (3, 3))
    density = density @ mixing.astype(np.float32)
    density *= np.float32(np.exp(random.uniform(-0.7, 0.5) * strength))
    if random.random() < 0.1:
        density = density + (density.mean(axis=2, keepdims=True) - density) * np.float32(random.uniform(0.3, 1))
    ground = background * np.exp(random.normal(0, 0.06 * strength, 3)).astype(np.float32)
    if random.random() < 0.35:
        # Another ground altogether: yellow, pink, bluish, dark; never so coloured that no smear looks like it.
        light = random.uniform(0.45, 1.0)
        ground = (light * (1 - random.uniform(0, 0.35, 3) * random.uniform(0, 1))).astype(np.float32)
    glare = np.float32(random.uniform(0, 0.45) * strength if random.random() < 0.5 else 0.0)
    stained: Floats = ground * ((1 - glare) * np.exp(-density) + glare)
    return stained.astype(np.float32)


def _unevenly_lit(rgb: Floats, strength: float, random: np.random.Generator) -> Floats:
    height, width = rgb.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    angle = random.uniform(0, 2 * np.pi)
    slope = x * np.cos(angle) + y * np.sin(angle)
    loss = 0.5 * (1 + slope) * random.uniform(0, 0.35) * strength
    tint = random.uniform(0.3, 1.0, 3) if random.random() < 0.5 else np.ones(3)
    lit: Floats = (rgb * (1 - loss[:, :, None] * tint)).astype(np.float32)
    return lit


def _photographed(rgb: NDArray[np.uint8], strength: float, random: np.random.Generator) -> NDArray[np.uint8]:
    image = Image.fromarray(rgb)
    if random.random() < 0.4:
        image = image.filter(ImageFilter.GaussianBlur(random.uniform(0.3, 1.6) * strength))
    elif random.random() < 0.3:
        percent = int(random.uniform(50, 250) * strength)
        image = image.filter(ImageFilter.UnsharpMask(random.uniform(0.7, 2), percent, 0))
    if random.random() < 0.3:
        noisy = np.asarray(image, dtype=np.float32)
        grain = random.normal(0, 255 * random.uniform(0, 0.05) * strength, noisy.shape)
        image = Image.fromarray(np.clip(noisy + grain, 0, 255).astype(np.uint8))
    if random.random() < 0.3:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=int(random.uniform(25, 90)))
        image = Image.open(file)
    return np.asarray(image.convert("RGB"))
