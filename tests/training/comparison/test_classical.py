from pathlib import Path

import numpy as np
import pytest
from conftest import draw_picture

from bloodcell_batch.cell_classes import DEFAULT_CLASSES
from bloodcell_batch.config.comparison import ClassicalConfig
from bloodcell_batch.images.preprocessing import Preprocessing
from bloodcell_batch.progress import NullObserver
from bloodcell_batch.training.comparison.classical import CLASSIFIERS, fit_classical
from bloodcell_batch.training.comparison.classical_features import features_of, glcm, intensity
from bloodcell_batch.training.data.labelled import LabelledImages, load_labelled
from bloodcell_batch.training.data.split import stratified_split

pytest.importorskip("sklearn", reason="needs the extra [compare]")
pytest.importorskip("skimage", reason="needs the extra [compare]")
pytest.importorskip("imblearn", reason="needs the extra [compare]")


@pytest.fixture(scope="module")
def cells(toy_cells: Path) -> LabelledImages:
    return load_labelled(toy_cells, Preprocessing(input_size=32), 1, NullObserver())[0]


def test_texture_does_not_depend_on_a_quarter_turn() -> None:
    picture = draw_picture(3, 64)
    np.testing.assert_allclose(glcm(picture), glcm(np.rot90(picture)), rtol=1e-4)


def test_texture_tells_smooth_from_rough() -> None:
    flat = np.full((32, 32, 3), 90, dtype=np.uint8)
    rough = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    contrast, energy = slice(6, 9), slice(9, 12)
    assert (glcm(flat)[contrast] == 0).all()
    assert (glcm(rough)[contrast] > 10).all()
    np.testing.assert_allclose(glcm(flat)[energy], 1)
    assert (glcm(rough)[energy] < 0.2).all()


def test_intensity_counts_pixels() -> None:
    half = np.zeros((8, 8, 3), dtype=np.uint8)
    half[:4, :, 0] = 255
    found = intensity(half).reshape(3, 18)
    assert found[0, :2].tolist() == [0.5, 0.5]
    assert found[0, 2] == found[0, -1] == 0.5
    assert found[1].tolist() == [0, 0, 1, *[0] * 15]


def test_kinds_of_features_stand_side_by_side() -> None:
    pictures = np.stack([draw_picture(seed, 32) for seed in range(3)])
    assert features_of(pictures, ("glcm", "intensity", "pixels")).shape == (3, 15 + 54 + 28 * 28 * 3)


@pytest.mark.parametrize("name", sorted(CLASSIFIERS))
def test_every_classifier_learns_the_toy_cells(name: str, cells: LabelledImages) -> None:
    split = stratified_split(cells.labels, DEFAULT_CLASSES, cells.groups, 0.14, 0.3, 0)
    config = ClassicalConfig(classifier=name, input_size=32, trees=30, rounds=10, smote="features")
    model = fit_classical(config, cells.take(split.train), cells.take(split.validation))
    test = cells.take(split.test)
    probabilities = model.predict(test.pixels)
    assert (probabilities.argmax(axis=1) == test.labels).mean() > 0.8
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert 0.4 <= model.rules.review_threshold <= 0.999
    assert model.size_bytes > 1000
