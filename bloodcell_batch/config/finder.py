"""The recipe of the finder: which fields it learns from, what is complete about their boxes, and how it is trained."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from bloodcell_batch.config.base import CommandConfig, Effect, Option, Panel
from bloodcell_batch.config.fields import AllowFailedOption, BackendOption, BatchSizeOption, PrecisionOption, SeedOption
from bloodcell_batch.errors import UsageError

FieldClass = Literal["leukocyte", "red_cell", "platelet"]


class FieldSource(CommandConfig):
    """One laboratory's fields: a folder of the data, how its boxes are written, and how far they can be trusted.

    What `complete` and `partial` leave out is never learned from these images, neither its presence nor its absence.
    """

    folder: str = Field(
        description="folder of the images, below that of the data, which is `.`; patterns such as pbc/* allowed"
    )
    boxes: Literal["voc", "yolo", "centre", "none"] = Field(
        description="voc: XML in the folder `boxes` beside `images`; yolo: a text file beside each image; centre: one "
        "cell in the middle of each image; none: no cell at all"
    )
    labels: dict[str, FieldClass] = Field(default={}, description="class of each label; others are passed over")
    complete: tuple[FieldClass, ...] = Field((), description="classes of which every cell has its box")
    partial: tuple[FieldClass, ...] = Field((), description="classes of which some cells have none")
    red_cell_pixels: float | None = Field(
        None, gt=0, description="diameter of a red cell, where the boxes don't tell; measured from them if not given"
    )
    share: float = Field(1.0, ge=0, description="how often its images are drawn, beside those of the other sources")
    at_most: int | None = Field(None, ge=1, description="number of images to take, the same ones every time")
    exclude: tuple[str, ...] = Field((), description="patterns of file names to leave out")
    train_only: tuple[str, ...] = Field((), description="patterns of file names that are never held out")
    test: tuple[str, ...] = Field((), description="patterns of file names that are held out for the test")
    test_share: float = Field(0.0, ge=0, lt=1, description="share of the other files that is held out, by their names")

    @field_validator("folder")
    @classmethod
    def _is_below_the_data(cls, folder: str) -> str:
        if Path(folder).is_absolute():
            raise ValueError(f"{folder} is absolute: give it below the folder of the data")
        return folder


class TrainFinderConfig(CommandConfig):
    """A recipe of the finder."""

    name: str = Field("finder", description="Name of the model, written to its header")
    sources: dict[str, FieldSource] = Field(default={}, description="The fields to learn from, by name")
    leave_out: Annotated[tuple[str, ...], Option("SOURCE")] = Field(
        (), description="Train without this source, to be tested on it; repeatable"
    )
    thresholds: tuple[float, float, float] | None = Field(
        None,
        description="Lowest score of a leukocyte, a red cell and a platelet that counts; decided on the validation "
        "part if not given",
    )
    init_weights: Annotated[Path | None, Option("FILE")] = Field(
        None, description="Start from the weights in this file: a finder, or a mobilenetv2_100 of timm's"
    )
    red_cell_side: int = Field(28, ge=16, le=64, description="Pixels of a red cell in the network's input")
    tile: int = Field(256, ge=64, le=1024, multiple_of=16, description="Side of the network's input, in pixels")
    canvas: int = Field(144, ge=64, le=1024, multiple_of=16, description="Side of the training crops, in pixels")
    epochs: Annotated[int, Option("N")] = Field(
        20, ge=1, le=10_000, description="Epochs, each of as many crops as the recipe says"
    )
    epoch_crops: int = Field(1024, ge=1, description="Crops of an epoch")
    batch_size: Annotated[int, Option("CROPS", panel=Panel.SPEED)] = Field(
        24, ge=2, le=4096, description="Crops per optimisation step"
    )
    learning_rate: Annotated[float, Option("RATE", panel=Panel.ADVANCED)] = Field(
        2e-3, gt=0, description="Peak learning rate"
    )
    weight_decay: float = Field(0.02, ge=0, description="Weight decay")
    warmup: float = Field(0.05, ge=0, lt=1, description="Share of the steps in which the learning rate rises")
    ema: float = Field(0.99, ge=0, lt=1, description="Decay of the moving average of the weights; 0 for none")
    size_weight: float = Field(0.3, ge=0, description="Weight of the loss on the sizes")
    scale: float = Field(0.5, ge=0, le=1.5, description="Crops are scaled by up to e^scale either way")
    composites: float = Field(0.3, ge=0, le=1, description="Share of the crops onto which leukocytes are pasted")
    stain: float = Field(1.0, ge=0, le=2, description="Strength of the random changes of stain, light and focus")
    precision: Annotated[Literal["fp32", "bf16"], Option(panel=Panel.SPEED), Effect.RESULT] = Field(
        "fp32", description="Arithmetic of the training"
    )
    seed: SeedOption = Field(0, description="Seed of the drawing, the initialisation and the order")
    licence: str = Field("Apache-2.0", description="Licence of the model, written to its header")
    attribution: str = Field("", description="Sources of the training images, written to its header")

    def used_sources(self) -> dict[str, FieldSource]:
        """The sources without those left out.

        Raises:
            UsageError: one that is to be left out does not exist.
        """
        left_out = _existing(self.sources, self.leave_out)
        return {name: source for name, source in self.sources.items() if name not in left_out}


class EvaluateFinderConfig(CommandConfig):
    """Options of `evaluate-finder`."""

    source: Annotated[tuple[str, ...], Option("SOURCE")] = Field(
        (), description="Only this source of the recipe; repeatable"
    )
    part: Annotated[Literal["test", "validation", "train", "all"], Option()] = Field(
        "test", description="Images to use, as the recipe divides them"
    )
    red_cell_pixels: Annotated[float | None, Option("PIXELS")] = Field(
        None, gt=0, description="Diameter of a red cell, for images of one known magnification"
    )
    backend: BackendOption = "auto"
    precision: PrecisionOption = "auto"
    batch_size: BatchSizeOption = 16

    def chosen(self, sources: Mapping[str, FieldSource]) -> dict[str, FieldSource]:
        """Those of a recipe's sources that are asked for.

        Raises:
            UsageError: one of them does not exist.
        """
        names = _existing(sources, self.source) or tuple(sources)
        return {name: sources[name] for name in names}


def _existing(sources: Mapping[str, FieldSource], names: tuple[str, ...]) -> tuple[str, ...]:
    unknown = [name for name in names if name not in sources]
    if unknown:
        hint = f"Sources of this recipe: {', '.join(sources) or 'none'}."
        raise UsageError(f"The recipe has no source {unknown[0]!r}.", hint=hint)
    return names


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
