import numpy as np
import pytest
from scipy.stats import false_discovery_control

from bloodcell_batch.statistics.mcnemar import mcnemar_exact, mcnemar_exact_each
from bloodcell_batch.statistics.multiplicity import holm


def test_many_at_once_are_each_alone() -> None:
    first, second = (grid.ravel() for grid in np.meshgrid(np.arange(12), np.arange(12)))
    each = mcnemar_exact_each(first, second)
    for one, other, p in zip(first.tolist(), second.tolist(), each.tolist(), strict=True):
        assert p == pytest.approx(mcnemar_exact(one, other))


def test_holm_by_hand() -> None:
    # Four tests: the smallest times 4, the next times 3, then 2 and 1; never below the one before, at most 1.
    # 0.01 x 4 = 0.04; 0.02 x 3 = 0.06; 0.03 x 2 = 0.06; 0.9 x 1 = 0.9
    assert holm(np.array([0.03, 0.01, 0.9, 0.02])).tolist() == pytest.approx([0.06, 0.04, 0.9, 0.06])
    assert holm(np.array([0.6, 0.7])).tolist() == [1.0, 1.0]
    assert holm(np.array([])).tolist() == []


def test_holm_is_no_laxer_than_the_false_discovery_rate() -> None:
    p = np.random.default_rng(0).random(50) ** 3
    assert np.all(holm(p) >= false_discovery_control(p) - 1e-12)
