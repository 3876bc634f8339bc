"""Options of the commands that work on the results of `classify`, one frozen model per command."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from bloodcell_batch.config.base import CommandConfig, Option, Panel
from bloodcell_batch.config.fields import AuditedConfig, CsvDialectOption, ModelOption, OverwriteOption

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
        None, description="Leukocytes that a slide should have"
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
        0, ge=0, le=2**31, description="Where the random numbers of the choice and of the order of --blind start"
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
