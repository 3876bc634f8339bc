import math

import numpy as np
import pytest

from bloodcell_batch.statistics.control_chart import Limits, Rule, limits_of, rules_broken, strangers, width_of


def test_width_is_that_of_a_prediction_by_students_t() -> None:
    # One measure, 20 runs: t with 19 degrees of freedom leaves 0.135 % above 3.4472 (R: qt(0.00135, 19, FALSE));
    # 3.4472 * sqrt(1 + 1/20) / 3 = 1.1775.
    assert width_of(20, 1) == pytest.approx(1.1775, abs=2e-4)
    # 13 measures: 0.135 % / 13 = 0.010384 % above 4.5732; 4.5732 * 1.02470 / 3 = 1.5621.
    assert width_of(20, 13) == pytest.approx(1.5621, abs=2e-4)
    # As many runs as one likes and one measure: the plain ± 1, 2, 3 SD.
    assert width_of(10**7, 1) == pytest.approx(1, abs=1e-5)


def test_limits_are_mean_and_sd_of_the_baseline() -> None:
    # mean 12; squares 16 + 4 + 0 + 4 + 16 = 40; SD = sqrt(40 / 4) = 3.1623
    limits = limits_of([8, 10, 12, 14, 16], 1, 0.1)
    assert limits.mean == 12
    assert limits.sd == pytest.approx(math.sqrt(10))
    assert limits.at(-2) == pytest.approx(12 - 2 * width_of(5, 1) * math.sqrt(10))
    assert limits.score(limits.at(2.5)) == pytest.approx(2.5)


def test_the_sd_has_a_lower_limit() -> None:
    assert limits_of([3.0] * 6, 4, 0.25).sd == 0.25
    assert Limits(3.0, 0.25, 2.0).score(4.0) == 2.0


@pytest.mark.parametrize(
    ("scores", "rules"),
    [
        ([0, 1.9, -2.0], [None, None, None]),
        ([2.1, 1.0, 2.1], ["1-2s", None, "1-2s"]),
        ([2.1, 2.2, 2.3], ["1-2s", "2-2s", "2-2s"]),
        ([2.1, -2.2], ["1-2s", "1-2s"]),
        ([-3.1, -2.2, 0], ["1-3s", "2-2s", None]),
        ([2.5, None, 2.5], ["1-2s", None, "1-2s"]),
    ],
)
def test_rules(scores: list[float | None], rules: list[str | None]) -> None:
    assert rules_broken(scores) == rules


def test_only_one_rule_does_not_reject() -> None:
    assert [rule.value for rule in Rule if not rule.rejects] == ["1-2s"]


def test_runs_like_the_baseline_are_rejected_as_seldom_as_promised() -> None:
    """13 independent measures, 20 runs of baseline, 20,000 runs after it: 0.27 % is the most for 1-3s, and no more than
    chance explains beside it."""
    rng = np.random.default_rng(0)
    baselines, after, measures = 2000, 10, 13
    rejected = 0
    for _ in range(baselines):
        scores = []
        for values in rng.normal(size=(measures, 20)):
            limits = limits_of(values.tolist(), measures, 1e-6)
            scores.append((rng.normal(size=after) - limits.mean) / (limits.width * limits.sd))
        rejected += int((np.abs(scores) > 3).any(axis=0).sum())
    runs = baselines * after
    assert rejected / runs < 0.0027 + 3 * math.sqrt(0.0027 / runs)
    assert rejected / runs > 0.001  # and no wider than need be


def test_a_stranger_in_the_baseline_is_found() -> None:
    values = np.random.default_rng(1).normal(100, 1, 20).tolist()
    assert strangers(values, 13, 0.1) == []
    values[7] = 115.0
    assert strangers(values, 13, 0.1) == [7]
    assert strangers(values[5:10], 13, 0.1) == []  # too few to say
