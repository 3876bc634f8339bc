import json

import numpy as np
import pytest

from bloodcell_batch.cell_classes import DEFAULT_CLASSES
from bloodcell_batch.training.evaluation.figures_text import as_text
from bloodcell_batch.training.evaluation.metrics import Rules, measure

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
    text = as_text(found, DEFAULT_CLASSES)
    assert all(name in text for name in DEFAULT_CLASSES.names)
    assert "nan" not in text
    assert json.loads(json.dumps(found.as_dict()))["images"] == 2


def test_the_figures_for_people() -> None:
    guess = np.concatenate([probabilities([0] * 7 + [6], 0.9), probabilities([6, 6], 0.5)])
    labels = np.array([0] * 8 + [6, 6])
    text = as_text(measure(guess, np.zeros(10, np.float32), labels, DEFAULT_CLASSES, RULES), DEFAULT_CLASSES)
    lines = text.splitlines()
    assert "accuracy              90.00% (9 of 10; 95 % limits 55.50-99.75%)" in lines
    assert "left for review       20.00% (2 of 10; 95 % limits 2.52-55.61%)" in lines
    assert "accuracy of the rest  87.50% (7 of 8; 95 % limits 47.35-99.68%)" in lines
    names = [line.split()[0] for line in lines if line and line.split()[0] in DEFAULT_CLASSES.names]
    assert names == [*DEFAULT_CLASSES.reading_order] * 2
    assert lines[-2].split() == ["erythroblast", *"00000000"]
    assert lines[-4].split() == ["basophil", "1", "0", "0", "0", "7", "0", "0", "0"]
    assert max(map(len, lines)) <= 80


def test_nothing_to_compute_is_a_dash() -> None:
    guess = probabilities([3, 3], 0.5)
    found = measure(guess, np.zeros(2, np.float32), np.array([3, 3]), DEFAULT_CLASSES, RULES)
    text = as_text(found, DEFAULT_CLASSES, {"accuracy": (0.5, 1.0)})
    assert "accuracy of the rest  -\n" in text
    assert "accuracy              100.00% (2 of 2; 95 % limits 50.00-100.00%)" in text
    assert "nan" not in text
