"""Trainings on parts of a laboratory's cells, each with its answers about the cells that it did not see."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bloodcell_batch.adaptation.laboratory import LaboratoryCells
from bloodcell_batch.adaptation.learning import Material, fit_classifier, fit_stages, replace_classifier
from bloodcell_batch.adaptation.network_parts import NetworkParts, batches
from bloodcell_batch.adaptation.rehearsal import PackagedCells
from bloodcell_batch.adaptation.side_by_side import in_one_step, side_by_side
from bloodcell_batch.model.network import logits_and_features
from bloodcell_batch.model.outlier_score import OutlierScore, fit_outlier_score
from bloodcell_batch.model.second_look import all_turns
from bloodcell_batch.progress import Observer
from bloodcell_batch.training.fit.initial_weights import mean_weights

_MOST_VIEWS, _FEWEST_VIEWS, _ALL_VIEWS = 10, 2, 1000
_PACKAGED_VIEWS = 3
_FEWEST_STEPS, _MOST_STEPS = 96, 1280
_STEPS_PER_ROOT = 13.5  # of the number of cells: three minutes for a hundred, and more cells need fewer looks each
_MEASURED = 50  # packaged cells of each class that the outlier score is fitted on
_BATCH = 64


class Depth(StrEnum):
    """How much of a network learns."""

    CLASSIFIER = "classifier"
    STAGES = "stages"


@dataclass(frozen=True, slots=True)
class Answers:
    """What a network says of cells: `logits` float32 (T, N, C), of the cells as they are and, where a second look is
    wanted, of each turn; and outlier `scores` float32 (N,)."""

    logits: NDArray[np.float32]
    scores: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Learned:
    """The last part of a network after a training, and the outlier score of its features."""

    rest: nn.Module
    outlier: OutlierScore


class Trainings:
    """Everything that the trainings on one set of cells share; methods may run in several threads at once.

    The first `old` classes are those that the network had before. `second_look` is whether answers are wanted about
    the turned cells, too.

    `steps` is the length of a training of stages.
    """

    def __init__(
        self,
        parts: NetworkParts,
        own: LaboratoryCells,
        packaged: PackagedCells,
        old: int,
        seed: int,
        observer: Observer,
        *,
        second_look: bool,
    ) -> None:
        self.steps = int(np.clip(round(_STEPS_PER_ROOT * math.sqrt(len(own))), _FEWEST_STEPS, _MOST_STEPS))
        self._parts, self._seed = parts, seed
        self._own_labels, self._packaged_labels = own.labels, packaged.labels
        self._measured = _first_of_each(packaged.labels, _MEASURED)
        views = int(np.clip(_ALL_VIEWS // len(own), _FEWEST_VIEWS, _MOST_VIEWS))
        inputs = np.concatenate([own.inputs, all_turns(own.inputs)]) if second_look else own.inputs
        made = side_by_side(
            [
                lambda stepped: parts.varied_maps(own.pixels, views, seed, stepped),
                lambda stepped: parts.varied_maps(packaged.pixels, _PACKAGED_VIEWS, seed + 1, stepped),
                lambda stepped: parts.maps(inputs, stepped),
                lambda stepped: parts.maps(packaged.inputs, stepped),
            ],
            [
                views * batches(len(own)),
                _PACKAGED_VIEWS * batches(len(packaged)),
                batches(len(inputs)),
                batches(len(packaged)),
            ],
            "varying the cells",
            observer,
        )
        self._own = Material.named(made[0], own.labels, len(own.classes))
        named = Material.named(made[1], packaged.labels, len(own.classes))
        self._own_maps, *self._turned_maps = torch.split(made[2], len(own))
        self._packaged_maps = made[3]
        jobs: list[Callable[[], Tensor]] = [
            *(partial(self._old_word, maps, old) for maps in made[1]),
            lambda: _answered(parts.rest, self._packaged_maps)[1],
            lambda: _answered(parts.rest, self._own_maps)[1],
        ]
        answers = side_by_side([in_one_step(job) for job in jobs], [1] * len(jobs), "asking the network", observer)
        *words, self._packaged_features, self._own_features = answers
        self._packaged = named.taught(torch.stack(words))

    def steps_of(self, depth: Depth) -> int:
        """The length of a training."""
        return self.steps if depth is Depth.STAGES else 1

    def learn(self, depth: Depth, index: NDArray[np.int64], number: int, stepped: Callable[[], None]) -> Learned:
        """Train on the laboratory's cells at `index`; trainings of other numbers draw otherwise."""
        if depth is Depth.STAGES:
            # Not from the fitted classifier: its weights fit features that are about to change.
            rest = fit_stages(
                self._parts.rest, self._own.take(index), self._packaged, self.steps, self._seed + number, stepped
            )
        else:
            rest = self._with_fitted_classifier(index)
        return Learned(rest, self._outlier(rest, index))

    def _with_fitted_classifier(self, index: NDArray[np.int64]) -> nn.Module:
        own = (self._own_features[index], self._own_labels[index])
        rest = copy.deepcopy(self._parts.rest)
        head = rest.get_classifier()  # type: ignore[operator]
        replace_classifier(rest, fit_classifier(head, own, (self._packaged_features, self._packaged_labels)))
        return rest

    def mean_of(self, learned: list[Learned], index: NDArray[np.int64]) -> Learned:
        """The network whose weights are the mean of those of several trainings on the cells at `index`."""
        if len(learned) == 1:
            return learned[0]
        rest = copy.deepcopy(learned[0].rest)
        rest.load_state_dict(mean_weights([one.rest.state_dict() for one in learned]))
        return Learned(rest, self._outlier(rest, index))

    def answers(self, learned: Learned, index: NDArray[np.int64]) -> Answers:
        """What a trained network says of the laboratory's cells at `index`."""
        logits, features = _answered(learned.rest, self._own_maps[index])
        turned = [_answered(learned.rest, maps[index])[0] for maps in self._turned_maps]
        return Answers(torch.stack([logits, *turned]).numpy(), learned.outlier(features.numpy()))

    def _old_word(self, maps: Tensor, old: int) -> Tensor:
        """Probabilities (N, C) that the network gives before it learns, to the first `old` classes only."""
        logits = _answered(self._parts.rest, maps.float())[0] / self._parts.module.temperature
        logits[:, old:] = -torch.inf
        return torch.softmax(logits, dim=1)

    def _outlier(self, rest: nn.Module, index: NDArray[np.int64]) -> OutlierScore:
        maps = torch.cat([self._own_maps[index], self._packaged_maps[self._measured]])
        labels = np.concatenate([self._own_labels[index], self._packaged_labels[self._measured]])
        # In a fold, a class of one slide may be absent.
        present, codes = np.unique(labels, return_inverse=True)
        return fit_outlier_score(_answered(rest, maps)[1].numpy(), codes, len(present))


def _answered(rest: nn.Module, maps: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and features, float32, in evaluation mode."""
    with torch.no_grad():
        found = [logits_and_features(rest, part) for part in torch.split(maps, _BATCH)]
    return torch.cat([logits for logits, _ in found]), torch.cat([features for _, features in found])


def _first_of_each(labels: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    found = [np.flatnonzero(labels == label)[:count] for label in np.unique(labels)]
    return np.concatenate([np.empty(0, dtype=np.int64), *found])
