"""Control slides: the ranges that a laboratory accepts for them, from its own file."""

import math
from dataclasses import dataclass
from pathlib import Path

from bloodcell_batch.errors import InputError, did_you_mean
from bloodcell_batch.files.sheets import SheetRow, read_sheet
from bloodcell_batch.monitoring.measures import Measure

_COLUMNS = ("measure", "low", "high")


@dataclass(frozen=True, slots=True)
class AcceptedRange:
    """Values of a measure from `low` to `high`, both of them too."""

    low: float
    high: float

    def holds(self, value: float) -> bool:
        """Whether a value is accepted."""
        return self.low <= value <= self.high


Ranges = dict[tuple[str, str], AcceptedRange]
"""By slide and measure; the slide is empty for all control slides."""


def read_ranges(path: Path, controls: tuple[str, ...], measures: tuple[Measure, ...]) -> Ranges:
    """Read accepted ranges: `.csv` or `.xlsx` with the columns measure, low, high, and slide_id if they differ.

    Args:
        path: the file.
        controls: the control slides.
        measures: what can be measured.

    Raises:
        InputError: unreadable, an unknown measure or slide, no number, an empty range, or one that is there twice; the
            text names the line.
    """
    sheet = read_sheet(path, _COLUMNS)
    names = [measure.name for measure in measures]
    found: Ranges = {}
    for row in sheet.rows:
        name, slide = row["measure"].strip(), row.values.get("slide_id", "").strip()
        if name not in names:
            hint = f"Known are {', '.join(names)}."
            raise InputError(
                f"{path}, line {row.line}: no measure {name!r}{did_you_mean(name, names) or '.'}", hint=hint
            )
        if slide and slide not in controls:
            hint = "Name it with --control too, or delete the line."
            raise InputError(f"{path}, line {row.line}: {slide!r} is no control slide.", hint=hint)
        if (slide, name) in found:
            raise InputError(f"{path}, line {row.line}: {name} has a range already.", hint="Delete one of the two.")
        low, high = (_number(path, row, column) for column in ("low", "high"))
        if low >= high:
            hint = "Give the lower limit under low and the upper one under high."
            raise InputError(f"{path}, line {row.line}: nothing lies between {low:g} and {high:g}.", hint=hint)
        found[slide, name] = AcceptedRange(low, high)
    if not found:
        raise InputError(f"{path} has no ranges.", hint="Give one line for each measure: measure, low, high.")
    return found


def range_of(ranges: Ranges, slide: str, measure: str) -> AcceptedRange | None:
    """The range of a control slide: its own, or else the one for all of them."""
    return ranges.get((slide, measure)) or ranges.get(("", measure))


def _number(path: Path, row: SheetRow, column: str) -> float:
    text = row[column].strip().removesuffix("%").strip()
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        hint = "Give both limits as plain numbers, such as 55 or 62.5."
        raise InputError(f"{path}, line {row.line}: {text!r} under {column} is no number.", hint=hint)
    return value
