import io
from typing import Any

import imagecodecs
import numpy as np
import pytest
from conftest import draw_picture, encode
from PIL import Image, ImageCms

from bloodcell_batch.images.damage import UndecodableImageError
from bloodcell_batch.images.decoding import decode_rgb
from bloodcell_batch.images.guards import DecodeLimits
from bloodcell_batch.images.rgb import eight_bits, over_white, profiled, scaled
from bloodcell_batch.records import Reason

LIMITS = DecodeLimits()
PICTURE = draw_picture(5, 48)
D65, SRGB_PRIMARIES = [0.3127, 0.3290, 1.0], [0.64, 0.33, 1, 0.30, 0.60, 1, 0.15, 0.06, 1]
SWAPPED_PRIMARIES = [0.30, 0.60, 1, 0.15, 0.06, 1, 0.64, 0.33, 1]


def profile(primaries: list[float], gamma: float) -> bytes:
    return bytes(imagecodecs.cms_profile("rgb", whitepoint=D65, primaries=primaries, gamma=gamma))


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SWAPPED, LINEAR = profile(SWAPPED_PRIMARIES, 2.2), profile(SRGB_PRIMARIES, 1.0)


class TestLevels:
    @pytest.mark.parametrize("top", [0, 1, 128, 255])
    def test_levels_that_fit_into_8_bits_are_those(self, top: int) -> None:
        levels = np.array([[0, top // 2, top]], np.uint16)
        assert np.array_equal(eight_bits(levels), levels)

    @pytest.mark.parametrize("top", [16384, 40000, 65535])
    def test_full_levels_lose_their_lower_half(self, top: int) -> None:
        assert eight_bits(np.array([[0, top]], np.uint16)).tolist() == [[0, top >> 8]]

    @pytest.mark.parametrize("top", [256, 1023, 4095, 16383])
    def test_what_lies_between_is_refused(self, top: int) -> None:
        with pytest.raises(UndecodableImageError, match=f"reach only {top:,} of 65,535") as caught:
            eight_bits(np.array([[0, top]], np.uint16))
        assert caught.value.reason is Reason.UNSUPPORTED_PIXELS

    @pytest.mark.parametrize("bits", range(1, 17))
    def test_known_bits_are_scaled_from_black_to_white(self, bits: int) -> None:
        levels = np.arange(1 << bits, dtype=np.uint32).astype(np.uint16)
        narrow = scaled(levels, bits)
        assert (narrow[0], narrow[-1]) == (0, 255)
        assert (np.diff(narrow.astype(int)) >= 0).all()
        assert np.abs(narrow - levels / ((1 << bits) - 1) * 255).max() <= 1


class TestAlpha:
    COLOURS = np.full((2, 2, 3), 100, np.uint8)

    def test_opaque_pictures_stay(self) -> None:
        assert np.array_equal(over_white(self.COLOURS, np.full((2, 2), 255, np.uint8)), self.COLOURS)

    def test_transparent_parts_are_white(self) -> None:
        alpha = np.array([[255, 0], [255, 0]], np.uint8)
        assert over_white(self.COLOURS, alpha)[:, 1].tolist() == [[255] * 3] * 2

    def test_premultiplied_colours_are_not_multiplied_again(self) -> None:
        alpha = np.full((2, 2), 200, np.uint8)
        assert (over_white(self.COLOURS, alpha, premultiplied=True) == 155).all()

    @pytest.mark.parametrize("premultiplied", [False, True])
    def test_alpha_of_0_everywhere_hides_a_picture(self, *, premultiplied: bool) -> None:
        with pytest.raises(UndecodableImageError, match="alpha is 0 everywhere") as caught:
            over_white(self.COLOURS, np.zeros((2, 2), np.uint8), premultiplied=premultiplied)
        assert caught.value.reason is Reason.UNSUPPORTED_PIXELS

    def test_colours_that_are_not_premultiplied_though_they_should_be(self) -> None:
        with pytest.raises(UndecodableImageError, match="brighter than their premultiplied alpha"):
            over_white(self.COLOURS, np.full((2, 2), 50, np.uint8), premultiplied=True)

    @pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
    def test_the_same_in_files(self, kind: str) -> None:
        hidden = Image.fromarray(np.dstack([PICTURE, np.zeros(PICTURE.shape[:2], np.uint8)]))
        data = encode(hidden, kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {}))
        with pytest.raises(UndecodableImageError, match="alpha is 0 everywhere"):
            decode_rgb(data, LIMITS)


class TestProfiles:
    @pytest.mark.parametrize("like_srgb", [SRGB, profile(SRGB_PRIMARIES, 2.2)])
    @pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG", "WEBP"])
    def test_srgb_and_its_like_change_nothing(self, like_srgb: bytes, kind: str) -> None:
        plain = decode_rgb(encode(PICTURE, kind), LIMITS)
        with_profile = decode_rgb(encode(PICTURE, kind, icc_profile=like_srgb), LIMITS)
        tolerance = 12 if like_srgb != SRGB else 0
        assert np.abs(with_profile.astype(int) - plain).max() <= tolerance

    @pytest.mark.parametrize("other", [SWAPPED, LINEAR])
    @pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG", "WEBP"])
    def test_other_colours_are_converted(self, other: bytes, kind: str) -> None:
        target = ImageCms.ImageCmsProfile(io.BytesIO(other))
        srgb = ImageCms.createProfile("sRGB")
        soft = np.asarray(Image.fromarray(PICTURE).resize((96, 96), Image.Resampling.BICUBIC))
        image = ImageCms.profileToProfile(
            Image.fromarray(soft), srgb, target, renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC, outputMode="RGB"
        )
        assert image is not None
        image.info.clear()  # or Pillow would save its profile unasked
        exact: dict[str, dict[str, Any]] = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}
        options = exact.get(kind, {})
        gap = np.abs(decode_rgb(encode(image, kind, icc_profile=other, **options), LIMITS).astype(int) - soft)
        unconverted = np.abs(decode_rgb(encode(image, kind, **options), LIMITS).astype(int) - soft)
        assert gap.mean() < unconverted.mean() / 4

    @pytest.mark.parametrize(
        "useless",
        [b"no profile", SWAPPED[:200], bytes(imagecodecs.cms_profile("gray", gamma=2.2)), None, 17],
        ids=["text", "cut", "grey", "none", "number"],
    )
    def test_profiles_that_say_nothing(self, useless: object) -> None:
        assert np.array_equal(profiled(PICTURE, useless), PICTURE)

    def test_a_picture_with_a_damaged_profile_is_read(self) -> None:
        data = encode(PICTURE, "PNG", icc_profile=b"no profile")
        assert np.array_equal(decode_rgb(data, LIMITS), PICTURE)
