import numpy as np
import pytest
from conftest import draw_picture

from bloodcell_batch.images.preprocessing import Preprocessing, resize_to_input


class TestResizeToInput:
    @pytest.mark.parametrize(("width", "height"), [(360, 363), (40, 200), (128, 128), (16, 16)])
    @pytest.mark.parametrize("size", [16, 128, 131])
    def test_shape_and_type(self, width: int, height: int, size: int) -> None:
        resized = resize_to_input(draw_picture(14, side=width, height=height), Preprocessing(input_size=size))
        assert resized.shape == (size, size, 3)
        assert resized.dtype == np.uint8

    def test_an_image_of_the_right_size_stays_as_it_is(self) -> None:
        picture = draw_picture(15, side=64)
        assert np.array_equal(resize_to_input(picture, Preprocessing(input_size=64)), picture)

    def test_all_corners_of_a_long_image_stay(self) -> None:
        picture = np.full((60, 300, 3), 128, dtype=np.uint8)
        colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)]
        rows, columns = (slice(0, 15), slice(-15, None)), (slice(0, 60), slice(-60, None))
        corners = [(row, column) for row in rows for column in columns]
        for (row, column), colour in zip(corners, colours, strict=True):
            picture[row, column] = colour
        resized = resize_to_input(picture, Preprocessing(input_size=64))
        assert [tuple(resized[y, x]) for y in (0, -1) for x in (0, -1)] == colours
        assert tuple(resized[32, 32]) == (128, 128, 128)

    def test_crop_keeps_the_centre(self) -> None:
        picture = np.zeros((100, 200, 3), dtype=np.uint8)
        picture[25:75, 50:150] = 200
        cropped = resize_to_input(picture, Preprocessing(input_size=32, crop=0.5))
        # The resampling filter reaches a pixel beyond the border of the crop.
        assert (cropped[1:-1, 1:-1] >= 170).all()
        assert (cropped[2:-2, 2:-2] == 200).all()
        assert not resize_to_input(picture, Preprocessing(input_size=32))[0].any()

    def test_shrinking_averages_instead_of_skipping(self) -> None:
        stripes = np.zeros((256, 256, 3), dtype=np.uint8)
        stripes[:, ::2] = 200
        resized = resize_to_input(stripes, Preprocessing(input_size=32))
        assert np.abs(resized.astype(int) - 100).max() <= 5
