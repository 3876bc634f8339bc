"""Differentials from elsewhere, by hand or from an analyser: one row per slide, percentages per class."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bloodcell_batch.cell_classes import LEUKOCYTES
from bloodcell_batch.errors import InputError
from bloodcell_batch.results.table_reading import read_records

_HINT = (
    "Give a CSV or XLSX file with the column slide_id and columns of percentages named after the classes "
    f"({', '.join(LEUKOCYTES)}, with or without _percent)."
)
_ROUNDING = 1.0  # percentages rounded to whole numbers need not add up to 100


@dataclass(frozen=True, slots=True)
class ManualCount:
    """One slide: percent of leukocytes per class, as far as given."""

    slide_id: str
    percent: dict[str, float]


def load_manual_counts(path: Path) -> tuple[ManualCount, ...]:
    """Read the file.

    Raises:
        InputError: unreadable, no slides or classes, a slide twice, or a value that is no percentage.
    """
    records = read_records(path)
    columns = {name: column for name in LEUKOCYTES for column in (name, f"{name}_percent") if column in _names(records)}
    if "slide_id" not in _names(records) or not columns:
        raise InputError(f"{path} has no column slide_id, or none named after a class.", hint=_HINT)
    counts: dict[str, ManualCount] = {}
    for line, record in enumerate(records, start=2):
        count = _count(record, columns, f"{path}, row {line}")
        if count.slide_id in counts:
            raise InputError(f"{path}, row {line}: the slide {count.slide_id!r} is there twice.", hint=_HINT)
        counts[count.slide_id] = count
    return tuple(counts.values())


def _names(records: list[dict[str, str]]) -> set[str]:
    return set(records[0]) if records else set()


def _count(record: Mapping[str, str], columns: Mapping[str, str], where: str) -> ManualCount:
    percent: dict[str, float] = {}
    for name, column in columns.items():
        text = record[column].strip().removesuffix("%").strip().replace(",", ".")
        if not text:
            continue
        try:
            percent[name] = float(text)
        except ValueError as error:
            raise InputError(f"{where}: {column} is {record[column]!r}, which is no number.", hint=_HINT) from error
        if not 0 <= percent[name] <= 100:
            raise InputError(f"{where}: {column} is {record[column]!r}, not in 0-100.", hint=_HINT)
    total = sum(percent.values())
    if total > 100 + _ROUNDING or (len(percent) == len(LEUKOCYTES) and total < 100 - _ROUNDING):
        hint = "The denominator is all leukocytes; nucleated red cells and smudge cells are outside."
        raise InputError(f"{where}: the percentages add up to {total:g}.", hint=hint)
    return ManualCount(record["slide_id"], percent)
