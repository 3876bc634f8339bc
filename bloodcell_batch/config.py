"""One frozen model per sub-command: every option's type, default, range and description live here and only here.

Precedence: command-line flag > key of the `--config` TOML file > default. Unknown keys are errors.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bloodcell_batch.errors import UsageError
from bloodcell_batch.slide_rules import SlideBy

DedupMode = Literal["off", "exact", "near"]


class CommandConfig(BaseModel):
    """Base of all configurations: immutable, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ClassifyConfig(CommandConfig):
    """Options of `classify`."""

    model: Path | None = Field(None, description="Model file; the one shipped with the package if not given")
    backend: str = Field("auto", description="Runtime that runs the network")
    batch_size: int = Field(256, ge=1, le=65536, description="Images handed to the backend at a time")
    workers: int | None = Field(
        None, ge=0, le=256, description="Decoding threads; 0 decodes in the main thread; one per available CPU if unset"
    )
    slide_by: SlideBy = Field("parent", description="What makes a slide: parent folder, top folder, regex or manifest")
    slide_regex: str | None = Field(
        None, description="For --slide-by regex: searched in the relative path; its group 'slide' (or 1) is the slide"
    )
    slide_manifest: Path | None = Field(
        None, description="For --slide-by manifest: CSV with the columns path and slide_id"
    )
    dedup: DedupMode = Field("near", description="Duplicates to leave out within a slide")
    dedup_distance: int = Field(
        16, ge=0, le=32, description="Largest Hamming distance, in bits of 256, that counts as a near duplicate"
    )
    max_megapixels: float = Field(50.0, gt=0, le=2000, description="Images with more megapixels fail as too_large")
    min_confidence: float | None = Field(
        None, ge=0, le=1, description="Cells with a lower top probability stay unclassified; the model's own if unset"
    )
    outlier_threshold: float | None = Field(
        None, gt=0, description="Cells with a higher outlier score stay unclassified; the model's own if unset"
    )
    overwrite: bool = Field(False, description="Replace existing results")
    allow_failed: int = Field(0, ge=0, description="Number of failed files that still counts as success (exit code 0)")

    @model_validator(mode="after")
    def _slide_rule_is_complete(self) -> Self:
        if (self.slide_by == "regex") != (self.slide_regex is not None):
            raise ValueError("--slide-by regex and --slide-regex go together")
        if (self.slide_by == "manifest") != (self.slide_manifest is not None):
            raise ValueError("--slide-by manifest and --slide-manifest go together")
        return self


class AugmentationConfig(CommandConfig):
    """Random changes of the training images. Zero turns each one off."""

    scale: float = Field(0.7, ge=0, le=2, description="magnification is multiplied by e^u, u uniform in +-scale")
    aspect: float = Field(0.1, ge=0, le=0.5, description="width over height is multiplied by e^u, u in +-aspect")
    shift: float = Field(0.1, ge=0, le=0.5, description="largest shift of the centre, as a share of the side")
    colour_mixing: float = Field(0.1, ge=0, le=0.5, description="sd of the noise on the 3x3 colour matrix")
    gain: float = Field(0.1, ge=0, le=0.5, description="sd of the white-balance gain per channel")
    brightness: float = Field(0.1, ge=0, le=0.5, description="sd of the shift of all values, in 0-1")
    contrast: float = Field(0.2, ge=0, le=1, description="contrast is multiplied by e^u, u normal with this sd")
    grey: float = Field(0.1, ge=0, le=1, description="share of images that lose part of their colour")
    blur: float = Field(0.5, ge=0, le=1, description="share of batches blurred by shrinking and enlarging")
    blur_factor: float = Field(3.0, ge=1, le=8, description="largest factor of that shrinking")
    noise: float = Field(0.04, ge=0, le=0.3, description="largest sd of pixel noise, in 0-1")


class TrainConfig(CommandConfig):
    """A training recipe."""

    name: str = Field("bloodcell", description="Name of the model, written to its header")
    architecture: str = Field("mobilenetv2_100", description="timm architecture")
    pretrained: bool = Field(False, description="Start from timm's pretrained weights (downloads them)")
    init_weights: Path | None = Field(None, description="Start from the weights in this safetensors file")
    input_size: int = Field(128, ge=16, le=1024, description="Side of the network's input, in pixels")
    epochs: int = Field(20, ge=1, le=10_000, description="Passes over the training images")
    batch_size: int = Field(64, ge=2, le=65536, description="Images per optimisation step")
    learning_rate: float = Field(1e-3, gt=0, description="Peak learning rate of AdamW")
    weight_decay: float = Field(0.05, ge=0, description="Weight decay of AdamW")
    warmup: float = Field(0.1, ge=0, lt=1, description="Share of the steps in which the learning rate rises")
    label_smoothing: float = Field(0.05, ge=0, lt=1, description="Share of the target spread over all classes")
    drop_rate: float = Field(0.2, ge=0, lt=1, description="Dropout before the classifier")
    ema: float = Field(0.0, ge=0, lt=1, description="Decay of the moving average of the weights; 0 for none")
    sampling: Literal["weighted", "none"] = Field("weighted", description="weighted: every class equally often")
    conflicts: Literal["error", "drop"] = Field(
        "error", description="What to do with copies of one picture under two labels"
    )
    validation_fraction: float = Field(0.1, gt=0, lt=0.5, description="Share kept to choose the epoch and calibrate")
    test_fraction: float = Field(0.1, gt=0, lt=0.5, description="Share kept for the final figures only")
    review_error: float = Field(
        0.002, gt=0, lt=0.5, description="Error rate among classified cells that the review threshold aims at"
    )
    review_share: float = Field(
        0.02, gt=0, le=1, description="Largest share of validation cells that the review threshold may hold back"
    )
    outlier_quantile: float = Field(
        0.99, gt=0.5, lt=1, description="Share of the validation cells that the outlier threshold lets pass"
    )
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 where the processor has it")
    workers: int | None = Field(None, ge=0, le=256, description="Decoding threads; one per available CPU if unset")
    seed: int = Field(0, ge=0, le=2**31, description="Seed of the split, the initialisation and the augmentation")
    licence: str = Field("not stated", description="Licence of the model file")
    attribution: str = Field("not stated", description="Source and licence of the training images")
    augmentation: AugmentationConfig = Field(default_factory=AugmentationConfig)

    @model_validator(mode="after")
    def _one_start(self) -> Self:
        if self.pretrained and self.init_weights is not None:
            raise ValueError("pretrained and init_weights exclude each other; choose one start")
        return self


class EvaluateConfig(CommandConfig):
    """Options of `evaluate`."""

    backend: str = Field("auto", description="Runtime that runs the network")
    batch_size: int = Field(256, ge=1, le=65536, description="Images handed to the backend at a time")
    workers: int | None = Field(None, ge=0, le=256, description="Decoding threads; one per available CPU if unset")
    part: Literal["unseen", "validation", "training", "all"] = Field(
        "unseen", description="Images to use: those the model's training never saw, or a part that it did see"
    )


Config = TypeVar("Config", bound=CommandConfig)


def resolve(kind: type[Config], flags: Mapping[str, Any], file: Path | None = None) -> Config:
    """Merge flags over a TOML file over the defaults.

    Args:
        kind: the configuration class.
        flags: option values; None means not given.
        file: TOML file whose keys are the fields of `kind`.

    Raises:
        UsageError: unreadable or malformed file, unknown key, or a value out of range; the text names the key.
    """
    values = _read_toml(file) if file else {}
    values |= {key: value for key, value in flags.items() if value is not None}
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise UsageError(_explain(error, kind, file), hint="See --help for the options and their ranges.") from error


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"Can't read the configuration {file}: {error.strerror}.", hint="Check --config.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"The configuration {file} is not valid TOML: {error}.", hint="Correct the file.") from error


def _explain(error: ValidationError, kind: type[BaseModel], file: Path | None) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    source = f" (from {file} or a flag)" if file else ""
    if first["type"] == "extra_forbidden":
        table: Any = kind
        for part in first["loc"][:-1]:
            table = table.model_fields[part].annotation
        return f"Unknown key {key!r} in {file}; known keys: {', '.join(table.model_fields)}."
    if not key:
        return f"{first['msg'].removeprefix('Value error, ')}{source}."
    flag = "--" + key.replace("_", "-")
    return f"{flag} can't be {first['input']!r}{source}: {first['msg'][0].lower() + first['msg'][1:]}."
