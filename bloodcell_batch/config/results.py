"""Options of the commands that work on the results of `classify`, one frozen model per command."""

import re
from datetime import date
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from bloodcell_batch.config.base import CommandConfig, Effect, Option, Panel
from bloodcell_batch.config.fields import AuditedConfig, CsvDialectOption, ModelOption, OverwriteOption

_FEWEST_RUNS = 5
_USUAL_RUNS = "20"
ReviewScope = Literal["flagged", "unclassified", "all"]

ImagesOption = Annotated[
    Path | None,
    Field(description="Folder that was classified, for the thumbnails; the one in the run record if not given"),
    Option("FOLDER"),
]
ReferenceRangesOption = Annotated[
    Path | None, Field(description="TOML file with the ranges of your own laboratory"), Option("FILE")
]

WbcOption = Annotated[
    Path | None,
    Field(
        description="CSV or XLSX with an analyser's leukocytes per slide, for absolute counts: columns slide_id, wbc, "
        "unit (/µl or 10⁹/l), nrbc_corrected (yes or no)"
    ),
    Option("FILE"),
]


class ResultsConfig(AuditedConfig):
    """What they all share."""

    pseudonymize: Annotated[Path | None, Option("KEYFILE", panel=Panel.OUTPUT)] = Field(
        None, description="Replace slides, paths and hashes by codes under the secret key in this file"
    )
    overwrite: OverwriteOption = Field(False, description="Replace existing output")


class CountsConfig(ResultsConfig):
    """Options of the commands that show differentials."""

    min_wbc: Annotated[Literal[100, 200, 400] | None, Option()] = Field(
        None, description="Leukocytes that a slide should have; slides with fewer are named"
    )
    reference_ranges: ReferenceRangesOption = None
    wbc: WbcOption = None


class DifferentialConfig(CountsConfig):
    """Options of `differential`."""

    csv_dialect: CsvDialectOption = "plain"


class ReportConfig(CountsConfig):
    """Options of `report`."""

    images: ImagesOption = None
    gallery: Annotated[int, Option("CELLS", panel=Panel.OUTPUT)] = Field(
        12, ge=0, le=10_000, description="Thumbnails per class and slide, least certain first"
    )
    queue: Annotated[int, Option("CELLS", panel=Panel.OUTPUT)] = Field(
        60, ge=0, le=100_000, description="Thumbnails of cells for review, per slide"
    )
    thumbnail: Annotated[int, Option("PIXELS", panel=Panel.OUTPUT)] = Field(
        72, ge=32, le=256, description="Side of a thumbnail in pixels"
    )


class ReviewFileConfig(ResultsConfig):
    """Options of the commands that write a file for a person to fill in."""

    images: ImagesOption = None
    thumbnail: Annotated[int | None, Option("PIXELS", panel=Panel.OUTPUT)] = Field(
        None, ge=32, le=512, description="Side of a picture in pixels; 256 in a page and 160 in a workbook if not given"
    )


class ReviewExportConfig(ReviewFileConfig):
    """Options of `review export`."""

    cells: Annotated[ReviewScope, Option()] = Field("flagged", description="Cells to show to a person")
    sample: Annotated[int | None, Option("N")] = Field(
        None, ge=1, description="Show N cells drawn at random from all, to measure the accuracy without bias"
    )
    for_adaptation: Annotated[int | None, Option("N")] = Field(
        None, ge=1, description="Show N cells that are unlike each other, by their images, to adapt a model with"
    )
    model: ModelOption = Field(
        None,
        description="For --for-adaptation: model file that made the results; if not given, the one in the package",
    )
    seed: Annotated[int, Option("N")] = Field(
        0, ge=0, le=2**31, description="Seed of the random choice of cells and of their order with --blind"
    )
    blind: Annotated[bool, Option()] = Field(
        False, description="Leave out what the program and earlier readers said, and show the cells in random order"
    )

    @model_validator(mode="after")
    def _one_choice_of_cells(self) -> Self:
        chosen = {"cells", "sample", "for_adaptation"} & {
            name for name in self.model_fields_set if getattr(self, name) is not None
        }
        if len(chosen) > 1:
            one, other = sorted("--" + name.replace("_", "-") for name in chosen)[:2]
            raise ValueError(f"{one} and {other} exclude each other: both say which cells to show")
        if self.model is not None and self.for_adaptation is None:
            raise ValueError("--model is for --for-adaptation")
        return self


