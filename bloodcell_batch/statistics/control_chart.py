"""Levey-Jennings limits from a baseline of runs, and the Westgard rules that they carry.

Limits are mean ± 1, 2, 3 SD, all of them times one factor that says how much is watched at once and how little is known
of it: see `width_of`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from scipy.special import ndtr, stdtrit

FEWEST_RUNS = 5
"""A mean and an SD of fewer say nothing."""


class Rule(StrEnum):
    """What a value can break."""

    WARNING = "1-2s"
    """It lies beyond 2 SD: look, and go on."""
    BEYOND_3S = "1-3s"
    """It lies beyond 3 SD: rejected."""
    TWICE_BEYOND_2S = "2-2s"
    """It and the value before it lie beyond 2 SD on one side: rejected."""
    RANGE = "range"
    """It lies outside of the range that somebody accepts: rejected."""

    @property
    def rejects(self) -> bool:
        """Whether the run is rejected, not only looked at."""
        return self is not Rule.WARNING


@dataclass(frozen=True, slots=True)
class Limits:
    """Mean and SD of a baseline, and the factor by which the limits are wider than the SD alone."""

    mean: float
    sd: float
    width: float

    def at(self, score: float) -> float:
        """The value that lies so many (widened) SD above the mean."""
        return self.mean + score * self.width * self.sd

    def score(self, value: float) -> float:
        """How many (widened) SD a value lies above the mean."""
        return (value - self.mean) / (self.width * self.sd)


def limits_of(values: Sequence[float], measures: int, least_sd: float) -> Limits:
    """The limits that a baseline gives to the values after it.

    Args:
        values: of the baseline, at least `FEWEST_RUNS`.
        measures: number of measures that are watched at once.
        least_sd: above 0; the SD is not taken to be smaller than this, whatever the baseline says.
    """
    count = len(values)
    mean = math.fsum(values) / count
    sd = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    return Limits(mean, max(sd, least_sd), width_of(count, measures))


def width_of(runs: int, measures: int) -> float:
    """How many times wider than ± 1, 2, 3 SD the limits are.

    Chosen such that a run which is like the baseline is beyond 3 SD in any of the measures with a chance of at most
    0.27 %, as one measure of known mean and SD is: the two tails are divided by the number of measures (Bonferroni),
    and the quantile is that of a prediction from so many runs, Student's t times sqrt(1 + 1/runs).
    """
    tail = float(ndtr(-3.0)) / measures
    quantile = -float(stdtrit(runs - 1, tail))
    return quantile * math.sqrt(1 + 1 / runs) / 3


def rules_broken(scores: Sequence[float | None]) -> list[Rule | None]:
    """The gravest rule that each of some values in a row breaks, by their scores; None breaks none and separates."""
    found: list[Rule | None] = []
    before: float | None = None
    for score in scores:
        found.append(None if score is None else _broken(score, before))
        before = score
    return found


def _broken(score: float, before: float | None) -> Rule | None:
    if abs(score) > 3:
        return Rule.BEYOND_3S
    if abs(score) <= 2:
        return None
    again = before is not None and abs(before) > 2 and (before > 0) == (score > 0)
    return Rule.TWICE_BEYOND_2S if again else Rule.WARNING


def strangers(values: Sequence[float], measures: int, least_sd: float) -> list[int]:
    """Places of the values of a baseline that lie beyond 3 SD of the others, as a run after them would be judged; with
    the number of values told like that of measures, for each of them could be the one."""
    if len(values) <= FEWEST_RUNS:
        return []
    found = []
    for place, value in enumerate(values):
        others = [*values[:place], *values[place + 1 :]]
        if abs(limits_of(others, measures * len(values), least_sd).score(value)) > 3:
            found.append(place)
    return found
