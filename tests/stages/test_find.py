"""A finder's model file on the backends."""

from pathlib import Path

import numpy as np
import pytest
from drawn_fields import grid_of_red_cells, smear
from small_model import make_small_finder, make_small_model

from bloodcell_batch.backends.contract import BackendOptions
from bloodcell_batch.backends.selection import open_backend
from bloodcell_batch.errors import ModelFileError
from bloodcell_batch.fields.finder import find_cells
from bloodcell_batch.model.file import open_finder, open_model
from bloodcell_batch.stages.find import ready_finder


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_small_finder(tmp_path_factory.mktemp("finder")).path


def test_every_backend_gives_the_same_maps(model_path: Path) -> None:
    model = open_finder(model_path)
    tiles = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    tiles[0] = smear(64, 64, grid_of_red_cells(64, 64, 20))
    outputs = []
    for name in ("pytorch", "openvino"):
        backend = open_backend(model, name, BackendOptions(precision="fp32")).backend
        finder = ready_finder(model, backend)
        outputs.append(finder.infer(tiles))
        backend.close()
    (chances, sizes), (others, other_sizes) = outputs
    assert chances.shape == (3, 3 * 16 * 16)
    assert sizes.shape == (3, 2 * 16 * 16)
    np.testing.assert_allclose(chances, others, atol=1e-3)
    np.testing.assert_allclose(sizes, other_sizes, atol=1e-3)


def test_an_untrained_finder_finds_something_or_nothing_but_never_fails(model_path: Path) -> None:
    model = open_finder(model_path)
    finder = ready_finder(model, open_backend(model, "pytorch").backend)
    found = find_cells(smear(200, 150, grid_of_red_cells(200, 150, 30)), finder)
    assert all(0 <= cell.x <= 200 and 0 <= cell.y <= 150 for cell in found.leukocytes)


def test_finders_and_classifiers_are_not_mistaken_for_each_other(model_path: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="does not classify"):
        open_model(model_path)
    classifier = make_small_model(tmp_path)
    with pytest.raises(ModelFileError, match="does not find"):
        open_finder(classifier.path)
    with pytest.raises(ModelFileError, match="no finder"):
        ready_finder(classifier, open_backend(classifier, "pytorch").backend)
