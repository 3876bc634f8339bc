import numpy as np
import pytest
from numpy.typing import NDArray

from bloodcell_batch.backends.contract import BackendOptions, Outputs
from bloodcell_batch.backends.selection import open_backend
from bloodcell_batch.backends.views import VIEWS, ViewsBackend
from bloodcell_batch.model.file import open_model


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


@pytest.mark.parametrize("count", [2, 4, 8])
def test_outputs_are_the_mean_over_the_views(count: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 6, 6, 3), dtype=np.uint8)
    corner = CornerBackend()
    backend = ViewsBackend(corner, count)
    probabilities, features = backend.infer(images)
    expected = np.mean([view(images)[:, 0, :2, 0] for view in VIEWS[:count]], axis=0)
    assert np.allclose(probabilities, expected)
    assert probabilities.dtype == features.dtype == np.float32
    assert backend.description == f"corner, mean of {count} views"
    backend.close()
    assert corner.closed


def test_a_mirrored_cell_is_the_same_cell_to_all_eight_views() -> None:
    model = open_model()
    side = model.header.preprocessing.input_size
    images = np.random.default_rng(1).integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    backend = open_backend(model, "pytorch", BackendOptions(views=8)).backend
    there, back = backend.infer(images), backend.infer(np.ascontiguousarray(images[:, :, ::-1]))
    assert np.allclose(there[0], back[0], atol=1e-5)
    assert np.allclose(there[0].sum(axis=1), 1, atol=1e-5)