class ReviewAgreeConfig(ReviewFileConfig):
    """Options of `review agree`."""


class ReviewImportConfig(ResultsConfig):
    """Options of `review import`."""

    by: Annotated[str | None, Option("NAME")] = Field(
        None, min_length=1, description="Who verified, for rows that don't say it"
    )
    partial: Annotated[bool, Option()] = Field(
        False, description="Accept a review in which some cells have no label yet"
    )


class ConcordanceConfig(ResultsConfig):
    """Options of `concordance`."""

    reference_ranges: ReferenceRangesOption = None


class DiffConfig(ResultsConfig):
    """Options of `diff`."""

    images: ImagesOption = None
    confidence_change: Annotated[float, Option("SHARE")] = Field(
        0.1, ge=0, le=1, description="Change of the confidence (0-1) from which on a cell with the same label is told"
    )
    csv_dialect: CsvDialectOption = "plain"


class SortConfig(AuditedConfig):
    """Options of `sort`."""

    images: Annotated[Path | None, Option("FOLDER")] = Field(
        None, description="Folder that was classified; the one in the run record if not given"
    )


class PseudonymizeConfig(AuditedConfig):
    """Options of `pseudonymize`."""

    key: Annotated[Path, Option("KEYFILE")] = Field(
        description="File with the secret key; keep it apart from what you share"
    )
    overwrite: OverwriteOption = Field(False, description="Replace existing output")


class FhirConfig(ResultsConfig):
    """Options of `export-fhir`."""

    wbc: WbcOption = None


class VerifyConfig(CommandConfig):
    """Options of `verify`."""

    images: Annotated[Path | None, Option("FOLDER")] = Field(
        None, description="Folder that was classified: also hash every image file"
    )
    model: ModelOption = Field(
        None,
        description="Model file that made the results; if not given, the one in the package, where it made them",
    )
    audit_log: Annotated[Path | None, Option("FILE")] = Field(
        None, description="Audit log: check its chain, and that it knows RESULTS"
    )
    max_findings: Annotated[int, Option("N")] = Field(
        100, ge=1, le=1_000_000, description="Findings to print; all are counted"
    )


class MonitorConfig(AuditedConfig):
    """Options of `monitor`."""

    baseline: Annotated[str, Option("N|DATE")] = Field(
        _USUAL_RUNS,
        description="What the runs are compared with: the first N runs of each model, or all up to and including a day "
        "such as 2026-03-31",
    )
    control: Annotated[tuple[str, ...], Option("SLIDE")] = Field(
        (), description="Control slide, which is in every run and gets charts of its own; repeatable"
    )
    control_ranges: Annotated[Path | None, Option("FILE")] = Field(
        None,
        description="CSV or XLSX with the values that are accepted for the control slides: measure, low, high, and "
        "slide_id where they differ; if not given, the baseline says it",
    )
    overwrite: Annotated[OverwriteOption, Effect.NOTHING] = Field(False, description="Replace existing output")

    @model_validator(mode="after")
    def _can_be_understood(self) -> Self:
        if self.baseline_runs is None and self.baseline_until is None:
            raise ValueError(
                f"--baseline {self.baseline!r} is neither a number of runs from {_FEWEST_RUNS} on nor a day such as "
                "2026-03-31"
            )
        if self.control_ranges is not None and not self.control:
            raise ValueError("--control-ranges needs --control: the name of the slide that they are for")
        if len(set(self.control)) < len(self.control):
            raise ValueError("--control names a slide twice")
        return self

    @property
    def baseline_runs(self) -> int | None:
        """Number of runs; None for a day."""
        if not re.fullmatch("[0-9]{1,6}", self.baseline):
            return None
        return int(self.baseline) if int(self.baseline) >= _FEWEST_RUNS else None

    @property
    def baseline_until(self) -> date | None:
        """The last day; None for a number."""
        try:
            return (
                date.fromisoformat(self.baseline) if re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", self.baseline) else None
            )
        except ValueError:
            return None
