import json

import numpy as np
import pytest

from bloodcell_batch.cell_classes import DEFAULT_CLASSES
from bloodcell_batch.training.evaluation.metrics import Rules, as_text, measure

RULES = Rules(review_threshold=0.6, outlier_threshold=5)


def probabilities(guesses: list[int], confidence: float) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    rows = np.full((len(guesses), 8), (1 - confidence) / 7, dtype=np.float32)
    rows[np.arange(len(guesses)), guesses] = confidence
    return rows


def test_figures_of_a_hand_worked_example() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1, 2, 2])
    guess = probabilities([0, 0, 0, 1, 1, 1, 2, 0], 0.9)
    found = measure(guess, np.zeros(8, np.float32), labels, DEFAULT_CLASSES, RULES)
    assert found.accuracy == 0.75
    assert found.balanced_accuracy == pytest.approx((0.75 + 1 + 0.5) / 3)
    assert found.per_class["basophil"].precision == 0.75
    assert found.per_class["eosinophil"].precision == pytest.approx(2 / 3)
    assert found.macro_f1 == pytest.approx((0.75 + 0.8 + 2 / 3) / 3)
    assert found.ece == pytest.approx(0.15, abs=1e-6)
    assert found.confusion[0][:3] == [3, 1, 0]
    assert found.review_share == 0
    assert found.selective_accuracy == 0.75


def test_review_counts_low_confidence_and_outliers() -> None:
    guess = np.concatenate([probabilities([0, 0], 0.5), probabilities([1, 0], 0.9)])
    found = measure(guess, np.array([0, 0, 9, 0], np.float32), np.zeros(4, dtype=np.int64), DEFAULT_CLASSES, RULES)
    assert found.review_share == 0.75
    assert found.selective_accuracy == 1


def test_a_class_without_images_stays_outside_the_averages() -> None:
    found = measure(probabilities([3, 3], 0.9), np.zeros(2, np.float32), np.array([3, 3]), DEFAULT_CLASSES, RULES)
    assert found.balanced_accuracy == found.macro_f1 == 1
    assert np.isnan(found.per_class["platelet"].recall)
    text = as_text(found)
    assert all(name in text for name in DEFAULT_CLASSES.names)
    assert "nan" not in text
    assert json.loads(json.dumps(found.as_dict()))["images"] == 2
