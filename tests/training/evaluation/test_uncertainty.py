import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu

from bloodcell_batch.cell_classes import DEFAULT_CLASSES
from bloodcell_batch.training.evaluation.metrics import Rules, auroc, measure
from bloodcell_batch.training.evaluation.uncertainty import bootstrap_intervals, reliability, risk_coverage

RULES = Rules(0.0, 1e9)


def guesses(count: int, seed: int = 0, classes: int = 8) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    logits = rng.normal(size=(count, 8)) + 2.0 * np.eye(8)[labels]
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return shares.astype(np.float32), labels


def test_auroc_is_the_rank_statistic_with_ties() -> None:
    rng = np.random.default_rng(0)
    scores, positive = rng.integers(0, 20, 300).astype(np.float32), rng.random(300) < 0.2
    expected = mannwhitneyu(scores[positive], scores[~positive]).statistic / (positive.sum() * (~positive).sum())
    assert auroc(scores, positive) == pytest.approx(expected)
    assert np.isnan(auroc(scores, np.zeros(300, dtype=bool)))


def test_scores_against_their_definitions() -> None:
    shares, labels = guesses(500)
    found = measure(shares, np.zeros(500, np.float32), labels, DEFAULT_CLASSES, RULES)
    picked = shares[np.arange(500), labels]
    assert found.negative_log_likelihood == pytest.approx(-np.log(picked).mean(), rel=1e-5)
    brier = np.mean([sum((p - (i == label)) ** 2 for i, p in enumerate(row)) for row, label in zip(shares, labels)])  # noqa: B905 - equal by construction
    assert found.brier == pytest.approx(brier, rel=1e-5)
    mean = np.mean([auroc(shares[:, i], labels == i) for i in range(8)])
    assert found.auroc == pytest.approx(mean)
    for row in found.per_class.values():
        assert row.recall_low < row.recall < row.recall_high


def test_reliability_bins_add_up_to_the_calibration_error() -> None:
    shares, labels = guesses(2000)
    bins = reliability(shares, labels)
    assert sum(row.images for row in bins) == 2000
    ece = sum(row.images * abs(row.confidence - row.accuracy) for row in bins) / 2000
    assert ece == pytest.approx(
        measure(shares, np.zeros(2000, np.float32), labels, DEFAULT_CLASSES, RULES).ece, abs=1e-6
    )
    assert all(row.low < row.confidence <= row.high + 1e-6 for row in bins)


def test_risk_coverage_by_hand() -> None:
    shares = np.full((4, 8), 0.01, dtype=np.float32)
    shares[range(4), [0, 1, 2, 3]] = [0.9, 0.5, 0.8, 0.6]
    curve = risk_coverage(shares, np.array([0, 7, 7, 3]))  # by confidence: right, wrong, right, wrong
    np.testing.assert_allclose(curve.risk, [0, 0.5, 1 / 3, 0.5])
    np.testing.assert_allclose(curve.coverage, [0.25, 0.5, 0.75, 1])
    assert curve.area == pytest.approx((0 + 0.5 + 1 / 3 + 0.5) / 4)
    assert curve.accuracy_at(0.75) == pytest.approx(2 / 3)
    assert curve.accuracy_at(0.01) == 1


def slow_bootstrap(
    shares: NDArray[np.float32], labels: NDArray[np.int64], groups: NDArray[np.int64], replicates: int
) -> NDArray[np.float64]:
    rng = np.random.default_rng(7)
    names = np.unique(groups)
    rows = []
    for _ in range(replicates):
        drawn = np.concatenate([np.flatnonzero(groups == name) for name in rng.choice(names, len(names))])
        found = measure(shares[drawn], np.zeros(len(drawn), np.float32), labels[drawn], DEFAULT_CLASSES, RULES)
        rows.append([found.accuracy, found.balanced_accuracy, found.macro_f1, found.ece])
    limits: NDArray[np.float64] = np.percentile(np.array(rows), (2.5, 97.5), axis=0)
    return limits


def test_bootstrap_agrees_with_a_loop_over_whole_groups() -> None:
    shares, labels = guesses(240, classes=5)
    groups = np.arange(240) // 3
    fast = bootstrap_intervals(shares, labels, groups, 4000)
    slow = slow_bootstrap(shares, labels, groups, 300)
    for i, key in enumerate(("accuracy", "balanced_accuracy", "macro_f1", "ece")):
        assert fast[key] == pytest.approx(slow[:, i], abs=0.015), key
    assert fast == bootstrap_intervals(shares, labels, groups, 4000)


def test_copies_make_the_interval_no_narrower() -> None:
    shares, labels = guesses(100)
    alone = bootstrap_intervals(shares, labels, np.arange(100), 2000)["accuracy"]
    copied = np.repeat(np.arange(100), 10)
    often = bootstrap_intervals(shares[copied], labels[copied], copied, 2000)["accuracy"]
    assert often[1] - often[0] == pytest.approx(alone[1] - alone[0], rel=0.1)


def test_the_interval_of_many_images_is_that_of_theory() -> None:
    shares, labels = guesses(10_000)
    low, high = bootstrap_intervals(shares, labels, np.arange(10_000), 1000)["accuracy"]
    accuracy = (shares.argmax(axis=1) == labels).mean()
    standard_error = (accuracy * (1 - accuracy) / 10_000) ** 0.5
    assert high - low == pytest.approx(2 * 1.96 * standard_error, rel=0.1)
