"""What `monitor` has to say, in words: for a terminal, a mail from cron, and the top of the page."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from bloodcell_batch.monitoring.history import WatchedRun
from bloodcell_batch.monitoring.judgement import Finding, JudgedPeriod
from bloodcell_batch.monitoring.periods import what_else_changed
from bloodcell_batch.progress import counted

_LISTED = 5


@dataclass(frozen=True, slots=True)
class Remarks:
    """Gravest first: runs that a rule rejects, what else a person should know, and what is as it should be."""

    rejected: tuple[str, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]


def remarks_of(periods: Sequence[JudgedPeriod], controls: Sequence[str]) -> Remarks:
    """What there is to say about a history."""
    *earlier, newest = periods
    return Remarks(
        rejected=tuple(_rejected(newest)),
        warnings=(*_warned(newest), *_baselines(newest), *_missing(newest, controls)),
        notes=(*(line for judged in earlier for line in _history(judged)), *_breaks(periods), *_small(periods)),
    )


def fired(findings: Sequence[Finding], run: WatchedRun) -> str:
    """All rules that a run breaks, in words."""
    found = [f"{one.rule.value}: {one.text}" for one in findings if one.run is run]
    more = f"; and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    return "; ".join(found[:_LISTED]) + more


def _rejected(judged: JudgedPeriod) -> Iterator[str]:
    rejections = judged.rejections
    if not rejections:
        return
    first, newest = rejections[0].run, judged.period.runs[-1]
    yield f"{first.name} of {first.day} is the first run that left the baseline: {fired(rejections, first)}"
    runs = list(dict.fromkeys(one.run.name for one in rejections))
    if newest.name in runs and newest is not first:
        yield f"{newest.name} of {newest.day}, the newest run, is outside of it: {fired(rejections, newest)}"
    after = judged.period.runs[judged.period.runs.index(first) :]
    if len(runs) > 1:
        yield f"{len(runs)} of the {counted(len(after), 'run')} since then are rejected"


def _warned(judged: JudgedPeriod) -> Iterator[str]:
    newest = judged.period.runs[-1]
    warned = [one for one in judged.findings if one.run is newest and not one.rule.rejects]
    if warned:
        yield f"{newest.name} of {newest.day}, the newest run: {fired(warned, newest)}"
    if any(point.run is newest and point.few for one in judged.series for point in one.points):
        cells = counted(newest.whole.cells, "cell")
        yield f"{newest.name} of {newest.day}, the newest run, has too few cells to be judged in full: {cells}"


def _baselines(judged: JudgedPeriod) -> Iterator[str]:
    if judged.period.missing:
        have = len(judged.period.runs)
        missing = counted(judged.period.missing, "more run")
        yield f"no run is judged yet: the baseline needs {missing}, there are {have} of this model"
    for run, text in judged.strange[:_LISTED]:
        yield f"{run.name} of {run.day} is in the baseline, and outside of the rest of it: {text}"


def _missing(judged: JudgedPeriod, controls: Sequence[str]) -> Iterator[str]:
    for control in controls:
        lacking = [run for run in judged.period.runs if control not in run.slides]
        if lacking:
            named = ", ".join(run.name for run in lacking[-_LISTED:])
            yield f"control slide {control} is missing in {counted(len(lacking), 'run')}, last in {named}"


def _history(judged: JudgedPeriod) -> Iterator[str]:
    if judged.rejections:
        first = judged.rejections[0].run
        yield f"under an earlier model, {first.name} of {first.day} was the first to leave its baseline"


def _breaks(periods: Sequence[JudgedPeriod]) -> Iterator[str]:
    for judged in periods:
        runs = judged.period.runs
        if judged.period.why:
            yield f"a new baseline begins with {runs[0].name} of {runs[0].day}: {judged.period.why}"
        for before, after in pairwise(runs):
            if changed := what_else_changed(before, after):
                yield f"from {after.name} of {after.day} on: {changed}, with the same baseline"


def _small(periods: Sequence[JudgedPeriod]) -> Iterator[str]:
    few = {
        point.run.name: None
        for judged in periods
        for one in judged.series
        for point in one.points
        if point.few and not one.subject
    }
    if few:
        yield (
            f"with less than half the cells of the smallest baseline run, not judged: {', '.join([*few][:_LISTED])}"
            + (f" and {len(few) - _LISTED} more" if len(few) > _LISTED else "")
        )
