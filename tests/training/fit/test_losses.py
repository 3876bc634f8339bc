import math

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from torch.nn import functional

from bloodcell_batch.training.fit.losses import (
    cross_entropy,
    distillation,
    jensen_shannon,
    smooth,
    supervised_contrastive,
)

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(12, 8, generator=GENERATOR)
LABELS = torch.randint(8, (12,), generator=GENERATOR)
ONE_HOT = functional.one_hot(LABELS, 8).float()
WEIGHTS = torch.rand(8, generator=GENERATOR) + 0.5


def test_cross_entropy_is_that_of_pytorch() -> None:
    for smoothing in (0.0, 0.1):
        expected = functional.cross_entropy(LOGITS, LABELS, label_smoothing=smoothing)
        torch.testing.assert_close(cross_entropy(LOGITS, smooth(ONE_HOT, smoothing)), expected)
    expected = functional.cross_entropy(LOGITS, LABELS, weight=WEIGHTS)
    torch.testing.assert_close(cross_entropy(LOGITS, ONE_HOT, WEIGHTS), expected)
    mixed = 0.3 * ONE_HOT + 0.7 * ONE_HOT.roll(1, 0)
    torch.testing.assert_close(cross_entropy(LOGITS, mixed), functional.cross_entropy(LOGITS, mixed))


def test_focal_loss_by_hand() -> None:
    shares = LOGITS.softmax(dim=1)[torch.arange(12), LABELS]
    expected = (-((1 - shares) ** 2) * shares.log()).mean()
    torch.testing.assert_close(cross_entropy(LOGITS, ONE_HOT, gamma=2.0), expected)


def test_half_precision_is_computed_in_full() -> None:
    half = LOGITS.bfloat16()
    assert cross_entropy(half, ONE_HOT).dtype == torch.float32
    torch.testing.assert_close(cross_entropy(half, ONE_HOT), cross_entropy(half.float(), ONE_HOT))


def test_jensen_shannon_divergence() -> None:
    assert float(jensen_shannon([LOGITS, LOGITS])) == pytest.approx(0, abs=1e-6)
    views = [LOGITS, LOGITS.roll(1, 0), LOGITS.flip(0)]
    shares = np.stack([view.softmax(dim=1).numpy() for view in views])
    middle = shares.mean(axis=0)
    expected = np.mean([[entropy(row, other) for row, other in zip(view, middle, strict=True)] for view in shares])
    assert float(jensen_shannon(views)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("size", [1, 60, 1000])
def test_the_divergence_of_views_that_contradict_each_other_has_a_gradient(size: float) -> None:
    """Surest of different classes, where shares become 0 in float32."""
    views = [(LOGITS * size).requires_grad_(), (LOGITS.roll(1, 0) * size).requires_grad_()]
    loss = jensen_shannon(views)
    assert all(bool(torch.isfinite(slope).all()) for slope in torch.autograd.grad(loss, views))
    assert 0 < float(loss.detach()) <= math.log(2) + 1e-6


def test_distillation_by_hand_and_its_direction() -> None:
    taught = (LOGITS.roll(1, 0) / 3).softmax(dim=1)
    student = (LOGITS / 3).softmax(dim=1)
    expected = 9 * (taught * (taught.log() - student.log())).sum(dim=1).mean()
    torch.testing.assert_close(distillation(LOGITS, taught, 3.0), expected)
    learned = LOGITS.clone().requires_grad_()
    for _ in range(200):
        loss = distillation(learned, taught, 3.0)
        (slope,) = torch.autograd.grad(loss, learned)
        learned = (learned - slope).detach().requires_grad_()
    torch.testing.assert_close((learned / 3).softmax(dim=1), taught, atol=0.02, rtol=0)


def test_contrastive_loss_against_a_double_loop() -> None:
    embeddings = torch.randn(10, 5, generator=GENERATOR)
    labels = torch.tensor([0, 0, 1, 1, 1, 2, 3, 3, 4, 4])  # the only cell of class 2 has no partner
    unit = embeddings / embeddings.norm(dim=1, keepdim=True)
    losses = []
    for i in range(10):
        partners = [j for j in range(10) if j != i and labels[j] == labels[i]]
        if not partners:
            continue
        total = sum(torch.exp(unit[i] @ unit[k] / 0.2) for k in range(10) if k != i)
        losses.append(-sum(torch.log(torch.exp(unit[i] @ unit[j] / 0.2) / total) for j in partners) / len(partners))
    expected = torch.stack([torch.as_tensor(loss) for loss in losses]).mean()
    torch.testing.assert_close(supervised_contrastive(embeddings, labels, 0.2), expected)


def test_contrastive_loss_is_that_of_pytorch_metric_learning() -> None:
    library = pytest.importorskip("pytorch_metric_learning.losses", reason="needs the extra [dev]")
    embeddings = torch.randn(24, 16, generator=torch.Generator().manual_seed(2))
    labels = torch.arange(24) % 5
    expected = library.SupConLoss(temperature=0.1)(embeddings, labels)
    torch.testing.assert_close(supervised_contrastive(embeddings, labels, 0.1), expected)


def test_contrastive_loss_without_any_pair_is_zero() -> None:
    alone = supervised_contrastive(torch.randn(3, 4, requires_grad=True), torch.arange(3), 0.1)
    assert float(alone.detach()) == 0
    alone.backward()  # type: ignore[no-untyped-call]
