"""Fixtures: small synthetic images, a real-data folder where there is one, and a private cache."""

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

PROJECT = Path(__file__).parent.parent
SHARED = PROJECT.parent / "shared"

Picture = NDArray[np.uint8]


@pytest.fixture(scope="session", autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Converted networks go to a folder of this test run, so that no earlier run can hide a failure."""
    cache = tmp_path_factory.mktemp("cache")
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(cache)
    yield cache
    if before is None:
        del os.environ["XDG_CACHE_HOME"]
    else:
        os.environ["XDG_CACHE_HOME"] = before


@pytest.fixture(scope="session")
def pbc() -> Path:
    """The real single-cell images, one folder per class; tests that need them skip where they are absent."""
    folder = SHARED / "data" / "pbc"
    if not folder.is_dir():
        pytest.skip("the real images are not on this machine")
    return folder


@pytest.fixture
def draw() -> Callable[..., Picture]:
    """`draw(seed, side=96)`: a random colour picture, uint8 (side, side, 3); other seeds, other pictures."""
    return draw_picture


def draw_picture(seed: int, side: int = 96, height: int | None = None) -> Picture:
    """A random colour picture of blobs: like cells, it fills all the frequencies of the perceptual hash."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (25, 25, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((side, height or side), Image.Resampling.BICUBIC))


def encode(picture: Picture | Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    """The bytes of an image file."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"quality": 95} | options if kind == "JPEG" else options))
    return buffer.getvalue()
