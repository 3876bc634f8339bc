"""Small drawn slides with all that can be in a folder, for tests that compare two ways of running the same thing."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from conftest import draw_picture, encode
from drawn_fields import drawn_finder
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from bloodcell_batch.backends.contract import Backend, Outputs
from bloodcell_batch.backends.selection import Choice, open_backend
from bloodcell_batch.cell_classes import DEFAULT_CLASSES
from bloodcell_batch.config.classify import ClassifyConfig
from bloodcell_batch.model.file import ModelFile, open_model
from bloodcell_batch.model.outlier_score import load_outlier_score
from bloodcell_batch.runs import finder, local

QUICK = ClassifyConfig(batch_size=4, workers=0)
"""Few images make several batches, and the last one is not full."""

SLIDES = ("=A1", "Träger", "S-1", "S-2", "S-3/left", "S-3/right", os.fsdecode(b"slide-\xff"), "\ue000 private use")
"""The last two sort differently by their bytes than as they are shown."""


def draw_messy_slides(root: Path) -> Path:
    """Slides with cells, copies, blank pictures, failures and ignored files; some pictures are in several slides."""
    for number, slide in enumerate(SLIDES):
        folder = root / slide
        folder.mkdir(parents=True)
        for i in range(3):
            (folder / f"{i}.jpg").write_bytes(encode(draw_picture(10 * number + i)))
        (folder / "copy.png").write_bytes(encode(draw_picture(10 * number), "PNG"))
        (folder / "copy 2.png").write_bytes(encode(draw_picture(10 * number), "PNG"))
        if number % 2:
            (folder / "both.jpg").write_bytes(encode(draw_picture(99)))
            changed = ImageEnhance.Brightness(Image.fromarray(draw_picture(98))).enhance(1 + number / 20)
            (folder / "near.jpg").write_bytes(encode(changed, quality=40))
        else:
            (folder / "blank.png").write_bytes(encode(draw_picture(1) // 255, "PNG"))
            (folder / os.fsdecode(b"caf\xe9.jpg")).write_bytes(encode(draw_picture(10 * number + 5)))
        (folder / "empty.jpg").touch()
        (folder / "text.jpg").write_text("no image", encoding="utf-8")
        (folder / "notes.txt").touch()
        (folder / ".hidden").touch()
        _add_what_is_no_cell(folder)
    return root


def _add_what_is_no_cell(folder: Path) -> None:
    """What boxes, cameras and people leave beside cells: each kind has its reason, and none is anybody's copy."""
    (folder / "@eaDir").mkdir()
    (folder / "@eaDir" / "thumbnail.jpg").write_bytes(encode(draw_picture(1)))
    (folder / "._0.jpg").write_bytes(b"AppleDouble")
    (folder / "whole.svs").write_bytes(b"a slide")
    (folder / "link.jpg").symlink_to("nowhere")
    (folder / "fifth.gif").write_bytes(encode(draw_picture(1)[:, :, 0] // 2, "GIF"))
    (folder / "dark.tif").write_bytes(encode(Image.fromarray(draw_picture(2)[:, :, 0].astype(np.uint16) * 16), "TIFF"))
    for name in ("black.png", "black 2.png"):
        (folder / name).write_bytes(encode(draw_picture(1) // 100, "PNG"))


class StandIn:
    """A backend that is quick: what it says depends on the picture's mean colours only."""

    description = "a stand-in for tests"

    def __init__(self, model: ModelFile) -> None:
        score = load_outlier_score(model)
        self._typical = score.mean + (score.centers / score.scale) @ score.directions
        self._weights = np.random.default_rng(0).normal(0, 0.4, (3, len(DEFAULT_CLASSES.names)))

    def infer(self, images: NDArray[np.uint8]) -> Outputs:
        means = images.mean(axis=(1, 2))
        scores = np.exp((means - 128) @ self._weights)
        probabilities = (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)
        features = self._typical[probabilities.argmax(axis=1)] + means[:, :1] / 1e6
        return probabilities, features.astype(np.float32)

    def close(self) -> None:
        """Nothing to close."""


class _OpenedWhenAsked:
    """A real finder's backend, which most tests with small pictures never ask."""

    description = "a stand-in for tests"

    def __init__(self, model: ModelFile) -> None:
        self._model = model
        self._backend: Backend | None = None

    def infer(self, images: NDArray[np.uint8]) -> Outputs:
        self._backend = self._backend or open_backend(self._model).backend
        return self._backend.infer(images)

    def close(self) -> None:
        """It is kept for the next run."""


@contextmanager
def quick_backend() -> Iterator[None]:
    """All runs of the body use the stand-in."""
    choice = Choice(StandIn(open_model()), "pytorch", ())
    opened: dict[int, Choice] = {}

    def open_finder_backend(model: ModelFile, *_: object) -> Choice:
        side = model.header.preprocessing.input_size
        return opened.setdefault(side, Choice(_OpenedWhenAsked(model), "pytorch", ()))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "open_backend", lambda *_: choice)
        patch.setattr(finder, "open_backend", open_finder_backend)
        yield


@contextmanager
def quick_finder() -> Iterator[pytest.MonkeyPatch]:
    """As `quick_backend`, and fields are looked at by the finder of drawn smears; gives what patches more."""
    choice = Choice(StandIn(open_model()), "pytorch", ())
    with quick_backend(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(finder, "open_backend", lambda *_: choice)
        patch.setattr(finder, "ready_finder", lambda *_: drawn_finder())
        yield patch
