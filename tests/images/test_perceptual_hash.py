import tracemalloc
from pathlib import Path

import imagehash
import numpy as np
import pytest
from conftest import Picture, draw_picture
from PIL import Image

from bloodcell_batch.images.perceptual_hash import HASH_BITS, HASH_BYTES, grey_thumbnail, perceptual_hashes


def _hash(image: Image.Image) -> bytes:
    return perceptual_hashes(grey_thumbnail(image)[None])[0]


def _gap(one: bytes, other: bytes) -> int:
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_count()


def _differing_bits(image: Image.Image) -> int:
    return _gap(_hash(image), bytes.fromhex(str(imagehash.phash(image, hash_size=16))))


def test_equals_imagehash_on_drawn_pictures() -> None:
    images = [Image.fromarray(draw_picture(seed, side=40 + seed, height=240 - seed)) for seed in range(200)]
    gaps = [_differing_bits(image) for image in images]
    assert max(gaps) <= 2
    assert gaps.count(0) >= 195


def test_equals_imagehash_on_real_pictures(pbc: Path) -> None:
    files = sorted(pbc.glob("*/[!.]*.jpg"))
    gaps = []
    for file in files[:: max(1, len(files) // 2000)]:
        with Image.open(file) as image:
            gaps.append(_differing_bits(image.convert("RGB")))
    assert len(gaps) >= 2000
    assert max(gaps) <= 2
    assert gaps.count(0) >= 0.99 * len(gaps)


def test_is_written_like_imagehash_writes_it() -> None:
    image = Image.fromarray(draw_picture(0))
    assert _hash(image).hex() == str(imagehash.phash(image, hash_size=16))


def test_has_256_bits_and_repeats() -> None:
    picture = draw_picture(1)
    assert len(_hash(Image.fromarray(picture))) == HASH_BYTES == HASH_BITS // 8 == 32
    assert _hash(Image.fromarray(picture)) == _hash(Image.fromarray(picture.copy()))


def test_half_of_the_bits_are_set() -> None:
    for seed in range(20):
        assert int.from_bytes(_hash(Image.fromarray(draw_picture(seed))), "big").bit_count() == HASH_BITS // 2


@pytest.mark.parametrize("seed", range(10))
def test_survives_small_changes(seed: int) -> None:
    picture = draw_picture(seed, side=200)
    original = _hash(Image.fromarray(picture))
    smaller = Image.fromarray(picture).resize((150, 150), Image.Resampling.LANCZOS)
    brighter: Picture = np.clip(picture.astype(int) + 8, 0, 255).astype(np.uint8)
    assert _gap(original, _hash(smaller)) <= 16
    assert _gap(original, _hash(Image.fromarray(brighter))) <= 16


def test_tells_pictures_apart() -> None:
    hashes = [_hash(Image.fromarray(draw_picture(seed))) for seed in range(40)]
    assert min(_gap(one, other) for i, one in enumerate(hashes) for other in hashes[:i]) > 32


def test_thumbnail_is_64_pixels_of_grey() -> None:
    thumbnail = grey_thumbnail(Image.fromarray(draw_picture(2, side=300, height=100)))
    assert thumbnail.shape == (64, 64)
    assert thumbnail.dtype == np.uint8


def _pillow_thumbnail(image: Image.Image) -> Picture:
    return np.asarray(image.convert("L").resize((64, 64), Image.Resampling.LANCZOS))


@pytest.mark.parametrize(
    ("width", "height"),
    [(360, 363), (363, 360), (16, 16), (63, 63), (64, 64), (64, 65), (65, 64), (65, 66), (65, 67), (16, 300), (300, 16)]
    + [(97 + 13 * i, 30 + 29 * i % 701) for i in range(40)]
    + [(3000, 70), (70, 3000), (1201, 1999), (1999, 1201)],
)
def test_thumbnail_equals_that_of_pillow(width: int, height: int) -> None:
    picture = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = Image.fromarray(picture)
    assert np.array_equal(grey_thumbnail(image), _pillow_thumbnail(image))


@pytest.mark.parametrize("level", [0, 1, 127, 254, 255])
def test_thumbnail_of_one_level_keeps_it(level: int) -> None:
    image = Image.new("RGB", (360, 363), (level, level, level))
    assert (grey_thumbnail(image) == level).all()


def test_thumbnail_clips_like_pillow() -> None:
    """Stripes of black and white: Lanczos shoots over on both sides."""
    picture = np.zeros((363, 360, 3), dtype=np.uint8)
    picture[:, 100:260] = 255
    picture[150:200] = 255 - picture[150:200]
    image = Image.fromarray(picture)
    assert np.array_equal(grey_thumbnail(image), _pillow_thumbnail(image))


def test_thumbnail_of_a_large_picture_needs_little_memory() -> None:
    image = Image.new("RGB", (4000, 4000), (10, 200, 30))
    tracemalloc.start()
    try:
        grey_thumbnail(image)
        assert tracemalloc.get_traced_memory()[1] < 60_000_000  # 16 MB of grey levels; in float64 they would take 128
    finally:
        tracemalloc.stop()
