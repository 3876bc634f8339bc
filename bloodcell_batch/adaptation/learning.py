"""A network learns a laboratory's cells beside those of the package: the classifier alone, or its last stages, too.

Everything draws from its own source of chance and is meant for one thread, so that a training gives the same weights
however many others run beside it.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from bloodcell_batch.model.network import InferenceModule
from bloodcell_batch.training.fit.depthwise import keep_strided_depthwise_float32

_BATCH = 40
_LEARNING_RATE = 1e-3
_WEIGHT_DECAY = 0.03
_RISING = 0.25  # share of the steps in which the learning rate rises
_SMOOTHING = 0.05
_OWN_SHARE = 0.5  # of each batch, and of the classifier's loss
_TAUGHT = 0.7  # share of the old network's word in what packaged cells are
_MOVED = 0.8  # of the way from the old weights to the new ones
_STAY = 3e-4  # what it costs the classifier to leave its old weights


@dataclass(frozen=True, slots=True)
class Material:
    """Cells to learn from: `maps` bfloat16 (V, N, …), see `NetworkParts.varied_maps`, `labels` int64 (N,) and `targets`
    float32 (V, N, C), what each view shall be called, in shares of 1."""

    maps: Tensor
    labels: NDArray[np.int64]
    targets: Tensor

    @classmethod
    def named(cls, maps: Tensor, labels: NDArray[np.int64], classes: int) -> Self:
        """Cells that are what their labels say."""
        one = functional.one_hot(torch.from_numpy(labels), classes).float()
        return cls(maps, labels, (one * (1 - _SMOOTHING) + _SMOOTHING / classes).expand(len(maps), -1, -1))

    def taught(self, probabilities: Tensor) -> Self:
        """The same cells, called in part what another network says of each view, float32 (V, N, C): what it tells of
        their likeness keeps the network as it is better than the labels alone."""
        return replace(self, targets=_TAUGHT * probabilities + (1 - _TAUGHT) * self.targets)

    def take(self, index: NDArray[np.int64]) -> Self:
        """The cells at `index`."""
        return replace(self, maps=self.maps[:, index], labels=self.labels[index], targets=self.targets[:, index])

    def drawn(self, index: NDArray[np.int64], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """A random view of each of the cells at `index`, and what it shall be called."""
        views = rng.integers(len(self.maps), size=len(index))
        return self.maps[views, index], self.targets[views, index]


def fit_classifier(
    head: nn.Linear,
    own: tuple[Tensor, NDArray[np.int64]],
    packaged: tuple[Tensor, NDArray[np.int64]],
) -> nn.Linear:
    """A copy of a classifier, fitted to features float32 (N, D) with labels (N,), those of the laboratory weighing as
    much as those of the package."""
    features = torch.cat([own[0], packaged[0]])
    labels = torch.from_numpy(np.concatenate([own[1], packaged[1]]))
    shares = (_OWN_SHARE, 1 - _OWN_SHARE) if len(packaged[1]) else (1.0, 0.0)
    weights = torch.cat(
        [
            torch.full((len(part),), share / max(1, len(part)))
            for part, share in zip((own[1], packaged[1]), shares, strict=True)
        ]
    )
    fitted = copy.deepcopy(head)
    weight, bias = fitted.weight, fitted.bias
    start = weight.detach().clone()
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimiser.zero_grad()
        each = functional.cross_entropy(fitted(features), labels, reduction="none")
        loss = (each * weights).sum() + _STAY * (weight - start).square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    return fitted


def fit_stages(
    network: nn.Module, own: Material, packaged: Material, steps: int, seed: int, stepped: Callable[[], None]
) -> nn.Module:
    """A copy of a network, trained for so many steps, half of each batch from the laboratory.

    Args:
        network: takes the maps.
        own: cells of the laboratory.
        packaged: cells of the package.
        steps: of the optimiser.
        seed: of the order and the views of the cells.
        stepped: called before each step; what it raises ends the training.

    Returns:
        The copy, in evaluation mode.
    """
    fitted = copy.deepcopy(network).train().requires_grad_(requires_grad=True)
    keep_strided_depthwise_float32(fitted)
    fitted.to(memory_format=torch.channels_last)
    parameters = list(fitted.parameters())
    groups = [
        {"params": [weight for weight in parameters if weight.ndim > 1], "weight_decay": _WEIGHT_DECAY},
        {"params": [weight for weight in parameters if weight.ndim <= 1], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=_LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _LEARNING_RATE, total_steps=steps, pct_start=_RISING)
    rng = np.random.default_rng(seed)
    count = round(_OWN_SHARE * _BATCH) if len(packaged.labels) else _BATCH
    sources = [(own, _balanced(own.labels, count, rng))]
    if count < _BATCH:
        sources.append((packaged, _balanced(packaged.labels, _BATCH - count, rng)))
    for _ in range(steps):
        stepped()
        drawn = [part.drawn(next(draws), rng) for part, draws in sources]
        maps = torch.cat([maps for maps, _ in drawn]).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=_has_bfloat16()):
            logits = fitted(maps if _has_bfloat16() else maps.float())
        loss = functional.cross_entropy(logits.float(), torch.cat([targets for _, targets in drawn]))
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
    return _between(network, fitted).eval()


def _between(start: nn.Module, end: nn.Module) -> nn.Module:
    """The `end` network with weights between both, which keep more of what was known (Wortsman et al., 2022)."""
    old = start.state_dict()
    end.load_state_dict(
        {
            name: torch.lerp(old[name], value, _MOVED) if value.is_floating_point() else value
            for name, value in end.state_dict().items()
        }
    )
    return end


def with_classes(module: InferenceModule, rows: list[int | None]) -> InferenceModule:
    """A copy whose classifier has an output for each of `rows`: that of the given old one, or a new one for None."""
    changed = copy.deepcopy(module)
    old = changed.network.get_classifier()  # type: ignore[operator]
    new = nn.Linear(old.in_features, len(rows))
    with torch.no_grad():
        # A new class starts as the mean of the others: no kind of cell is likelier to be of it.
        for row, before in enumerate(rows):
            new.weight[row] = old.weight.mean(dim=0) if before is None else old.weight[before]
            new.bias[row] = old.bias.mean() if before is None else old.bias[before]
    replace_classifier(changed.network, new)
    return changed


def replace_classifier(network: nn.Module, new: nn.Linear) -> None:
    """Put `new` in the place of the network's last layer."""
    old = network.get_classifier()  # type: ignore[operator]
    place = next(name for name, child in network.named_modules() if child is old)
    parent, _, name = place.rpartition(".")
    setattr(network.get_submodule(parent), name, new)


def _balanced(labels: NDArray[np.int64], count: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Without end, `count` indices: every class equally often, and inside a class every cell."""
    members = {int(label): np.flatnonzero(labels == label) for label in np.unique(labels)}
    left: dict[int, list[int]] = {label: [] for label in members}
    classes: list[int] = []
    while True:
        drawn = []
        for _ in range(count):
            classes = classes or rng.permutation(list(members)).tolist()
            label = classes.pop()
            left[label] = left[label] or rng.permutation(members[label]).tolist()
            drawn.append(left[label].pop())
        yield np.array(drawn)


def _has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 itself; elsewhere it is slower than float32."""
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))
