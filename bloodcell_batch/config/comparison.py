"""Options of `compare` and `tune`, and the recipe of classifiers that are not networks."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from bloodcell_batch.config.base import CommandConfig, Effect, Option, Panel
from bloodcell_batch.config.fields import BackendOption, ConflictsOption, SeedOption, WorkersOption


class ClassicalConfig(CommandConfig):
    """Recipe of a classifier on features of images; a file of `compare` that has the key `classifier`."""

    name: str = Field("classical", description="Name in the table")
    classifier: Literal["random_forest", "gradient_boosting", "svm", "voting"] = Field(
        description="Classifier; voting: the mean probability of the three others"
    )
    features: tuple[Literal["glcm", "intensity", "pixels"], ...] = Field(
        ("glcm", "intensity"),
        min_length=1,
        description="glcm: texture; intensity: statistics and histograms; pixels: 28 x 28",
    )
    smote: Literal["none", "features", "pixels"] = Field(
        "none", description="Synthetic training examples for the smaller classes, in feature space or of pixels"
    )
    input_size: int = Field(128, ge=16, le=1024, description="Side of the images that features are computed on")
    trees: int = Field(300, ge=1, le=10_000, description="Trees of the random forest")
    rounds: int = Field(150, ge=1, le=10_000, description="Rounds of the gradient boosting")
    svm_c: float = Field(10.0, gt=0, description="Penalty C of the support vector machine")
    seed: int = Field(0, ge=0, le=2**31, description="Seed of everything random")


class CompareConfig(CommandConfig):
    """Options of `compare`."""

    seed: SeedOption = Field(0, description="Seed of the split and of every system, in place of the recipes'")
    validation_fraction: Annotated[float, Option("SHARE", panel=Panel.ADVANCED)] = Field(
        0.14, gt=0, lt=0.5, description="Share of each class that chooses epochs and calibrates: 20 % of 70 %"
    )
    test_fraction: Annotated[float, Option("SHARE", panel=Panel.ADVANCED)] = Field(
        0.3, gt=0, lt=0.5, description="Share of each class that the figures are of"
    )
    conflicts: ConflictsOption = "drop"
    folds: Annotated[int, Option("N")] = Field(
        0, ge=0, le=100, description="Also cross-validate every system on this many folds; 0 for none"
    )
    images_per_class: Annotated[int | None, Option("IMAGES")] = Field(
        None, ge=10, description="Use only this many images of each class"
    )
    max_input_size: Annotated[int | None, Option("PIXELS", panel=Panel.SPEED)] = Field(
        None, ge=16, le=1024, description="Reduce larger inputs to this side"
    )
    max_epochs: Annotated[int | None, Option("N", panel=Panel.SPEED)] = Field(
        None, ge=1, description="Shorten longer trainings to this many epochs"
    )
    max_batch_size: Annotated[int | None, Option("IMAGES", panel=Panel.SPEED)] = Field(
        None, ge=2, description="Reduce larger batches to this many images"
    )
    quick: Annotated[bool, Option()] = Field(
        False,
        description="Only check that everything runs: 30 images per class, 80 pixels, 15 epochs, batches of 8, "
        "weak augmentation",
    )
    skip: Annotated[tuple[str, ...], Option("NAME"), Effect.NOTHING] = Field(
        (), description="List the system of this name as not run; repeatable"
    )
    weights: Annotated[dict[str, Path], Option("ARCHITECTURE=FILE")] = Field(
        default_factory=dict, description="Start networks of this architecture from these weights; repeatable"
    )
    throughput_floor: Annotated[float, Option("IMAGES/S", panel=Panel.ADVANCED), Effect.NOTHING] = Field(
        100.0, ge=0, description="Images per second that a system must reach for the second ranking"
    )
    backend: BackendOption = Field("auto", description="Runtime that runs the networks")
    workers: WorkersOption = None

    @field_validator("skip", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value


class TuneConfig(CommandConfig):
    """Options of `tune`."""

    trials: Annotated[int, Option("N")] = Field(
        20, ge=1, le=100_000, description="Trials of the whole search, those of earlier calls included"
    )
    conflicts: Annotated[ConflictsOption | None, Option()] = Field(
        None, description="What to do with copies of one picture under two labels; the recipe's own rule if not given"
    )
    workers: WorkersOption = None
    seed: SeedOption = Field(0, description="Seed of the search")
