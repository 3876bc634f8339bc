"""Losses on logits and soft targets."""

import math

import torch
from torch import Tensor
from torch.nn import functional


def smooth(targets: Tensor, share: float) -> Tensor:
    """Targets (N, C) with `share` of each row spread evenly over all classes."""
    return targets * (1 - share) + share / targets.shape[1]


def cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor | None = None, gamma: float = 0.0) -> Tensor:
    """Mean cross-entropy, or focal loss where `gamma` is above 0.

    Args:
        logits: float (N, C).
        targets: float (N, C), rows sum to 1.
        weights: factor per class (C,), or None.
        gamma: exponent of the focal loss (Lin et al., 2017): well-known cells count for (1 - p)^gamma.
    """
    log_shares = functional.log_softmax(logits.float(), dim=1)
    each = -targets * log_shares
    if gamma:
        each = each * (1 - log_shares.exp()) ** gamma
    if weights is not None:
        # Divided by the mean weight of the batch, as in PyTorch: the size of a step stays comparable.
        return (each * weights).sum() / (targets * weights).sum()
    return each.sum(dim=1).mean()


def jensen_shannon(logits: list[Tensor]) -> Tensor:
    """Mean Jensen-Shannon divergence between views of the same images, each (N, C); Hendrycks et al., 2020.

    In logarithms throughout: the gradient at a share that has become 0 would be no number.
    """
    log_shares = torch.stack([functional.log_softmax(view.float(), dim=1) for view in logits])
    log_mean = log_shares.logsumexp(dim=0) - math.log(len(logits))
    return (log_shares.exp() * (log_shares - log_mean)).sum(dim=2).mean()


def distillation(logits: Tensor, taught: Tensor, temperature: float) -> Tensor:
    """Divergence of the student's softened prediction from the teachers', times T^2 (Hinton et al., 2015).

    Args:
        logits: of the student, float (N, C).
        taught: mean probabilities of the teachers at the same temperature, float (N, C).
        temperature: divides the student's logits.
    """
    student = functional.log_softmax(logits.float() / temperature, dim=1)
    return functional.kl_div(student, taught, reduction="batchmean") * temperature**2


def supervised_contrastive(embeddings: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Supervised contrastive loss, the `out` form of Khosla et al., 2020.

    Args:
        embeddings: float (M, D); scaled to unit length here. Two views of an image are two rows.
        labels: int64 (M,).
        temperature: divides the cosine similarities.
    """
    unit = functional.normalize(embeddings.float(), dim=1)
    similarity = unit @ unit.T / temperature
    own = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
    similarity = similarity.masked_fill(own, float("-inf"))
    log_shares = (similarity - similarity.logsumexp(dim=1, keepdim=True)).masked_fill(own, 0.0)
    partners = (labels[:, None] == labels[None, :]) & ~own
    count = partners.sum(dim=1)
    alone = count == 0
    per_row = -(log_shares * partners).sum(dim=1) / count.clamp_min(1)
    return per_row[~alone].mean() if not bool(alone.all()) else per_row.sum()
