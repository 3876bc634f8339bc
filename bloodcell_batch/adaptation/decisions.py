"""Temperature, review and outlier threshold of an adapted model, from cells that its trainings did not see."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from bloodcell_batch.adaptation.figures import Judgement, judged
from bloodcell_batch.adaptation.trainings import Answers
from bloodcell_batch.cell_classes import RollUp
from bloodcell_batch.stages.infer import reported
from bloodcell_batch.training.evaluation.metrics import Rules
from bloodcell_batch.training.fit.calibration import fit_temperature, review_threshold

_ERROR = 0.02  # among the cells that the review threshold lets pass
_LEFT = 0.12  # of the cells, at most, that it holds back for that
_PASSING = 0.98  # of the cells, that the outlier threshold lets pass


@dataclass(frozen=True, slots=True)
class Decisions:
    """What stands between logits and decisions."""

    temperature: float
    rules: Rules
    roll_up: RollUp

    def judgement(self, answers: Answers, truth: NDArray[np.int64]) -> Judgement:
        """Decisions about cells of the reported classes `truth`."""
        return judged(self._probabilities(answers), answers.scores, truth, self.rules)

    def _probabilities(self, answers: Answers) -> NDArray[np.float32]:
        return _reported(answers, self.temperature, self.roll_up)


def fit_decisions(answers: list[Answers], labels: NDArray[np.int64], roll_up: RollUp) -> Decisions:
    """Fit them to the answers of each repeat of a cross-validation.

    Args:
        answers: about all cells, one for each repeat.
        labels: int64 (N,), as the outputs are numbered.
        roll_up: from outputs to the classes that decisions are about.
    """
    pooled = Answers(
        np.concatenate([part.logits for part in answers]), np.concatenate([part.scores for part in answers])
    )
    every = np.tile(labels, len(answers))
    temperature = fit_temperature(torch.from_numpy(pooled.logits), torch.from_numpy(every))
    probabilities = _reported(pooled, temperature, roll_up)
    review = review_threshold(probabilities, np.array(roll_up.target)[every], _ERROR, _LEFT)
    return Decisions(temperature, Rules(review, float(np.quantile(pooled.scores, _PASSING))), roll_up)


def _reported(answers: Answers, temperature: float, roll_up: RollUp) -> NDArray[np.float32]:
    probabilities = torch.softmax(torch.from_numpy(answers.logits) / temperature, dim=1).numpy()
    return reported(probabilities, roll_up)
