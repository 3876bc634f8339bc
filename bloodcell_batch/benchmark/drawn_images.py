"""The files of a benchmark: drawn pictures, or links to some of the user's own."""

import functools
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from bloodcell_batch.errors import OutputError
from bloodcell_batch.parallel.cpus import available_cpus
from bloodcell_batch.records import ImageFile

PER_SLIDE = 400
_NO_GROWTH = "Leave --growth out, or set TMPDIR to another place."
_TEMPLATES = 4
_QUALITY = 85  # with the grain, 360x363 pixels take about 18 kB, like the images of the PBC data set do
_GRAIN = 1.2  # standard deviation, in grey levels
_BACKGROUND, _RED_CELL, _RIM = (238, 226, 214), (222, 182, 176), (206, 158, 156)
_NUCLEI = ((98, 52, 130), (84, 44, 118), (120, 70, 148))
_CYTOPLASM = ((206, 186, 214), (222, 190, 196), (178, 186, 220))


def draw_slides(folder: Path, count: int, size: tuple[int, int]) -> None:
    """Draw `count` JPEG files of `size` (width, height) into slide folders of `PER_SLIDE`; no two are alike.

    Raises:
        OutputError: the folder can't be written.
    """
    templates = _templates(size)
    try:
        for start in range(0, count, PER_SLIDE):
            (folder / f"slide-{start // PER_SLIDE:04}").mkdir()
        with ThreadPoolExecutor(available_cpus()) as pool:
            for _ in pool.map(functools.partial(_save, folder, size, templates), range(count)):
                pass
    except OSError as error:
        hint = "Free some space in the temporary folder, draw fewer images, or set TMPDIR to another place."
        raise OutputError(f"Can't draw images in {folder}: {error.strerror or error}.", hint=hint) from error


def link_some(root: str, files: Sequence[ImageFile], folder: Path) -> None:
    """Links in `folder` to `files` under `root`, with the same relative paths.

    Raises:
        OutputError: the system allows no links there.
    """
    try:
        for file in files:
            link = folder / file.path
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(Path(root, file.path).resolve())
    except OSError as error:
        hint = "Leave --images out to use all images of the folder."
        raise OutputError(f"Can't make links in {folder}: {error.strerror or error}.", hint=hint) from error


def link_as_slides(root: str, files: Iterable[ImageFile], folder: Path) -> None:
    """Links in slide folders of `PER_SLIDE` under `folder` to `files` under `root`; the same file may come again.

    Raises:
        OutputError: the system allows no links there.
    """
    try:
        for number, file in enumerate(files):
            slide = folder / f"slide-{number // PER_SLIDE:06}"
            if number % PER_SLIDE == 0:
                slide.mkdir(parents=True)
            (slide / f"{number:08}{Path(file.path).suffix}").symlink_to(Path(root, file.path).resolve())
    except OSError as error:
        raise OutputError(f"Can't make links in {folder}: {error.strerror or error}.", hint=_NO_GROWTH) from error


def draw_cell(number: int, size: tuple[int, int], grain: NDArray[np.int16]) -> Image.Image:
    """A nucleated cell among red cells; other numbers, other pictures.

    Args:
        number: seed of everything random.
        size: width and height, in pixels.
        grain: noise (height, width, 3), added after a random shift.
    """
    rng = np.random.default_rng(number)
    unit = min(size) / 360
    image = Image.new("RGB", size, _BACKGROUND)
    pen = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(9, 16))):
        radius = unit * rng.uniform(34, 50)
        x, y = rng.uniform(0, size[0]), rng.uniform(0, size[1])
        _disc(pen, x, y, radius, _RIM)
        _disc(pen, x, y, 0.86 * radius, _RED_CELL)
        _disc(pen, x, y, 0.4 * radius, _BACKGROUND)
    x, y = (side / 2 + unit * rng.uniform(-30, 30) for side in size)
    kind = int(rng.integers(3))
    body = unit * rng.uniform(70, 120)
    _disc(pen, x, y, body, _CYTOPLASM[kind])
    for _ in range(int(rng.integers(1, 5))):
        angle, away = rng.uniform(0, 2 * np.pi), body * rng.uniform(0.1, 0.5)
        _disc(pen, x + away * np.cos(angle), y + away * np.sin(angle), body * rng.uniform(0.3, 0.5), _NUCLEI[kind])
    shift = (int(rng.integers(size[1])), int(rng.integers(size[0])))
    soft = np.asarray(image).astype(np.int16) + np.roll(grain, shift, axis=(0, 1)) + rng.integers(-12, 13, 3)
    return Image.fromarray(soft.clip(0, 255).astype(np.uint8))


def _templates(size: tuple[int, int]) -> list[NDArray[np.int16]]:
    """Grains: drawing noise again for each picture would take longer than all the rest."""
    rng = np.random.default_rng(0)
    grains = []
    for _ in range(_TEMPLATES):
        coarse = rng.normal(0, 3 * _GRAIN, (max(1, size[1] // 4), max(1, size[0] // 4), 1)) + 128
        smooth = Image.fromarray(coarse[:, :, 0].clip(0, 255).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
        fine = rng.normal(0, _GRAIN, (size[1], size[0], 3))
        grains.append((fine + np.asarray(smooth)[:, :, None] - 128).astype(np.int16))
    return grains


def _save(folder: Path, size: tuple[int, int], templates: Sequence[NDArray[np.int16]], number: int) -> None:
    picture = draw_cell(number, size, templates[number % len(templates)])
    picture.save(folder / f"slide-{number // PER_SLIDE:04}" / f"{number:07}.jpg", quality=_QUALITY)


def _disc(pen: ImageDraw.ImageDraw, x: float, y: float, radius: float, colour: tuple[int, int, int]) -> None:
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
