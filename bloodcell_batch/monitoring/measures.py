"""What is watched: one row of `MEASURES` or one share of a class is one chart, one column, one name."""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bloodcell_batch.cell_classes import ClassList

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Cells:
    """Rows of a run or of one slide of it, as far as anything is measured on them.

    Attributes:
        files: image files.
        failed: those that could not be decoded.
        fields: those that are fields of view.
        empty_fields: those fields in which no cell was found.
        review: those cells that a person should look at.
        labels: number of cells of each class, as the program named them.
        columns: name of a column -> its values (cells,) for the cells that lie whole in their image.
        images_per_second: of the whole run; None where the record doesn't say it, and for a slide.
    """

    files: int
    failed: int
    fields: int
    empty_fields: int
    review: int
    labels: dict[str, int]
    columns: dict[str, Floats]
    images_per_second: float | None = None

    @property
    def count(self) -> int:
        """Cells that lie whole in their image, classified or not."""
        return len(self.columns[MEDIANS[0]])


@dataclass(frozen=True, slots=True)
class Reading:
    """One value of a measure; `total` is what a share is of, 0 for what is no share."""

    value: float
    total: int = 0


class Plain:
    """Values as they are; their SD is at least `resolution`."""

    def __init__(self, resolution: float) -> None:
        self._resolution = resolution

    def scaled(self, reading: Reading) -> float:
        """The value on which mean and SD are computed."""
        return reading.value

    def shown(self, scaled: float) -> float:
        """The value that a scaled one stands for."""
        return scaled

    def least_sd(self, _readings: Sequence[Reading]) -> float:
        """The smallest SD that a baseline can have."""
        return self._resolution


class Ratio(Plain):
    """Values above 0 that vary by factors: on their logarithms, so that half and double lie equally far away."""

    def scaled(self, reading: Reading) -> float:
        """As for `Plain`."""
        return math.log(max(reading.value, 1e-6))

    def shown(self, scaled: float) -> float:
        """As for `Plain`."""
        return math.exp(scaled)


class Share(Plain):
    """Percentages of counts: on their angles (Anscombe, Biometrika 35:246, 1948), on which the counting error is the
    same everywhere, and never with a smaller SD than that error."""

    def __init__(self) -> None:
        super().__init__(0.0)

    def scaled(self, reading: Reading) -> float:
        """As for `Plain`."""
        count = reading.value / 100 * reading.total
        return math.asin(math.sqrt((count + 3 / 8) / (reading.total + 3 / 4)))

    def shown(self, scaled: float) -> float:
        """As for `Plain`."""
        return 100 * math.sin(min(max(scaled, 0.0), math.pi / 2)) ** 2

    def least_sd(self, readings: Sequence[Reading]) -> float:
        """The counting error of a baseline run of the usual size."""
        return 0.5 / math.sqrt(statistics.median(reading.total for reading in readings) + 0.5)


@dataclass(frozen=True, slots=True)
class Measure:
    """One thing that is watched.

    Attributes:
        name: in tables, and in the file of accepted ranges.
        title: for people.
        unit: after a value; empty for none.
        digits: decimals that are shown.
        scale: on which mean and SD are computed.
        of: its reading; None where there is nothing to measure.
        judged: whether it can reject a run; else it is only shown.
    """

    name: str
    title: str
    unit: str
    digits: int
    scale: Plain
    of: Callable[[Cells], Reading | None]
    judged: bool = True

    def text(self, value: float) -> str:
        """A value with its unit."""
        return f"{value:,.{self.digits}f}{' ' + self.unit if self.unit else ''}"


MEDIANS = ("confidence", "outlier_score", "brightness", "contrast", "sharpness")
"""Columns of the image table of which the median is watched."""


def _percent(count: int, total: int) -> Reading | None:
    return Reading(100 * count / total, total) if total else None


def _median(column: str) -> Callable[[Cells], Reading | None]:
    def of(cells: Cells) -> Reading | None:
        values = cells.columns[column]
        values = values[~np.isnan(values)]
        return Reading(float(np.median(values))) if len(values) else None

    return of


def _class_share(name: str, leukocytes: tuple[str, ...]) -> Callable[[Cells], Reading | None]:
    return lambda cells: _percent(cells.labels.get(name, 0), sum(cells.labels.get(one, 0) for one in leukocytes))


def _speed(cells: Cells) -> Reading | None:
    return Reading(cells.images_per_second) if cells.images_per_second else None


_FIRST = (
    Measure("review_percent", "Left for review", "%", 1, Share(), lambda c: _percent(c.review, c.count)),
    Measure("failed_percent", "Failed files", "%", 2, Share(), lambda c: _percent(c.failed, c.files)),
    Measure(
        "empty_fields_percent",
        "Fields without cells",
        "%",
        1,
        Share(),
        lambda cells: _percent(cells.empty_fields, cells.fields),
    ),
    Measure("median_confidence", "Median confidence", "", 4, Plain(0.0005), _median("confidence")),
    Measure("median_outlier_score", "Median outlier score", "", 3, Ratio(0.002), _median("outlier_score")),
    Measure("median_brightness", "Median brightness", "", 1, Plain(0.1), _median("brightness")),
    Measure("median_contrast", "Median contrast", "", 1, Plain(0.1), _median("contrast")),
    Measure("median_sharpness", "Median sharpness", "", 0, Ratio(0.005), _median("sharpness")),
)
_LAST = (Measure("images_per_second", "Images per second", "/s", 1, Ratio(0.01), _speed, judged=False),)


@cache
def measures_of(classes: ClassList) -> tuple[Measure, ...]:
    """All measures of runs that report `classes`."""
    shares = (
        Measure(
            f"{name}_percent",
            f"{classes.by_name[name].title} of leukocytes",
            "%",
            1,
            Share(),
            _class_share(name, classes.leukocytes),
        )
        for name in classes.leukocytes
    )
    return (*_FIRST, *shares, *_LAST)


def readings_of(cells: Cells, classes: ClassList) -> dict[str, Reading]:
    """The readings of all measures by their names, without those that there is nothing for."""
    found: dict[str, Any] = {measure.name: measure.of(cells) for measure in measures_of(classes)}
    return {name: reading for name, reading in found.items() if reading is not None}
