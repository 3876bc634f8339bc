"""Temperature, review and outlier threshold of an adapted model, from cells that its trainings did not see."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from bloodcell_batch.adaptation.figures import Judgement, judged
from bloodcell_batch.adaptation.trainings import Answers
from bloodcell_batch.cell_classes import RollUp
from bloodcell_batch.model.second_look import both_looks
from bloodcell_batch.stages.infer import reported
from bloodcell_batch.training.evaluation.metrics import Rules
from bloodcell_batch.training.fit.calibration import fit_temperature

_ERROR = 0.025  # among the cells that the review threshold lets pass
_SURE = 0.8  # confidence from which on no cell is held back for that: what is wrong above is mostly a label, or a twin
_MOST_LEFT = 0.25  # of the cells, that are held back for that
_LEFT_PER_WRONG, _MOST_FOR_WRONG = 2, 0.17  # cells held back at least, for each that is wrong, and of all, at most
_PRIOR_WRONG, _PRIOR_CELLS = 2, 4  # beside those that are seen: no error in a few cells doesn't promise none
_LOWEST, _HIGHEST = 0.4, 0.999  # below, two classes could tie
_CLEARLY = 2.0  # standard errors
_LEAST_CHANCE = 1e-3  # what a wrong label costs must have an end
_PASSING = 0.98  # of the cells, that the outlier threshold lets pass


@dataclass(frozen=True, slots=True)
class Decisions:
    """What stands between logits and decisions; `second_look` is what `ModelHeader` says of it."""

    temperature: float
    second_look: float
    rules: Rules
    roll_up: RollUp

    def judgement(self, answers: Answers, truth: NDArray[np.int64]) -> Judgement:
        """Decisions about cells of the reported classes `truth`."""
        return judged(self._probabilities(answers), answers.scores, truth, self.rules)

    def likelihood(self, answers: list[Answers], truth: NDArray[np.int64]) -> NDArray[np.float64]:
        """Logarithm of the probability of each cell's truth (N,), the mean over the repeats: it tells two networks
        apart that have as many of a hundred cells right."""
        chances = [self._probabilities(part)[np.arange(len(truth)), truth] for part in answers]
        likelihood: NDArray[np.float64] = np.log(np.maximum(chances, _LEAST_CHANCE)).mean(axis=0, dtype=np.float64)
        return likelihood

    def _probabilities(self, answers: Answers) -> NDArray[np.float32]:
        return _reported(answers, self.temperature, self.second_look, self.roll_up)


def fit_decisions(answers: list[Answers], labels: NDArray[np.int64], roll_up: RollUp, second_look: float) -> Decisions:
    """Fit them to the answers of each repeat of a cross-validation.

    Args:
        answers: about all cells, one for each repeat.
        labels: int64 (N,), as the outputs are numbered.
        roll_up: from outputs to the classes that decisions are about.
        second_look: of the model that is adapted.
    """
    pooled = Answers(
        np.concatenate([part.logits for part in answers], axis=1), np.concatenate([part.scores for part in answers])
    )
    every = np.tile(labels, len(answers))
    temperature = fit_temperature(torch.from_numpy(pooled.logits[0]), torch.from_numpy(every))
    outlier = float(np.quantile(pooled.scores, _PASSING))
    known = pooled.scores <= outlier
    probabilities = _reported(pooled, temperature, second_look, roll_up)[known]
    truth = np.array(roll_up.target)[every][known]
    right = probabilities.argmax(axis=1) == truth
    review = safe_threshold(probabilities.max(axis=1), right)
    return Decisions(temperature, second_look, Rules(review, outlier), roll_up)


def is_clearly_likelier(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    """Whether the truth is likelier to one network than to another, on the same cells (N,), by two standard errors."""
    more = one - other
    return bool(more.mean() > _CLEARLY * more.std(ddof=1) / np.sqrt(len(more)))


def safe_threshold(confidence: NDArray[np.float32], right: NDArray[np.bool_]) -> float:
    """The lowest confidence above which few enough cells are wrong, for the cells of other slides too.

    Of a hundred cells, two or three wrong ones decide, and the best of a hundred places to cut is a lucky one. So the
    share of wrong cells above a place is the mean of two estimates: those that are wrong, and those that the
    calibrated confidences expect to be. No cell is held back for that share that is right four times in five, and no
    more than a quarter of all. But twice as many are held back as are wrong (by Agresti and Coull's estimate; a sixth
    of all at most), however sure the network is: the unsure ones aren't wrong alone. The networks of the
    cross-validation learned fewer cells than the one that is written and are less sure: it holds back some four fifths
    of that after seventy cells, less after fewer.

    Args:
        confidence: float32 (N,), calibrated, of cells that the network did not learn.
        right: bool (N,).

    Returns:
        0.4-0.999.
    """
    order = np.argsort(-confidence, kind="stable")
    falling = confidence[order].astype(np.float64)
    wrong = np.cumsum((~right[order]) + (1 - falling)) / 2
    passing = np.flatnonzero(wrong <= _ERROR * np.arange(1, len(order) + 1))
    lowest = float(falling[passing[-1]]) if passing.size else _HIGHEST
    expected = (float((~right).sum()) + _PRIOR_WRONG) / (len(right) + _PRIOR_CELLS)
    shares = [min(_LEFT_PER_WRONG * expected, _MOST_FOR_WRONG), _MOST_LEFT]
    fewest, most = np.quantile(confidence, shares).tolist()
    return float(np.clip(max(min(lowest, most, _SURE), fewest), _LOWEST, _HIGHEST))


def _reported(answers: Answers, temperature: float, second_look: float, roll_up: RollUp) -> NDArray[np.float32]:
    looks = torch.softmax(torch.from_numpy(answers.logits) / temperature, dim=2).numpy()
    return reported(both_looks(looks[0], looks[1:], second_look), roll_up)
