import numpy as np
from numpy.typing import NDArray

from bloodcell_batch.backends.contract import BackendOptions, Outputs
from bloodcell_batch.backends.selection import open_backend
from bloodcell_batch.backends.views import VIEWS, SecondLookBackend, ViewsBackend, with_views
from bloodcell_batch.model.file import open_model
from bloodcell_batch.model.second_look import SURE, TURNS, looked_again


class CornerBackend:
    """Tells the value in the upper left corner."""

    description = "corner"

    def __init__(self) -> None:
        self.closed = False

    def infer(self, images: NDArray[np.uint8]) -> Outputs:
        assert images.flags.c_contiguous
        corner = images[:, 0, :2, 0].astype(np.float32)
        return corner, corner

    def close(self) -> None:
        self.closed = True


def test_the_views_are_the_eight_symmetries_of_a_square() -> None:
    image = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(1, 4, 4, 3)
    views = [view(image) for view in VIEWS]
    assert len({view.tobytes() for view in views}) == 8
    assert all(view.shape == image.shape for view in views)
    assert all(sorted(view[0, :, :, 0].ravel()) == sorted(image[0, :, :, 0].ravel()) for view in views)
    assert {view[0, 0, 0, 0] for view in views} == {image[0, y, x, 0] for y in (0, -1) for x in (0, -1)}


def test_outputs_are_the_mean_over_the_views() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 6, 6, 3), dtype=np.uint8)
    corner = CornerBackend()
    backend = ViewsBackend(corner)
    probabilities, features = backend.infer(images)
    expected = np.mean([view(images)[:, 0, :2, 0] for view in VIEWS], axis=0)
    assert np.allclose(probabilities, expected)
    assert probabilities.dtype == features.dtype == np.float32
    assert backend.description == "corner, mean of 8 views"
    backend.close()
    assert corner.closed


class HeightBackend(CornerBackend):
    """As sure of one of two classes as the upper left corner is bright, and counts the images that it is shown."""

    description = "height"
    shown = 0

    def infer(self, images: NDArray[np.uint8]) -> Outputs:
        assert images.flags.c_contiguous
        self.shown += len(images)
        corner = (images[:, 0, 0, 0] / 255).astype(np.float32)
        return np.stack([corner, 1 - corner], axis=1, dtype=np.float32), corner[:, None]


def squares(*corners: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """Images of 2 x 2 pixels, from the corners' brightness in reading order."""
    return np.repeat(np.array(corners, dtype=np.uint8).reshape(-1, 2, 2, 1), 3, axis=3)


def test_only_unsure_cells_are_looked_at_again() -> None:
    height = HeightBackend()
    backend = SecondLookBackend(height, 0.9)
    sure, unsure = (250, 0, 0, 0), (153, 255, 51, 0)
    probabilities, features = backend.infer(squares(sure, unsure, sure))
    assert height.shown == 3 + 3
    assert np.allclose(probabilities[:, 0], [250 / 255, 0.45, 250 / 255])
    assert np.allclose(features[:, 0], [250 / 255, 0.6, 250 / 255]), "features are those of the first look"
    assert probabilities.dtype == features.dtype == np.float32
    assert backend.description == "height, a second look below 0.9"
    backend.close()
    assert height.closed


def test_the_second_look_comes_in_without_a_jump() -> None:
    tops = [top / 255 for top in range(204, 256)]
    images = squares(*((top, 0, 0, 0) for top in range(204, 256)))
    found = SecondLookBackend(HeightBackend(), SURE).infer(images)[0][:, 0]
    first, mean = np.array(tops), np.array(tops) / 4
    assert np.allclose(found[first >= SURE], first[first >= SURE])
    assert np.allclose(found[first <= SURE - 0.05], mean[first <= SURE - 0.05])
    between = (first > SURE - 0.05) & (first < SURE)
    assert ((found > mean) & (found < first))[between].all()
    # A step of 1/255 moves the weight of the second look by 0.08; a jump would move it by 1.
    assert np.abs(np.diff(found)).max() < 0.1


def test_a_second_look_at_many_takes_some_at_a_time() -> None:
    images = np.random.default_rng(0).integers(0, 256, (500, 4, 4, 3), dtype=np.uint8)
    sizes: list[int] = []

    def look(turns: NDArray[np.uint8]) -> NDArray[np.float32]:
        sizes.append(len(turns))
        corner = (turns[:, 0, 0, 0] / 255).astype(np.float32)
        return np.stack([corner, 1 - corner], axis=1, dtype=np.float32)

    first = np.full((500, 2), 0.5, dtype=np.float32)
    first[::5, 0] = 0.99
    found = looked_again(first, images, SURE, look)
    assert sum(sizes) == 3 * 400
    assert max(sizes) <= 500
    for number in (0, 1, 166, 499):
        alone = looked_again(first[number : number + 1], images[number : number + 1], SURE, look)
        assert np.array_equal(found[number], alone[0])


def test_the_second_look_is_at_the_quarter_turns() -> None:
    image = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(1, 4, 4, 3)
    assert {turn(image).tobytes() for turn in TURNS} == {
        np.rot90(image, quarters, axes=(1, 2)).tobytes() for quarters in (1, 2, 3)
    }


def test_who_asks_for_a_number_of_views_gets_them() -> None:
    height = HeightBackend()
    images = squares((153, 255, 51, 0))
    for views, shown in ((1, 1), (8, 8), (None, 4)):
        height.shown = 0
        with_views(height, views, SURE).infer(images)
        assert height.shown == shown
    assert with_views(height, None, 0.0) is height, "a model without a second look"


def test_a_mirrored_cell_is_the_same_cell_to_all_eight_views() -> None:
    model = open_model()
    side = model.header.preprocessing.input_size
    images = np.random.default_rng(1).integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    backend = open_backend(model, "pytorch", BackendOptions(views=8)).backend
    there, back = backend.infer(images), backend.infer(np.ascontiguousarray(images[:, :, ::-1]))
    assert np.allclose(there[0], back[0], atol=1e-5)
    assert np.allclose(there[0].sum(axis=1), 1, atol=1e-5)
