"""Options of the commands that work on the results of `classify`, one frozen model per command."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from bloodcell_batch.config.config import CommandConfig, CsvDialect

ReviewScope = Literal["flagged", "unclassified", "all"]


class ResultsConfig(CommandConfig):
    """What they all share."""

    pseudonymize: Path | None = Field(
        None, description="Replace slides, paths and hashes by codes under the secret key in this file"
    )
    audit_log: Path | None = Field(
        None, description="Append one line about this run to this file, whatever comes of it"
    )
    overwrite: bool = Field(False, description="Replace existing output")


class DifferentialConfig(ResultsConfig):
    """Options of `differential`."""

    min_wbc: Literal[100, 200, 400] | None = Field(None, description="Leukocytes that a slide should have")
    reference_ranges: Path | None = Field(None, description="TOML file with the ranges of your own laboratory")
    adjust: bool = Field(
        False, description="Add a second estimate that corrects for the classifier errors seen in the model's test"
    )
    model: Path | None = Field(
        None, description="Model file that made the results, for --adjust; the one in the package if not given"
    )
    csv_dialect: CsvDialect = Field("plain", description="Form of CSV, as for classify")


class ReportConfig(ResultsConfig):
    """Options of `report`."""

    images: Path | None = Field(
        None, description="Folder that was classified, for the thumbnails; as in the run record if not given"
    )
    gallery: int = Field(12, ge=0, le=10_000, description="Thumbnails per class and slide, least certain first")
    queue: int = Field(60, ge=0, le=100_000, description="Thumbnails of cells for review, per slide")
    thumbnail: int = Field(72, ge=32, le=256, description="Side of a thumbnail in pixels")
    min_wbc: Literal[100, 200, 400] | None = Field(None, description="Leukocytes that a slide should have")
    reference_ranges: Path | None = Field(None, description="TOML file with the ranges of your own laboratory")
    adjust: bool = Field(
        False, description="Add a second estimate that corrects for the classifier errors seen in the model's test"
    )
    model: Path | None = Field(
        None, description="Model file that made the results, for --adjust; the one in the package if not given"
    )


class ReviewExportConfig(ResultsConfig):
    """Options of `review export`."""

    cells: ReviewScope = Field("flagged", description="Cells to show to a person")
    images: Path | None = Field(
        None, description="Folder that was classified, for the thumbnails; as in the run record if not given"
    )
    thumbnail: int = Field(160, ge=32, le=512, description="Side of a thumbnail in pixels")


class ReviewImportConfig(ResultsConfig):
    """Options of `review import`."""

    by: str | None = Field(None, min_length=1, description="Who verified, for rows that don't say it")
    partial: bool = Field(False, description="Accept a review of which some cells have no label yet")


class ConcordanceConfig(ResultsConfig):
    """Options of `concordance`."""

    reference_ranges: Path | None = Field(None, description="TOML file with the ranges of your own laboratory")


class PseudonymizeConfig(CommandConfig):
    """Options of `pseudonymize`."""

    key: Path = Field(description="File with the secret key; keep it apart from what you share")
    audit_log: Path | None = Field(
        None, description="Append one line about this run to this file, whatever comes of it"
    )
    overwrite: bool = Field(False, description="Replace existing output")


class FhirConfig(ResultsConfig):
    """Options of `export-fhir`."""


class VerifyConfig(CommandConfig):
    """Options of `verify`."""

    images: Path | None = Field(None, description="Folder that was classified: also hash every image file")
    model: Path | None = Field(
        None, description="Model file that made the results; the one in the package, if it is that, when not given"
    )
    audit_log: Path | None = Field(None, description="Audit log: check its chain, and that it knows RESULTS")
    max_findings: int = Field(100, ge=1, le=1_000_000, description="Findings to print; all are counted")
