"""Options of `find`."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from bloodcell_batch.config.base import CommandConfig, Effect, Option, Panel
from bloodcell_batch.config.fields import AllowFailedOption, BackendOption, BatchSizeOption, PrecisionOption


class FindConfig(CommandConfig):
    """Options of `find`."""

    finder: Annotated[Path | None, Option("FILE"), Effect.RECORDED] = Field(
        None, description="Finder; the one shipped with the package if not given"
    )
    red_cell_pixels: Annotated[float | None, Option("PIXELS")] = Field(
        None, gt=0, description="Diameter of a red cell in the images; measured in each of them if not given"
    )
    slide_by: Annotated[Literal["parent", "top"], Option()] = Field(
        "parent", description="Slide of an image, whose red cells share one scale: its folder, or the top one"
    )
    backend: BackendOption = "auto"
    precision: PrecisionOption = "auto"
    batch_size: BatchSizeOption = 16
    include_hidden: Annotated[bool, Option(panel=Panel.ADVANCED)] = Field(
        False, description="Take also the images in hidden and system folders"
    )
    allow_failed: AllowFailedOption = 0
