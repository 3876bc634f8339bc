import numpy as np
import pytest
import torch

from bloodcell_batch.model.network import create_network
from bloodcell_batch.model.second_look import SURE
from bloodcell_batch.training.fit.calibration import (
    fit_temperature,
    multiply_odds,
    review_threshold,
    second_look_limit,
)


def test_temperature_is_recovered() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(4000, 8, generator=generator)
    labels = torch.multinomial(torch.softmax(logits, dim=1), 1, generator=generator).squeeze(1)
    assert fit_temperature(2.5 * logits, labels) == pytest.approx(2.5, rel=0.1)


def test_temperature_stays_finite_when_everything_is_right() -> None:
    labels = torch.arange(8).repeat(10)
    logits = 10 * torch.nn.functional.one_hot(labels, 8).float()
    assert 0.5 <= fit_temperature(logits, labels) <= 1


def distribution(confidences: list[float]) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.array([[c] + [(1 - c) / 7] * 7 for c in confidences], dtype=np.float32)


def test_threshold_holds_the_errors_back() -> None:
    probabilities = distribution([0.99] * 97 + [0.6, 0.55, 0.5])
    labels = np.array([0] * 97 + [1, 1, 1])
    threshold = review_threshold(probabilities, labels, error=0.002, share=0.05)
    assert 0.6 < threshold <= 0.9901
    assert review_threshold(probabilities, labels, error=0.5, share=0.05) == pytest.approx(0.5)


def test_threshold_never_holds_back_more_than_its_share() -> None:
    probabilities = distribution(list(np.linspace(0.5, 0.99, 100)))
    labels = np.array([0, 1] * 50)
    threshold = review_threshold(probabilities, labels, error=0.002, share=0.05)
    assert (probabilities.max(axis=1) < threshold).mean() <= 0.05


def test_threshold_is_clipped() -> None:
    probabilities = distribution([0.3] * 100)
    assert review_threshold(probabilities, np.zeros(100, dtype=np.int64), error=0.002, share=0.05) == 0.4


def test_odds_are_multiplied() -> None:
    network = create_network("test_efficientnet", 3).eval()
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        before = network(images).softmax(dim=1)
        multiply_odds(network, np.array([1.0, 0.25, 1.0]))
        after = network(images).softmax(dim=1)
    changed = before * torch.tensor([1.0, 0.25, 1.0])
    assert torch.allclose(after, changed / changed.sum(dim=1, keepdim=True), atol=1e-6)


def test_a_second_look_is_taken_where_it_makes_the_truth_likelier() -> None:
    labels = np.zeros(4, dtype=np.int64)
    first, better, worse = (distribution([0.99, 0.99, 0.7, top]) for top in (0.5, 0.7, 0.3))
    assert second_look_limit(first, better, labels) == SURE
    assert second_look_limit(first, worse, labels) == 0
    assert second_look_limit(first, first, labels) == 0
