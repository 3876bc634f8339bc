"""Fixtures: small synthetic images, a real-data folder where there is one, and a private cache."""

import io
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from bloodcell_batch.cell_classes import DEFAULT_CLASSES
from bloodcell_batch.model import file

if TYPE_CHECKING:
    from browser import Browser
    from finished_run import Run

PROJECT = Path(__file__).parent.parent
SHARED = PROJECT.parent / "shared"

Picture = NDArray[np.uint8]

# Hundreds of child processes import the program; from byte code each starts a third of a second sooner.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

if "PYTEST_XDIST_WORKER" in os.environ:
    # Tests run in several processes at once; each with all threads would only disturb the others.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


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


@pytest.fixture(scope="session", autouse=True)
def packaged_models_read_once() -> Iterator[None]:
    """The packaged models are hashed and their headers checked once a process, not in each of some thousand runs."""
    open_network, opened = file.open_network, dict[Path, file.ModelFile]()

    def once(path: Path, required_sha256: str | None = None) -> file.ModelFile:
        if path not in {file.DEFAULT_MODEL, file.DEFAULT_FINDER} or required_sha256 is not None:
            return open_network(path, required_sha256)
        if path not in opened:
            opened[path] = open_network(path)
        return opened[path]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(file, "open_network", once)
        yield


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


TOY_RECIPE = """
name = "toy"
architecture = "test_efficientnet"
input_size = 32
epochs = 8
batch_size = 16
learning_rate = 0.01
ema = 0.5
precision = "fp32"
attribution = "drawn by a test"

[augmentation]
zoom_in = 0.1
zoom_out = 0.1
density = 0.1
stain = 0.1
neutral = 0.0
glare = 0.0
blur = 0.0
colour_mixing = 0.0
grey = 0.0
"""


@pytest.fixture(scope="session")
def toy_cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty pictures per class; the classes differ in colour and are easy to learn."""
    folder = tmp_path_factory.mktemp("cells")
    rng = np.random.default_rng(0)
    palette = [(c & 1, c >> 1 & 1, c >> 2 & 1) for c in range(8)]
    for name, colour in zip(DEFAULT_CLASSES.names, palette, strict=True):
        (folder / name).mkdir()
        for i in range(20):
            noise = rng.integers(0, 60, (64, 64, 3))
            coarse = np.kron(rng.integers(0, 40, (8, 8, 3)), np.ones((8, 8, 1), dtype=np.int64))
            picture = (np.array(colour) * 150 + noise + coarse).clip(0, 255).astype(np.uint8)
            (folder / name / f"{i:02}.jpg").write_bytes(encode(picture))
    return folder


@pytest.fixture(scope="session")
def toy_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe that learns them in seconds."""
    path = tmp_path_factory.mktemp("recipe") / "toy.toml"
    path.write_text(TOY_RECIPE, encoding="utf-8")
    return path


def office() -> str:
    """LibreOffice; tests that need it skip where it is absent."""
    found = shutil.which("soffice") or shutil.which("libreoffice")
    if found is None:
        pytest.skip("LibreOffice is not installed (Debian: libreoffice-calc)")
    return found


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> "Run":
    """A finished run: see finished_run.py."""
    from finished_run import make_run  # noqa: PLC0415 - it imports this module

    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key for pseudonyms, in a folder of its own."""
    path = tmp_path_factory.mktemp("key") / "key"
    path.write_bytes(bytes(range(40, 72)))
    return path


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Browser]":
    """Headless Chromium; tests that need it skip where it is absent."""
    from browser import open_browser  # noqa: PLC0415 - selenium is a development tool

    with open_browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened
