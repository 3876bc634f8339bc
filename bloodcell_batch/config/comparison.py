"""Options of `compare` and `tune`, and the recipe of classifiers that are no networks."""

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from bloodcell_batch.config.config import CommandConfig


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

    seed: int = Field(0, ge=0, le=2**31, description="Seed of the split and of every system, in place of the recipes'")
    validation_fraction: float = Field(
        0.14, gt=0, lt=0.5, description="Share of each class that chooses epochs and calibrates: 20 % of 70 %"
    )
    test_fraction: float = Field(0.3, gt=0, lt=0.5, description="Share of each class that the figures are of")
    conflicts: Literal["error", "drop"] = Field(
        "drop", description="What to do with copies of one picture under two labels"
    )
    folds: int = Field(0, ge=0, le=100, description="Also cross-validate every system on so many folds; 0 for not")
    images_per_class: int | None = Field(None, ge=10, description="Use only so many images of each class")
    max_input_size: int | None = Field(None, ge=16, le=1024, description="Reduce larger inputs to this side")
    max_epochs: int | None = Field(None, ge=1, description="Shorten longer trainings to so many epochs")
    max_batch_size: int | None = Field(None, ge=2, description="Reduce larger batches to so many images")
    quick: bool = Field(
        False,
        description="Only check that everything runs: 30 images per class, 80 pixels, 15 epochs, batches of 8, "
        "weak augmentation",
    )
    skip: tuple[str, ...] = Field((), description="List the system of this name as not run; repeatable")
    weights: dict[str, Path] = Field(
        default_factory=dict, description="Start networks of this architecture from these weights; repeatable"
    )
    throughput_floor: float = Field(
        100.0, ge=0, description="Images per second that a system must reach for the second ranking"
    )
    backend: str = Field("auto", description="Runtime that runs the networks")
    workers: int | None = Field(None, ge=0, le=256, description="Decoding threads; one per available CPU if unset")

    @field_validator("skip", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value


class TuneConfig(CommandConfig):
    """Options of `tune`."""

    trials: int = Field(20, ge=1, le=100_000, description="Trials that the study has when it is done")
    conflicts: Literal["error", "drop"] | None = Field(
        None, description="What to do with copies of one picture under two labels; the recipe's own if unset"
    )
    workers: int | None = Field(None, ge=0, le=256, description="Decoding threads; one per available CPU if unset")
    seed: int = Field(0, ge=0, le=2**31, description="Seed of the search")
