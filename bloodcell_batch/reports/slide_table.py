"""The slide table with the additions that a laboratory asks for: adequacy target and reference ranges."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from bloodcell_batch.cell_classes import ClassList
from bloodcell_batch.differential.absolute import AbsoluteCounts, Concentration
from bloodcell_batch.differential.reference_ranges import NRBC_KEY, Position, ReferenceRanges
from bloodcell_batch.progress import SlideDifferential, counted
from bloodcell_batch.results.tables import Column, Value, schema_of, slide_columns, to_batch


@dataclass(frozen=True, slots=True)
class Additions:
    """What to add to the slide table; nothing by default."""

    min_wbc: int | None = None
    ranges: ReferenceRanges | None = None
    absolute: Mapping[str, AbsoluteCounts] = field(default_factory=dict)


def slide_table(slides: Sequence[SlideDifferential], classes: ClassList, additions: Additions) -> pa.RecordBatch:
    """The slide table of a run that reports `classes` with the columns of `additions` at its end."""
    columns = (*slide_columns(classes), *_target_columns(additions), *_range_columns(additions))
    if additions.absolute:
        columns += _absolute_columns(classes, additions.absolute)
    return to_batch(slides, columns, schema_of(columns))


def reaches(slide: SlideDifferential, target: int) -> bool:
    """Whether the leukocytes of a slide reach a target and support percentages."""
    return slide.withheld is None and slide.wbc_counted >= target


def range_position(slide: SlideDifferential, name: str, ranges: ReferenceRanges) -> Position | None:
    """Where a class (or the nRBC) of a slide lies; None without a range or a value."""
    found = ranges.ranges.get(name)
    if found is None:
        return None
    if name == NRBC_KEY:
        rate = slide.nrbc_per_100_wbc
        return None if rate is None else found.position(rate, slide.nrbc_per_100_wbc_low, slide.nrbc_per_100_wbc_high)
    share = slide.shares[name]
    return None if share.percent is None else found.position(share.percent, share.percent_low, share.percent_high)


def remarks(slides: Sequence[SlideDifferential], additions: Additions) -> list[str]:
    """A sentence for every slide that misses the target, and for every value outside of its range."""
    found = []
    for slide in slides:
        if additions.min_wbc is not None and slide.wbc_counted < additions.min_wbc:
            counts = counted(slide.wbc_counted, "leukocyte")
            found.append(f"slide {slide.slide_id}: {counts}, fewer than the {additions.min_wbc} asked for")
        for name, span in (additions.ranges.ranges if additions.ranges else {}).items():
            position = range_position(slide, name, additions.ranges) if additions.ranges else None
            if position not in {None, Position.WITHIN}:
                found.append(f"slide {slide.slide_id}: {name} {position} {span.low:g}-{span.high:g}")
    return found


def _target_columns(additions: Additions) -> tuple[Column[SlideDifferential], ...]:
    target = additions.min_wbc
    if target is None:
        return ()
    return (
        Column("min_wbc", pa.int64(), lambda _: target, "leukocytes that were asked for"),
        Column(
            "min_wbc_reached",
            pa.bool_(),
            lambda s: reaches(s, target),
            "wbc_counted is at least min_wbc, and nothing is withheld",
        ),
    )


def _range_columns(additions: Additions) -> tuple[Column[SlideDifferential], ...]:
    ranges = additions.ranges
    if ranges is None:
        return ()

    def value(name: str) -> Callable[[SlideDifferential], Value]:
        def position(slide: SlideDifferential) -> Value:
            found = range_position(slide, name, ranges)
            return None if found is None else found.value

        return position

    return tuple(
        Column(f"{name}_range", pa.string(), value(name), f"against {span.low:g}-{span.high:g} of {ranges.name}")
        for name, span in ranges.ranges.items()
    )


def _absolute_columns(
    classes: ClassList, absolute: Mapping[str, AbsoluteCounts]
) -> tuple[Column[SlideDifferential], ...]:
    def of(get: Callable[[AbsoluteCounts], Value]) -> Callable[[SlideDifferential], Value]:
        def value(slide: SlideDifferential) -> Value:
            found = absolute.get(slide.slide_id)
            return None if found is None else get(found)

        return value

    def three(
        name: str, get: Callable[[AbsoluteCounts], Concentration], meaning: str
    ) -> tuple[Column[SlideDifferential], ...]:
        column = f"{name}_10e9_per_l"
        return (
            Column(column, pa.float64(), of(lambda a: _rounded(get(a).value)), meaning),
            Column(f"{column}_low", pa.float64(), of(lambda a: _rounded(get(a).low)), "lower 95 % limit"),
            Column(f"{column}_high", pa.float64(), of(lambda a: _rounded(get(a).high)), "upper 95 % limit"),
        )

    return (
        Column("wbc_given_10e9_per_l", pa.float64(), of(lambda a: a.given.wbc), "leukocytes, as the analyser said"),
        Column("nrbc_corrected_by", pa.string(), of(lambda a: a.corrected.value), "who took nucleated red cells out"),
        *three("wbc", lambda a: a.leukocytes, "leukocytes without nucleated red cells, 10⁹/l"),
        *(
            column
            for name in classes.leukocytes
            for column in three(name, lambda a, name=name: a.classes[name], "cells, 10⁹/l")  # type: ignore[misc]
        ),
    )


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 5)
