"""Differentials from elsewhere, by hand or from an analyser: one row per slide, percentages per class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bloodcell_batch.errors import InputError
from bloodcell_batch.files.sheets import SheetRow, read_sheet

_HINT = "Give a CSV or XLSX file with the column slide_id and columns of percentages named after the classes"
_ROUNDING = 1.0  # percentages rounded to whole numbers need not add up to 100


@dataclass(frozen=True, slots=True)
class ManualCount:
    """One slide: percent of leukocytes per class, as far as given."""

    slide_id: str
    percent: dict[str, float]

    @property
    def is_partial(self) -> bool:
        """Whether the percentages leave room for other leukocytes; if there were none, they may be counts."""
        return bool(self.percent) and sum(self.percent.values()) < 100 - _ROUNDING


def load_manual_counts(path: Path, leukocytes: Sequence[str]) -> tuple[ManualCount, ...]:
    """Read the file, which may have a column for each of the classes `leukocytes`.

    Raises:
        InputError: unreadable, no slides or classes, a slide twice, a value that is not a percentage, or shares (0.6)
            and counts where percentages are meant.
    """
    sheet = read_sheet(path, ("slide_id",))
    columns = _class_columns(path, sheet.columns, leukocytes)
    counts: dict[str, ManualCount] = {}
    for row in sheet.rows:
        where = f"{path}, line {row.line}"
        count = _count(row, columns, len(leukocytes), where)
        if count.slide_id in counts:
            raise InputError(f"{where}: the slide {count.slide_id!r} is there twice.", hint="Delete one of the two.")
        counts[count.slide_id] = count
    return tuple(counts.values())


def _class_columns(path: Path, columns: tuple[str, ...], leukocytes: Sequence[str]) -> dict[str, str]:
    """The column of each class that has one."""
    found: dict[str, str] = {}
    for name in leukocytes:
        named = [column for column in (name, f"{name}_percent") if column in columns]
        if len(named) > 1:
            raise InputError(f"{path} has the columns {named[0]} and {named[1]} for one class.", hint="Keep one.")
        if named:
            found[name] = named[0]
        elif f"{name}_count" in columns:
            hint = "Divide by the slide's leukocytes, multiply by 100, and name the column after the class."
            raise InputError(f"{path} has counts ({name}_count), but percentages are compared.", hint=hint)
    if not found:
        hint = f"{_HINT}: {', '.join(leukocytes)}, with or without _percent."
        raise InputError(f"{path} has no column named after a class.", hint=hint)
    return found


def _count(row: SheetRow, columns: Mapping[str, str], classes: int, where: str) -> ManualCount:
    percent: dict[str, float] = {}
    signs = set()
    for name, column in columns.items():
        text = row[column].strip()
        if not text:
            continue
        signs.add(text.endswith("%"))
        try:
            percent[name] = float(text.removesuffix("%").strip().replace(",", "."))
        except ValueError as error:
            raise InputError(
                f"{where}: {column} is {row[column]!r}, which is not a number.", hint=f"{_HINT}."
            ) from error
        if not 0 <= percent[name] <= 100:
            raise InputError(f"{where}: {column} is {row[column]!r}, not in 0-100.", hint=f"{_HINT}.")
    _check_sum(percent, where, complete=len(percent) == classes, shares=signs == {False})
    return ManualCount(row["slide_id"], percent)


def _check_sum(percent: Mapping[str, float], where: str, *, complete: bool, shares: bool) -> None:
    """Percentages of leukocytes add up to 100, or to less unless `complete`; `shares`: they may be 0.6
    where 60 is meant, since none has a percent sign."""
    total = sum(percent.values())
    if shares and percent and max(percent.values()) <= 1 and total > 0.5:
        hint = (
            "Write 60 or 60%, not 0.6: Excel holds a percentage as a share of 1 and saves it so if the format is lost."
        )
        raise InputError(f"{where}: the percentages add up to {total:g}: these are shares of 1.", hint=hint)
    if total > 100 + _ROUNDING or (complete and total < 100 - _ROUNDING):
        hint = "Give percentages, not counts; the denominator is all leukocytes: nucleated red cells are outside."
        raise InputError(f"{where}: the percentages add up to {total:g}.", hint=hint)
