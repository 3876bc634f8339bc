import numpy as np
import pytest
from conftest import draw_picture
from numpy.typing import NDArray
from PIL import Image

from bloodcell_batch.images import preprocessing
from bloodcell_batch.images.preprocessing import Preprocessing, resize_to_input
from bloodcell_batch.images.resampling import BILINEAR, LANCZOS, Columns, Rows, weights_of
from bloodcell_batch.parallel.blocks import blocks_of

SIZES = [(360, 363, 128), (363, 360, 128), (96, 80, 128), (16, 16, 128), (1024, 17, 64), (128, 128, 128)] + [
    (20 + 37 * i % 500, 17 + 91 * i % 700, [16, 28, 80, 128, 224, 299, 300][i % 7]) for i in range(20)
]


def _picture(width: int, height: int) -> NDArray[np.uint8]:
    return np.random.default_rng(width * height).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _by_integers(rgb: NDArray[np.uint8], side: int, crop: float) -> NDArray[np.int64]:
    """The definition: rows, then columns, in whole numbers with 16 bits after the point, halves up."""

    def matrix(length: int) -> NDArray[np.int64]:
        margin = length * (1 - crop) / 2
        weights = np.round(weights_of(BILINEAR, length, side, (margin, length - margin)).matrix * 2**16).astype(int)
        weights[np.arange(side), weights.argmax(axis=1)] += 2**16 - weights.sum(axis=1)
        whole: NDArray[np.int64] = weights
        return whole

    low: NDArray[np.int64] = (np.einsum("ah,hwc->awc", matrix(rgb.shape[0]), rgb.astype(int)) + 2**15) >> 16
    small: NDArray[np.int64] = (np.einsum("bw,awc->abc", matrix(rgb.shape[1]), low) + 2**15) >> 16
    return small


@pytest.mark.parametrize(("width", "height", "side"), SIZES)
@pytest.mark.parametrize("crop", [1.0, 0.7])
def test_the_network_input_is_exact(width: int, height: int, side: int, crop: float) -> None:
    picture = _picture(width, height)
    resized = resize_to_input(picture, Preprocessing(input_size=side, crop=crop))
    assert resized.dtype == np.uint8
    assert resized.shape == (side, side, 3)
    assert np.array_equal(resized, _by_integers(picture, side, crop))


@pytest.mark.parametrize(("width", "height", "side"), SIZES)
@pytest.mark.parametrize("crop", [1.0, 0.7])
def test_it_is_that_of_pillow_but_for_one_level(width: int, height: int, side: int, crop: float) -> None:
    picture = _picture(width, height)
    box = (width * (1 - crop) / 2, height * (1 - crop) / 2, width * (1 + crop) / 2, height * (1 + crop) / 2)
    expected = np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BILINEAR, box=box))
    gaps = resize_to_input(picture, Preprocessing(input_size=side, crop=crop)).astype(int) - expected
    assert np.abs(gaps).max() <= 1
    assert abs(gaps.mean()) < 0.05  # as often up as down


@pytest.mark.parametrize("level", [0, 1, 127, 254, 255])
def test_one_level_stays_that_level(level: int) -> None:
    picture = np.full((241, 359, 3), level, dtype=np.uint8)
    assert (resize_to_input(picture, Preprocessing(input_size=128)) == level).all()


def test_channels_do_not_mix() -> None:
    picture = draw_picture(3, side=200)
    resized = resize_to_input(picture, Preprocessing(input_size=100))
    for channel in range(3):
        alone = np.repeat(picture[..., channel : channel + 1], 3, axis=2)
        assert np.array_equal(resize_to_input(alone, Preprocessing(input_size=100))[..., 0], resized[..., channel])


def test_large_images_go_through_pillow_and_look_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = draw_picture(5, side=360)
    exact = resize_to_input(picture, Preprocessing(input_size=128))
    monkeypatch.setattr(preprocessing, "_LONGEST_SIDE", 359)
    by_pillow = resize_to_input(picture, Preprocessing(input_size=128))
    assert np.abs(exact.astype(int) - by_pillow).max() <= 1
    wide = resize_to_input(np.zeros((20, 70_000, 3), dtype=np.uint8), Preprocessing(input_size=128))
    assert not wide.any()


def test_a_view_and_a_copy_give_the_same() -> None:
    """An image turned by its EXIF data, or cut out, need not lie in one piece."""
    picture = _picture(300, 300)
    for turned in (picture[::-1], picture[:, ::-1], picture.transpose(1, 0, 2), picture[10:200, 20:250]):
        there = resize_to_input(turned, Preprocessing(input_size=64))
        assert np.array_equal(there, resize_to_input(np.ascontiguousarray(turned), Preprocessing(input_size=64)))


@pytest.mark.parametrize(("length", "side"), [(360, 64), (64, 64), (30, 64), (1000, 50), (17, 3), (5, 9), (4096, 8)])
@pytest.mark.parametrize("kernel", [BILINEAR, LANCZOS])
def test_windows_hold_every_weight(length: int, side: int, kernel: object) -> None:
    """Resizing the unit matrix gives the weights back."""
    weights = weights_of(LANCZOS if kernel is LANCZOS else BILINEAR, length, side)
    rows = Rows(weights, np.float64)
    room, pixels = rows.room(length)
    pixels[:] = np.eye(length)
    out = np.empty((rows.size, length))
    rows.resize(room, out)
    assert np.array_equal(out[:side], weights.matrix)
    assert not out[side:].any()
    columns = Columns(weights, np.float64)
    room, pixels = columns.room(length)
    pixels[:] = np.eye(length)
    out = np.empty((length, columns.size))
    columns.resize(room, out)
    assert np.array_equal(out[:, :side], weights.matrix.T)


def test_blocks_keep_order_and_take_no_more_than_they_need() -> None:
    assert list(blocks_of(range(7), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(blocks_of([], 3)) == []
    assert list(blocks_of(range(3), 2, patience=-1.0)) == [[0], [1], [2]]
    stream = iter(range(10))
    assert next(blocks_of(stream, 4)) == [0, 1, 2, 3]
    assert next(stream) == 4
