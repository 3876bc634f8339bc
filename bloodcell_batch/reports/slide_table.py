"""The slide table with the additions that a laboratory asks for: adequacy target, reference ranges, adjustment."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from bloodcell_batch.cell_classes import LEUKOCYTES
from bloodcell_batch.differential.error_adjustment import LABEL, AdjustedShare
from bloodcell_batch.differential.reference_ranges import NRBC_KEY, Position, ReferenceRanges
from bloodcell_batch.records import SlideDifferential
from bloodcell_batch.results.tables import SLIDE_COLUMNS, Column, Value, schema_of, to_batch


@dataclass(frozen=True, slots=True)
class Additions:
    """What to add to the slide table; nothing by default. `adjusted` is keyed by slide, then by class."""

    min_wbc: int | None = None
    ranges: ReferenceRanges | None = None
    adjusted: Mapping[str, Mapping[str, AdjustedShare]] | None = None


def slide_table(slides: Sequence[SlideDifferential], additions: Additions) -> pa.RecordBatch:
    """The slide table of `classify` with the columns of `additions` at its end."""
    columns = (*SLIDE_COLUMNS, *_target_columns(additions), *_range_columns(additions), *_adjusted_columns(additions))
    return to_batch(slides, columns, schema_of(columns))


def range_position(slide: SlideDifferential, name: str, ranges: ReferenceRanges) -> Position | None:
    """Where a class (or the nRBC) of a slide lies; None without a range or without leukocytes."""
    found = ranges.ranges.get(name)
    if found is None:
        return None
    if name == NRBC_KEY:
        return None if slide.nrbc_per_100_wbc is None else found.position(slide.nrbc_per_100_wbc)
    share = slide.shares[name]
    return None if share.percent is None else found.position(share.percent, share.percent_low, share.percent_high)


def _target_columns(additions: Additions) -> tuple[Column[SlideDifferential], ...]:
    target = additions.min_wbc
    if target is None:
        return ()
    return (
        Column("min_wbc", pa.int64(), lambda _: target, "leukocytes that were asked for"),
        Column("min_wbc_reached", pa.bool_(), lambda s: s.wbc_counted >= target, "wbc_counted is at least min_wbc"),
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


def _adjusted_columns(additions: Additions) -> tuple[Column[SlideDifferential], ...]:
    adjusted = additions.adjusted
    if adjusted is None:
        return ()

    def value(name: str, field: str) -> Callable[[SlideDifferential], Value]:
        def share(slide: SlideDifferential) -> Value:
            found = adjusted[slide.slide_id].get(name)
            return None if found is None else round(getattr(found, field), 4)

        return share

    return tuple(
        Column(f"{name}_percent_adjusted{suffix}", pa.float64(), value(name, field), f"{meaning}{LABEL}")
        for name in LEUKOCYTES
        for suffix, field, meaning in (
            ("", "percent", ""),
            ("_low", "low", "lower 95 % limit of the "),
            ("_high", "high", "upper 95 % limit of the "),
        )
    )
