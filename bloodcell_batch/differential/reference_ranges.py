"""Reference ranges of the user's own laboratory. None are shipped: published ones disagree with each other."""

from enum import StrEnum
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bloodcell_batch.cell_classes import ClassList
from bloodcell_batch.config.problems import first_problem
from bloodcell_batch.errors import InputError
from bloodcell_batch.files.toml import read_toml

NRBC_KEY = "nrbc_per_100_wbc"
_EXAMPLE = 'For example: name = "adults, our laboratory, 2026", then [neutrophil] with low = 40.0 and high = 75.0. '


class Position(StrEnum):
    """Where a value lies with respect to a range; `possibly` where its 95 % limits reach into the range."""

    WITHIN = "within"
    BELOW = "below"
    ABOVE = "above"
    POSSIBLY_BELOW = "possibly below"
    POSSIBLY_ABOVE = "possibly above"


class Range(BaseModel):
    """An inclusive range, in percent of leukocytes (nRBC: per 100 leukocytes)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    low: float = Field(ge=0)
    high: float = Field(ge=0)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low ({self.low:g}) is above high ({self.high:g})")
        return self

    def position(self, value: float, low: float | None = None, high: float | None = None) -> Position:
        """Where `value` with the limits `low` and `high` lies."""
        if value < self.low:
            return Position.BELOW if high is None or high < self.low else Position.POSSIBLY_BELOW
        if value > self.high:
            return Position.ABOVE if low is None or low > self.high else Position.POSSIBLY_ABOVE
        return Position.WITHIN


class ReferenceRanges(BaseModel):
    """The user's file: a name for the reports, and a range per class, as far as there are any."""

    model_config = ConfigDict(frozen=True)

    name: str
    ranges: dict[str, Range]


def load_reference_ranges(path: Path | None, classes: ClassList) -> ReferenceRanges | None:
    """Read a TOML file of ranges for the leukocytes of `classes`; None without one.

    Raises:
        InputError: unreadable, no TOML, an unknown class, or an impossible range.
    """
    if path is None:
        return None
    measured = (*classes.leukocytes, *([NRBC_KEY] if classes.nrbc else []))
    hint = f"{_EXAMPLE}The results have: {', '.join(measured)}."
    try:
        content = read_toml(path)
    except OSError as error:
        raise InputError(f"Can't read the reference ranges {path}: {error.strerror}.", hint=hint) from error
    except ValueError as error:
        raise InputError(f"The reference ranges {path} are not valid TOML: {error}.", hint=hint) from error
    name = content.pop("name", path.name)
    unknown = [key for key in content if key not in measured]
    if unknown or not content:
        what = f"unknown name {unknown[0]!r}" if unknown else "no ranges"
        raise InputError(f"The reference ranges {path} have {what}.", hint=hint)
    try:
        return ReferenceRanges.model_validate({"name": name, "ranges": content})
    except ValidationError as error:
        problem = first_problem(error).removeprefix("ranges.")
        raise InputError(f"The reference ranges {path} are wrong at {problem}.", hint=hint) from error
