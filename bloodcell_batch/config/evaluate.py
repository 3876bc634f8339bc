"""Options of `evaluate`."""

from typing import Annotated, Literal

from pydantic import Field

from bloodcell_batch.config.base import Option, Panel
from bloodcell_batch.config.fields import AuditedConfig, LabelledImagesOption, NetworkConfig


class EvaluateConfig(NetworkConfig, AuditedConfig):
    """Options of `evaluate`."""

    part: Annotated[Literal["unseen", "validation", "training", "all"], Option()] = Field(
        "unseen", description="Images to use: those that the model's training never saw, or a part that it did see"
    )
    class_map: Annotated[dict[str, str], Option("OTHER=OURS", flags=("--map",))] = Field(
        default_factory=dict,
        description="A label or folder of the data and the class for it, or 'ignore'; repeatable",
    )
    images: LabelledImagesOption = None
    subclasses: Annotated[bool, Option(panel=Panel.ADVANCED)] = Field(
        False,
        description="Measure the kinds of a class that the model knows, such as band and segmented neutrophils, each "
        "as a class of its own",
    )
    bootstrap: Annotated[int, Option("SAMPLES", panel=Panel.ADVANCED)] = Field(
        1000, ge=0, le=100_000, description="Bootstrap samples for the intervals; 0 for none"
    )
    corruptions: Annotated[bool, Option()] = Field(
        False, description="Also classify the images corrupted in 14 ways at 5 severities"
    )
    corruption_images: Annotated[int, Option("IMAGES", panel=Panel.ADVANCED)] = Field(
        500, ge=1, description="Images that are corrupted, evenly from all classes"
    )
