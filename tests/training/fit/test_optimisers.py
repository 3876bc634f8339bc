from typing import get_args

import pytest
import torch
from torch import nn

from bloodcell_batch.config.recipe import TrainConfig
from bloodcell_batch.training.fit.optimisers import OPTIMISERS, SCHEDULES, make_optimiser, rate_factor


def test_the_recipe_and_the_tables_name_the_same() -> None:
    assert set(get_args(TrainConfig.model_fields["optimiser"].annotation)) == set(OPTIMISERS)
    assert set(get_args(TrainConfig.model_fields["schedule"].annotation)) == set(SCHEDULES)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_every_optimiser_goes_downhill(name: str) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(4, 4)
    target = torch.randn(4, 4)
    config = TrainConfig.model_validate({"optimiser": name, "learning_rate": 0.01, "weight_decay": 0.0})
    optimiser = make_optimiser(layer.parameters(), config)
    losses = []
    for _ in range(50):
        loss = (layer.weight - target).square().mean() + layer.bias.square().mean()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_biases_and_norms_do_not_decay() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    frozen = nn.Linear(2, 2).requires_grad_(requires_grad=False)
    optimiser = make_optimiser([*network.parameters(), *frozen.parameters()], TrainConfig(weight_decay=0.3))
    decay, none = optimiser.param_groups
    assert (decay["weight_decay"], none["weight_decay"]) == (0.3, 0.0)
    assert [weight.shape for weight in decay["params"]] == [network[0].weight.shape]
    assert len(none["params"]) == 3


@pytest.mark.parametrize(("name", "halfway"), [("cosine", 0.5), ("linear", 0.5), ("constant", 1.0)])
def test_the_rate_rises_then_follows_its_schedule(name: str, halfway: float) -> None:
    config = TrainConfig.model_validate({"schedule": name, "warmup": 0.2})
    assert rate_factor(0, 100, config) == pytest.approx(0.05)
    assert rate_factor(19, 100, config) == 1
    assert rate_factor(20, 100, config) == 1
    assert rate_factor(60, 100, config) == pytest.approx(halfway)
    assert rate_factor(100, 100, config) == pytest.approx(1 if name == "constant" else 0)
