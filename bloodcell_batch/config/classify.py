"""Options of `classify`."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from bloodcell_batch.config.base import Effect, Option, Panel
from bloodcell_batch.config.fields import (
    AllowFailedOption,
    AuditLogOption,
    CsvDialectOption,
    NetworkConfig,
    OverwriteOption,
)
from bloodcell_batch.slides.rules import SlideBy
from bloodcell_batch.slides.shards import parse_shard

DedupMode = Literal["off", "exact", "near"]


class ClassifyConfig(NetworkConfig):
    """Options of `classify`. Each states its effect: it decides what an interrupted or earlier run is compared by."""

    slide_by: Annotated[SlideBy, Option(), Effect.RESULT] = Field(
        "parent", description="What makes a slide: parent folder, top folder, regex or manifest"
    )
    slide_regex: Annotated[str | None, Option("REGEX", panel=Panel.SLIDES), Effect.RESULT] = Field(
        None, description="For --slide-by regex: searched in the relative path; its group 'slide' (or 1) is the slide"
    )
    slide_manifest: Annotated[Path | None, Option("FILE", panel=Panel.SLIDES), Effect.RECORDED] = Field(
        None, description="For --slide-by manifest: CSV or XLSX file with the columns path and slide_id"
    )
    include_hidden: Annotated[bool, Option(panel=Panel.SLIDES), Effect.RECORDED] = Field(
        False, description="Take also the images in hidden, system and thumbnail folders, or with such names"
    )
    dedup: Annotated[DedupMode, Option(), Effect.RESULT] = Field(
        "near", description="Duplicates to leave out within a slide"
    )
    dedup_distance: Annotated[int, Option("BITS", panel=Panel.SLIDES), Effect.RESULT] = Field(
        16, ge=0, le=32, description="Largest Hamming distance, in bits of 256, that counts as a near duplicate"
    )
    jpeg_decoder: Annotated[Literal["cpu", "gpu"], Option(panel=Panel.SPEED), Effect.RESULT] = Field(
        "cpu", description="gpu is experimental: never run on a GPU so far, and may not notice damage inside a file"
    )
    max_megapixels: Annotated[float, Option("MP", panel=Panel.ADVANCED), Effect.RESULT] = Field(
        50.0, gt=0, le=2000, description="Images with more megapixels fail as too_large"
    )
    min_confidence: Annotated[float | None, Option("PROBABILITY"), Effect.RECORDED] = Field(
        None,
        ge=0,
        le=1,
        description="Cells with a lower top probability stay unclassified; the model's own threshold if not given",
    )
    outlier_threshold: Annotated[float | None, Option("SCORE", panel=Panel.ADVANCED), Effect.RECORDED] = Field(
        None,
        gt=0,
        description="Cells with a higher outlier score stay unclassified; the model's own threshold if not given",
    )
    images: Annotated[Literal["auto", "cells", "fields"], Option(panel=Panel.SLIDES), Effect.RESULT] = Field(
        "auto",
        description="What the images show: a single cell each, whole fields of view, or what a look at some of them "
        "tells, slide by slide",
    )
    red_cell_pixels: Annotated[float | None, Option("PIXELS", panel=Panel.SLIDES), Effect.RESULT] = Field(
        None,
        ge=4,
        le=2000,
        description="Diameter of a red cell in fields of view; measured in each of them if not given",
    )
    max_unclassified: Annotated[float, Option("SHARE", panel=Panel.ADVANCED), Effect.RESULT] = Field(
        0.1,
        ge=0,
        lt=1,
        description="Withhold the percentages of a slide where more of the cells that could be leukocytes are "
        "unclassified",
    )
    subclasses: Annotated[bool, Option(panel=Panel.ADVANCED), Effect.RESULT] = Field(
        False,
        description="Report the kinds of a class that the model knows, such as band and segmented neutrophils, each as "
        "a class of its own",
    )
    shard: Annotated[str | None, Option("I/N", panel=Panel.SCHEDULERS), Effect.RECORDED] = Field(
        None, description="Only the slides of part i of n, as i/n with i from 0 to n - 1; `merge` joins the results"
    )
    engine: Annotated[Literal["local", "ray"], Option(panel=Panel.SCHEDULERS), Effect.NOTHING] = Field(
        "local", description="Where the slides are classified: here, or on a Ray cluster"
    )
    ray_address: Annotated[str | None, Option("ADDRESS", panel=Panel.SCHEDULERS), Effect.NOTHING] = Field(
        None,
        description="For --engine ray: a running cluster, or auto to find it; Ray starts on this machine if not given",
    )
    csv_dialect: CsvDialectOption = "plain"
    embeddings: Annotated[str | None, Option("FILE", panel=Panel.OUTPUT), Effect.NOTHING] = Field(
        None, description="Write what the network saw of each cell, as numbers, to this Parquet file beside --out"
    )
    file_timeout: Annotated[float, Option("SECONDS", panel=Panel.ADVANCED), Effect.NOTHING] = Field(
        120.0,
        gt=0,
        le=86_400,
        description="Seconds after which a file that can't be read or decoded fails as timed_out",
    )
    force: Annotated[bool, Option(panel=Panel.ADVANCED), Effect.NOTHING] = Field(
        False, description="Use a model whose own figures don't show that it is better than chance"
    )
    audit_log: AuditLogOption = None
    overwrite: OverwriteOption = False
    update: Annotated[bool, Option(), Effect.NOTHING] = Field(
        False, description="Replace existing results, but keep the rows of files that have not changed since"
    )
    allow_failed: AllowFailedOption = 0

    @model_validator(mode="after")
    def _slide_rule_is_complete(self) -> Self:
        if (self.slide_by == "regex") != (self.slide_regex is not None):
            raise ValueError("--slide-by regex and --slide-regex go together")
        if self.update and self.overwrite:
            raise ValueError("--update and --overwrite exclude each other: --overwrite classifies every file again")
        if self.update and self.engine == "ray":
            raise ValueError("--update and --engine ray exclude each other: what is left to do is done on one machine")
        if self.update and self.embeddings is not None:
            raise ValueError("--update and --embeddings exclude each other: the rows that are kept have no embeddings")
        if (self.slide_by == "manifest") != (self.slide_manifest is not None):
            raise ValueError("--slide-by manifest and --slide-manifest go together")
        return self

    @model_validator(mode="after")
    def _address_is_of_ray(self) -> Self:
        if self.ray_address is not None and self.engine != "ray":
            raise ValueError("--ray-address needs --engine ray")
        return self

    @field_validator("shard")
    @classmethod
    def _shard_exists(cls, shard: str | None) -> str | None:
        return None if shard is None else str(parse_shard(shard))
