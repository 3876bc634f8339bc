"""Which runs can be compared, and which of them are the baseline."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from bloodcell_batch.monitoring.history import WatchedRun
from bloodcell_batch.statistics.control_chart import FEWEST_RUNS

USUAL_BASELINE = 20
"""Runs of a baseline, unless somebody says otherwise (CLSI C24: at least 20 values on different days)."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """What the runs are compared with: the first `runs` of a period, or those up to and including the day `until`."""

    runs: int = USUAL_BASELINE
    until: date | None = None

    @property
    def text(self) -> str:
        """In words."""
        first = f"the first {self.runs} runs"
        return f"the runs up to {self.until}, or {first} of a later model" if self.until else first


@dataclass(frozen=True, slots=True)
class Period:
    """Runs of one model, with one list of classes and one set of thresholds, in a row.

    Attributes:
        runs: oldest first.
        why: what is new since the period before; empty for the first.
        baseline: how many of the runs, from the first on, are the baseline; 0 while it is not complete.
        missing: runs that the baseline lacks.
    """

    runs: tuple[WatchedRun, ...]
    why: str
    baseline: int
    missing: int


def periods_of(runs: Sequence[WatchedRun], baseline: Baseline) -> list[Period]:
    """Cut a history wherever the model, its classes or its thresholds change; every part has a baseline of its own."""
    parts: list[tuple[str, list[WatchedRun]]] = []
    for run in runs:
        why = "" if not parts else what_changed(parts[-1][1][-1], run)
        if why or not parts:
            parts.append((why, []))
        parts[-1][1].append(run)
    return [_period(tuple(found), why, baseline) for why, found in parts]


def what_changed(before: WatchedRun, after: WatchedRun) -> str:
    """Why two runs can't share a baseline, in words; empty if they can."""
    one, other = before.record, after.record
    changes = []
    if one.model.sha256 != other.model.sha256:
        changes.append(f"the model is {other.model.name} ({other.model.sha256[:12]})")
    if before.classes != after.classes:
        changes.append(f"the classes are {', '.join(after.classes.names)}")
    if one.thresholds != other.thresholds:
        changes.append(f"the thresholds are {', '.join(f'{k} {v:g}' for k, v in other.thresholds.items())}")
    return " and ".join(changes)


def what_else_changed(before: WatchedRun, after: WatchedRun) -> str:
    """What may change a figure a little, without another baseline, in words; empty if nothing did."""
    one, other = before.record, after.record
    changes = []
    if one.bloodcell_batch != other.bloodcell_batch:
        changes.append(f"version {other.bloodcell_batch} of the program")
    if one.backend.description != other.backend.description:
        changes.append(f"the backend {other.backend.description}")
    return " and ".join(changes)


def _period(runs: tuple[WatchedRun, ...], why: str, baseline: Baseline) -> Period:
    until = baseline.until
    early = 0 if until is None else sum(run.started.date() <= until for run in runs)
    wanted = max(early, FEWEST_RUNS) if early else baseline.runs
    found = early or min(wanted, len(runs))
    missing = max(wanted - found, 0)
    return Period(runs, why, 0 if missing else found, missing)
