"""Options of `benchmark`."""

from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from bloodcell_batch.config.base import CommandConfig, Option, Panel
from bloodcell_batch.config.fields import (
    BackendOption,
    BatchSizeOption,
    ModelOption,
    OverwriteOption,
    PrecisionOption,
    WorkersOption,
)


class BenchmarkConfig(CommandConfig):
    """Options of `benchmark`."""

    model: ModelOption = None
    images: Annotated[int | None, Option("N")] = Field(
        None,
        ge=8,
        le=1_000_000,
        description="Images to use: evenly from DIR (all if not given), or drawn (2,000 if not given)",
    )
    size: Annotated[str, Option("WxH", panel=Panel.ADVANCED)] = Field(
        "360x363", pattern=r"^[1-9]\d*x[1-9]\d*$", description="Width x height of drawn images, in pixels"
    )
    backend: BackendOption = Field(
        "auto", description="Runtime of classify; every backend is measured alone in any case"
    )
    precision: PrecisionOption = "auto"
    batch_size: BatchSizeOption = Field(256, description="Images that classify hands to the backend at a time")
    batch_sizes: Annotated[tuple[int, ...], Option("IMAGES", panel=Panel.SPEED)] = Field(
        (1, 16, 64), description="Further batch sizes at which each backend is measured alone; repeatable"
    )
    workers: WorkersOption = None
    rounds: Annotated[int, Option("N", panel=Panel.ADVANCED)] = Field(
        3, ge=1, le=100, description="Rounds of every measurement; the best counts"
    )
    seconds: Annotated[float, Option("SECONDS", panel=Panel.ADVANCED)] = Field(
        0.5, gt=0, le=60, description="Shortest time that a round of a part takes"
    )
    plain_images: Annotated[int, Option("N", panel=Panel.ADVANCED)] = Field(
        1000, ge=0, description="Images for the plain PyTorch script, evenly from the same files; 0 leaves it out"
    )
    growth: Annotated[tuple[int, ...], Option("IMAGES")] = Field(
        (), description="Also measure classify, its memory and --update on this many images; repeatable"
    )
    overwrite: OverwriteOption = Field(False, description="Replace the results of an earlier benchmark")

    @field_validator("batch_sizes", "growth", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: object) -> object:
        return (value,) if isinstance(value, int) else value

    @model_validator(mode="after")
    def _sizes_are_possible(self) -> Self:
        if not all(16 <= side <= 4096 for side in self.drawn_size):
            raise ValueError(f"--size {self.size}: each side must be 16 to 4,096 pixels")
        if not all(1 <= size <= 65536 for size in self.batch_sizes):
            raise ValueError("--batch-sizes must be 1 to 65,536")
        if not all(1 <= count <= 10_000_000 for count in self.growth):
            raise ValueError("--growth must be 1 to 10,000,000")
        return self

    @property
    def drawn_size(self) -> tuple[int, int]:
        """Width and height, in pixels."""
        width, _, height = self.size.partition("x")
        return int(width), int(height)
