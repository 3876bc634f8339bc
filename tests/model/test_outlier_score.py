from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bloodcell_batch.cell_classes import DEFAULT_CLASSES
from bloodcell_batch.errors import ModelFileError
from bloodcell_batch.images.preprocessing import Preprocessing
from bloodcell_batch.model.file import (
    OUTLIER_PREFIX,
    ModelFile,
    ModelHeader,
    OutlierRule,
    class_entries,
    open_model,
    save_model,
)
from bloodcell_batch.model.outlier_score import OutlierScore, fit_outlier_score, load_outlier_score

CLASSES = len(DEFAULT_CLASSES.names)
WIDTH = 40

Features = NDArray[np.float32]


def _centers() -> NDArray[np.float64]:
    return np.random.default_rng(1).normal(0, 6, (CLASSES, WIDTH))


def _cluster(seed: int, count: int) -> tuple[Features, NDArray[np.int64]]:
    """Gaussian clusters, one a class, with another spread in every direction."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    spread = np.linspace(0.5, 2.0, WIDTH)
    features = _centers()[labels] + rng.normal(0, 1, (count, WIDTH)) * spread
    return features.astype(np.float32), labels.astype(np.int64)


@pytest.fixture(scope="module")
def score() -> OutlierScore:
    return fit_outlier_score(*_cluster(0, 4000), CLASSES)


def _save(folder: Path, tensors: dict[str, NDArray[Any]]) -> ModelFile:
    header = ModelHeader(
        name="test",
        architecture="mobilenetv2_100",
        classes=class_entries(),
        preprocessing=Preprocessing(),
        temperature=1,
        review_threshold=0.5,
        outlier=OutlierRule(threshold=2, description=""),
        training={},
        metrics={},
        licence="",
        attribution="",
    )
    return save_model(folder / "m.safetensors", header, {f"{OUTLIER_PREFIX}{name}": a for name, a in tensors.items()})


class TestFit:
    def test_cells_like_the_training_cells_score_about_one(self, score: OutlierScore) -> None:
        scores = score(_cluster(7, 1000)[0])
        assert scores.dtype == np.float32
        assert scores.shape == (1000,)
        assert float(scores.mean()) == pytest.approx(1, abs=0.15)
        assert float(np.quantile(scores, 0.99)) < 2.5

    def test_strangers_score_high(self, score: OutlierScore) -> None:
        familiar = score(_cluster(7, 1000)[0])
        far = score(_cluster(7, 50)[0] + 25)
        assert float(far.min()) > 2 * float(familiar.max())

    def test_the_space_between_two_classes_is_strange(self, score: OutlierScore) -> None:
        middle = ((_centers()[0] + _centers()[1]) / 2)[None].astype(np.float32)
        assert float(score(middle)[0]) > float(score(_cluster(7, 1000)[0]).max())

    def test_the_score_grows_on_the_way_to_a_stranger(self, score: OutlierScore) -> None:
        direction = np.random.default_rng(3).normal(0, 1, WIDTH)
        steps = _centers()[2] + np.outer(np.arange(0, 12, 2), direction)
        scores = score(steps.astype(np.float32))
        assert (np.diff(scores) > 0).all()

    def test_energy_outside_of_the_directions_counts(self, score: OutlierScore) -> None:
        inside = _centers()[:1].astype(np.float32)
        rng = np.random.default_rng(4)
        stranger = rng.normal(0, 6, WIDTH)
        stranger -= score.directions.T.astype(np.float64) @ (score.directions @ stranger)
        along = inside + stranger.astype(np.float32)
        # Nothing moved within the directions but by the change of length; the rest is energy outside of them.
        assert float(score(along)[0]) > 0.5 + float(score(inside)[0])

    def test_the_length_of_the_features_does_not_matter(self, score: OutlierScore) -> None:
        features = _cluster(7, 100)[0]
        assert np.allclose(score(3 * features), score(features), rtol=1e-3)

    def test_rows_are_scored_one_by_one(self, score: OutlierScore) -> None:
        features = _cluster(8, 20)[0]
        single = np.concatenate([score(features[i : i + 1]) for i in range(len(features))])
        assert np.allclose(score(features), single, rtol=1e-4)

    def test_shapes_and_orthonormal_directions(self, score: OutlierScore) -> None:
        keep = score.directions.shape[0]
        assert score.mean.shape == (WIDTH,)
        assert score.directions.shape == (keep, WIDTH)
        assert 0 < keep < WIDTH
        assert score.scale.shape == (keep,)
        assert score.centers.shape == (CLASSES, keep)
        assert score.residual.shape == (1,)
        assert np.allclose(score.directions @ score.directions.T, np.eye(keep), atol=1e-5)

    @pytest.mark.parametrize("case", ["constant", "one constant column", "few rows", "large"])
    def test_poor_features_give_no_nan(self, case: str) -> None:
        features, labels = _cluster(5, 24 if case == "few rows" else 200)
        if case == "constant":
            features[:] = 3
        elif case == "one constant column":
            features[:, 0] = 0
        elif case == "large":
            features *= 1e4
        score = fit_outlier_score(features, labels, CLASSES)
        assert all(np.isfinite(array).all() for array in score.tensors().values())
        scores = score(features)
        assert np.isfinite(scores).all()
        assert (scores >= 0).all()

    def test_a_nan_feature_gives_a_nan_score(self, score: OutlierScore) -> None:
        features = _cluster(5, 2)[0]
        features[0, 3] = np.nan
        assert np.isnan(score(features)).tolist() == [True, False]


class TestLoad:
    def test_round_trip(self, tmp_path: Path, score: OutlierScore) -> None:
        loaded = load_outlier_score(_save(tmp_path, score.tensors()))
        features = _cluster(9, 50)[0]
        assert np.array_equal(loaded(features), score(features))

    @pytest.mark.parametrize("name", ["mean", "directions", "scale", "centers", "residual"])
    def test_a_missing_tensor_is_named(self, tmp_path: Path, score: OutlierScore, name: str) -> None:
        tensors = score.tensors()
        del tensors[name]
        with pytest.raises(ModelFileError, match=name) as caught:
            load_outlier_score(_save(tmp_path, tensors))
        assert caught.value.hint

    @pytest.mark.parametrize(
        ("name", "shape"),
        [
            ("mean", (WIDTH - 1,)),
            ("mean", (WIDTH, 1)),
            ("scale", (3,)),
            ("centers", (CLASSES - 1, 20)),
            ("centers", (CLASSES,)),
            ("residual", ()),
            ("residual", (2,)),
            ("directions", (WIDTH,)),
            ("directions", (2, 20, WIDTH)),
            ("directions", (20, WIDTH + 1)),
        ],
    )
    def test_wrong_shapes_are_refused(
        self, tmp_path: Path, score: OutlierScore, name: str, shape: tuple[int, ...]
    ) -> None:
        tensors = score.tensors() | {name: np.zeros(shape, dtype=np.float32)}
        with pytest.raises(ModelFileError, match="wrong shapes") as caught:
            load_outlier_score(_save(tmp_path, tensors))
        assert caught.value.hint


def test_a_score_does_not_depend_on_the_other_rows_to_the_last_bit() -> None:
    score = load_outlier_score(open_model())
    rng = np.random.default_rng(0)
    features = rng.gamma(1.0, 1.0, (300, score.mean.size)).astype(np.float32)
    together = score(features)
    order = rng.permutation(300)
    for part in np.split(order, [1, 3, 40, 103, 167]):
        assert (score(features[part]) == together[part]).all()
