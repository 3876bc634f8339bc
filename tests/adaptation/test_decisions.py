"""The thresholds that an adapted model gets, from drawn answers whose true accuracy is known."""

import numpy as np
import pytest
from numpy.typing import NDArray

from bloodcell_batch.adaptation.decisions import Decisions, fit_decisions, is_clearly_likelier, safe_threshold
from bloodcell_batch.adaptation.trainings import Answers
from bloodcell_batch.cell_classes import DEFAULT_CLASSES, rolled_up
from bloodcell_batch.training.evaluation.metrics import Rules


def calibrated(cells: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Confidences, nine of ten of them high, and cells that are right as often as these say: 94 % in all."""
    sure = rng.random(cells) < 0.9
    confidence = np.where(sure, rng.uniform(0.96, 1, cells), rng.uniform(0.4, 0.8, cells)).astype(np.float32)
    return confidence, rng.random(cells) < confidence


def test_the_rest_of_other_cells_is_right_after_a_hundred_labelled_ones() -> None:
    rng = np.random.default_rng(0)
    confidence, right = calibrated(20_000, rng)
    rests, left = [], []
    for _ in range(50):
        threshold = safe_threshold(*calibrated(100, rng))
        kept = confidence >= threshold
        rests.append(right[kept].mean())
        left.append(1 - kept.mean())
    assert np.mean(rests) > 0.97
    assert np.mean(left) < 0.15


@pytest.mark.parametrize("wrong", [1, 4, 20])
def test_wrong_cells_among_the_surest_hold_back_a_quarter_at_most(wrong: int) -> None:
    confidence = np.linspace(0.5, 0.99, 40, dtype=np.float32)
    right = np.ones(40, dtype=bool)
    right[-wrong:] = False
    assert safe_threshold(confidence, right) <= np.quantile(confidence, 0.25)


@pytest.mark.parametrize(("wrong", "left"), [(0, 0.038), (3, 0.095), (7, 0.17), (20, 0.17)])
def test_twice_as_many_cells_are_held_back_as_are_wrong_however_sure_they_are(wrong: int, left: float) -> None:
    confidence = np.linspace(0.994, 0.998, 101, dtype=np.float32)
    right = np.ones(101, dtype=bool)
    right[:wrong] = False
    assert (confidence < safe_threshold(confidence, right)).mean() == pytest.approx(left, abs=0.011)


def test_cells_that_are_sure_and_right_all_pass() -> None:
    assert safe_threshold(np.full(25, 0.999, dtype=np.float32), np.ones(25, dtype=bool)) <= 0.999


@pytest.mark.parametrize("repeats", [1, 2])
def test_strangers_and_unsure_cells_are_left(repeats: int) -> None:
    rng = np.random.default_rng(1)
    labels = np.arange(100) % len(DEFAULT_CLASSES)
    logits = np.eye(len(DEFAULT_CLASSES), dtype=np.float32)[labels] * 6
    unsure = np.arange(100) < 8
    logits[unsure] = np.roll(logits[unsure], 1, axis=1) * 0.2
    scores = rng.uniform(0.8, 1.2, 100).astype(np.float32)
    scores[-1] = 50
    roll_up = rolled_up(DEFAULT_CLASSES)
    decisions = fit_decisions([Answers(logits[None], scores)] * repeats, labels, roll_up, 0.0)
    judgement = decisions.judgement(Answers(logits[None], scores), labels)
    assert not judgement.kept[unsure].any()
    assert not judgement.kept[-1]
    assert judgement.kept[8:90].mean() > 0.9


def test_likelier_by_chance_is_not_clearly_likelier() -> None:
    rng = np.random.default_rng(0)
    found = []
    for gain in (0.0, 0.1, 1.0):
        pairs = [(rng.normal(gain, 1, 70), rng.normal(0, 1, 70)) for _ in range(200)]
        found.append(np.mean([is_clearly_likelier(*pair) for pair in pairs]))
    assert found[0] < 0.06
    assert found[1] < 0.25
    assert found[2] > 0.99
    assert not is_clearly_likelier(np.zeros(5), np.zeros(5))


def test_the_likelihood_is_of_each_cell() -> None:
    roll_up = rolled_up(DEFAULT_CLASSES)
    labels = np.arange(8)
    sure, unsure = np.eye(8, dtype=np.float32) * 8, np.zeros((8, 8), dtype=np.float32)
    answers = [Answers(logits[None], np.ones(8, dtype=np.float32)) for logits in (sure, unsure)]
    truth = np.array(roll_up.target)[labels]
    decisions = Decisions(1.0, 0.0, Rules(0.5, 1.0), roll_up)
    chance = np.exp(8) / (np.exp(8) + 7)
    assert decisions.likelihood(answers, truth) == pytest.approx(
        np.full(8, (np.log(chance) + np.log(1 / 8)) / 2), abs=1e-6
    )
