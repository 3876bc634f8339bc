"""Calibration on held-out images: temperature, review threshold, outlier head and its threshold."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from bloodcell_batch.cell_classes import RollUp, rolled_up
from bloodcell_batch.config.recipe import TrainConfig
from bloodcell_batch.images.preprocessing import Preprocessing
from bloodcell_batch.model.file import OutlierRule
from bloodcell_batch.model.network import InferenceModule, logits_and_features
from bloodcell_batch.model.outlier_score import OutlierScore, fit_outlier_score
from bloodcell_batch.model.second_look import SURE, looked_again
from bloodcell_batch.stages.infer import reported
from bloodcell_batch.training.augmentation.augment import plain
from bloodcell_batch.training.data.labelled import LabelledImages
from bloodcell_batch.training.evaluation.metrics import Rules

_BATCH = 128
_PRIOR_SD = 0.3
_MIN_THRESHOLD, _MAX_THRESHOLD = 0.4, 0.999


@dataclass(frozen=True, slots=True)
class Calibration:
    """What calibration adds to the weights, and the module that uses it all. Decisions are about the classes of
    `roll_up`; `second_look` is what `ModelHeader` says of it."""

    temperature: float
    second_look: float
    outlier: OutlierScore
    rule: OutlierRule
    rules: Rules
    module: InferenceModule
    roll_up: RollUp

    def predict(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Probabilities (N, C) of the reported classes and outlier scores (N,) of model inputs, uint8 (N, S, S, 3), in
        float32."""
        probabilities, features = predict_with(self.module, self.second_look, pixels)
        return reported(probabilities, self.roll_up), self.outlier(features)


def calibrate(
    network: nn.Module,
    training: LabelledImages,
    validation: LabelledImages,
    preprocessing: Preprocessing,
    config: TrainConfig,
) -> Calibration:
    """Fit everything that stands between logits and decisions.

    Args:
        network: in evaluation mode, on the CPU.
        training: images at `CACHE_FACTOR` times the input size; the outlier head is fitted on their features.
        validation: images at the input size, as `classify` decodes them.
        preprocessing: of the network.
        config: the recipe.
    """
    generator = torch.Generator().manual_seed(config.seed)
    picks = torch.randperm(len(training), generator=generator)[: config.outlier_images].numpy()
    chosen = training.take(picks)
    # On the images as they are: a score that is fitted on varied ones as well takes noise and empty smear for cells.
    outlier = fit_outlier_score(_features(network, chosen.pixels, preprocessing), chosen.labels, len(chosen.classes))
    labels = torch.from_numpy(validation.labels)
    module = InferenceModule(network, preprocessing, temperature=1.0).eval()
    logits = torch.from_numpy(predict(module, validation.pixels)[0]).clamp_min(1e-12).log()
    temperature = fit_temperature(logits, labels)
    module.temperature = temperature
    first, known = predict(module, validation.pixels)
    again = looked_again(first, validation.pixels, SURE, lambda turns: predict(module, turns)[0])
    second_look = second_look_limit(first, again, validation.labels)
    probabilities = again if second_look else first
    threshold = float(np.quantile(outlier(known), config.outlier_quantile))
    description = (
        f"Mahalanobis distance in {len(outlier.scale)} whitened directions of unit-length "
        f"features, plus residual energy; {config.outlier_quantile:.1%} of the validation cells score lower"
    )
    rule = OutlierRule(threshold=threshold, description=description)
    roll_up = rolled_up(chosen.classes)
    truth = np.array(roll_up.target)[validation.labels]
    review = review_threshold(reported(probabilities, roll_up), truth, config.review_error, config.review_share)
    return Calibration(temperature, second_look, outlier, rule, Rules(review, threshold), module, roll_up)


def multiply_odds(network: nn.Module, factors: NDArray[np.float64]) -> None:
    """Change the last layer so that the odds of each class are `factors` (C,) times what they were at temperature 1."""
    bias = network.get_classifier().bias  # type: ignore[operator]
    with torch.no_grad():
        bias += torch.from_numpy(np.log(factors)).to(bias.dtype)


def predict(module: InferenceModule, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Probabilities (N, C) and features (N, D) of uint8 images (N, S, S, 3), in float32, a batch at a time."""
    outputs: list[tuple[Tensor, Tensor]] = []
    with torch.inference_mode():
        outputs.extend(
            module(torch.from_numpy(pixels[start : start + _BATCH])) for start in range(0, len(pixels), _BATCH)
        )
    return torch.cat([p for p, _ in outputs]).numpy(), torch.cat([features for _, features in outputs]).numpy()


def predict_with(
    module: InferenceModule, second_look: float, pixels: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """As `predict`, with a second look at the cells whose top probability is below `second_look`."""
    probabilities, features = predict(module, pixels)
    return looked_again(probabilities, pixels, second_look, lambda again: predict(module, again)[0]), features


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature that minimises the negative log-likelihood; logits (N, C), labels (N,).

    A prior keeps it near 1 while there are few images: forty that are all right would send it to zero and every
    probability to one, the wrong ones of later images too. A thousand images outweigh it.
    """
    log_temperature = torch.zeros(1, requires_grad=True)
    optimiser = torch.optim.LBFGS([log_temperature], lr=0.1, max_iter=100)

    def closure() -> float:
        optimiser.zero_grad()
        likelihood = functional.cross_entropy(logits / log_temperature.exp(), labels, reduction="sum")
        loss = (likelihood + (log_temperature / _PRIOR_SD).square().sum() / 2) / len(labels)
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    return float(log_temperature.detach().exp().clamp(0.2, 10))


def second_look_limit(first: NDArray[np.float32], again: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """`SURE` if the truth is likelier with a second look (`again`) than without (`first`), both (N, C); else 0. A
    network that never saw a turned cell may lose by it."""
    cells = np.arange(len(labels))
    gained = np.log(np.maximum(again[cells, labels], 1e-12)) - np.log(np.maximum(first[cells, labels], 1e-12))
    return SURE if gained.sum() > 0 else 0.0


def review_threshold(
    probabilities: NDArray[np.float32], labels: NDArray[np.int64], error: float, share: float
) -> float:
    """The lowest top probability at which the cells above it have at most the error rate `error`.

    No more than `share` of the cells is held back for it: a differential that leaves out every tenth cell is biased
    towards the easy classes. Clipped to 0.4-0.999: below, two classes could tie.
    """
    confidence = probabilities.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    wrong = np.cumsum(probabilities.argmax(axis=1)[order] != labels[order])
    passing = np.flatnonzero(wrong <= error * np.arange(1, len(labels) + 1))
    lowest = float(confidence[order][passing[-1]]) if passing.size else _MAX_THRESHOLD
    return float(np.clip(min(lowest, np.quantile(confidence, share)), _MIN_THRESHOLD, _MAX_THRESHOLD))


def _features(network: nn.Module, pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Features (N, D) of uint8 images (N, M, M, 3), resized to the network's input."""
    mean = torch.tensor(preprocessing.mean).view(1, 3, 1, 1)
    std = torch.tensor(preprocessing.std).view(1, 3, 1, 1)
    found: list[Tensor] = []
    with torch.inference_mode():
        for start in range(0, len(pixels), _BATCH):
            batch = plain(
                torch.from_numpy(np.ascontiguousarray(pixels[start : start + _BATCH])), preprocessing.input_size
            )
            found.append(logits_and_features(network, (batch - mean) / std)[1].float())
    return torch.cat(found).numpy()
