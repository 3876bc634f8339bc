"""Optimisers and learning-rate schedules by the name that a recipe gives them."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from timm.optim.lion import Lion
from torch import nn
from torch.optim import Optimizer

from bloodcell_batch.config.recipe import TrainConfig

Groups = list[dict[str, Any]]

OPTIMISERS: dict[str, Callable[[Groups, TrainConfig], Optimizer]] = {
    "adamw": lambda groups, config: torch.optim.AdamW(groups, lr=config.learning_rate),
    "adam": lambda groups, config: torch.optim.Adam(groups, lr=config.learning_rate),
    "sgd": lambda groups, config: torch.optim.SGD(
        groups, lr=config.learning_rate, momentum=config.momentum, nesterov=config.momentum > 0
    ),
    "rmsprop": lambda groups, config: torch.optim.RMSprop(groups, lr=config.learning_rate, momentum=config.momentum),
    "lion": lambda groups, config: Lion(groups, lr=config.learning_rate),
}
"""Lion takes about a tenth of AdamW's learning rate (Chen et al., 2023)."""

SCHEDULES: dict[str, Callable[[float], float]] = {
    "cosine": lambda progress: 0.5 * (1 + math.cos(math.pi * progress)),
    "linear": lambda progress: 1 - progress,
    "constant": lambda _progress: 1.0,
}
"""Factor on the peak learning rate against the share of the steps that is done after the warm-up, 0-1."""


def make_optimiser(parameters: Iterable[nn.Parameter], config: TrainConfig) -> Optimizer:
    """The recipe's optimiser, with weight decay on matrices and kernels but not on biases and norms."""
    weights = [weight for weight in parameters if weight.requires_grad]
    groups: Groups = [
        {"params": [weight for weight in weights if weight.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [weight for weight in weights if weight.ndim <= 1], "weight_decay": 0.0},
    ]
    return OPTIMISERS[config.optimiser](groups, config)


def rate_factor(step: int, total: int, config: TrainConfig) -> float:
    """Factor on the peak learning rate at `step` of `total`: linear warm-up, then the recipe's schedule."""
    warm = max(1, round(total * config.warmup))
    if step < warm:
        return (step + 1) / warm
    return SCHEDULES[config.schedule](min(1.0, (step - warm) / max(1, total - warm)))
