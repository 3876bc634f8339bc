"""The training recipe: every key of a file in `configs/`, with its default, range and meaning."""

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from bloodcell_batch.cell_classes import CellClass, ClassList, Role
from bloodcell_batch.config.base import CommandConfig, Effect, Option, Panel
from bloodcell_batch.config.fields import ConflictsOption, LabelledImagesOption, SeedOption, WorkersOption


class AugmentationConfig(CommandConfig):
    """Random changes of the training images. Zero turns each one off.

    The order is that of what differs between laboratories: magnification, stain and light, focus and camera; then
    the ready-made policies of torchvision.
    """

    zoom_in: float = Field(1.0, ge=0, le=2, description="cells are enlarged by up to e^zoom_in")
    zoom_out: float = Field(0.6, ge=0, le=2, description="cells are made smaller by up to e^zoom_out")
    aspect: float = Field(0.1, ge=0, le=0.5, description="width over height is multiplied by e^u, u in +-aspect")
    shift: float = Field(0.1, ge=0, le=0.5, description="largest shift of the centre, as a share of the side")
    density: float = Field(0.7, ge=0, le=2, description="optical density is multiplied by e^u, u in +-density")
    glare: float = Field(0.5, ge=0, le=2, description="largest stray light, as a share of the background's")
    stain: float = Field(0.25, ge=0, le=1, description="sd of the log factor on haematoxylin, eosin and the residual")
    colour_mixing: float = Field(0.12, ge=0, le=0.5, description="sd of the noise on the 3x3 optical-density matrix")
    grey: float = Field(0.1, ge=0, le=1, description="share of images that lose part of their colour")
    neutral: float = Field(0.5, ge=0, le=1, description="share of images whose background is made grey")
    gain: float = Field(0.08, ge=0, le=0.5, description="sd of the log white-balance gain per channel")
    brightness: float = Field(0.1, ge=0, le=0.5, description="sd of the log brightness")
    gamma: float = Field(0.2, ge=0, le=1, description="sd of the log exponent of the tone curve")
    illumination: float = Field(0.1, ge=0, le=0.5, description="largest light loss from one side to the other")
    tint: float = Field(0.0, ge=0, le=1, description="share of images under dim or bright, coloured light")
    coloured_slope: float = Field(
        0.0, ge=0, le=1, description="share of images on which each colour falls off towards one side in its own way"
    )
    blur: float = Field(0.5, ge=0, le=1, description="share of images blurred by shrinking and enlarging")
    blur_factor: float = Field(3.0, ge=1, le=8, description="largest factor of that shrinking")
    sharpen: float = Field(0.15, ge=0, le=1, description="share of images that are sharpened")
    noise: float = Field(0.04, ge=0, le=0.3, description="largest sd of pixel noise, in 0-1")
    jpeg: float = Field(0.25, ge=0, le=1, description="share of images compressed as JPEG, quality 20 to 90")
    gentle: float = Field(
        0.0, ge=0, le=1, description="share of each batch on which all of the above act at 0.3 of their strength"
    )
    randaugment: int = Field(0, ge=0, le=30, description="magnitude of torchvision's RandAugment (2 operations)")
    augmix: float = Field(0.0, ge=0, le=100, description="weight of AugMix's Jensen-Shannon consistency loss")
    mixup: float = Field(0.0, ge=0, le=10, description="alpha of MixUp; with cutmix, each batch takes one by turns")
    cutmix: float = Field(0.0, ge=0, le=10, description="alpha of CutMix")


class DeclaredClass(CommandConfig):
    """A class of the model: its role in the differential, and the class that it is a kind of, empty for none."""

    role: Role
    parent: str = ""


class ClassesConfig(CommandConfig):
    """What classes there are, and what labels mean."""

    classes: dict[str, DeclaredClass] = Field(
        default_factory=dict,
        description="The model's classes, in the order of its outputs: name = role (leukocyte, nrbc, platelet or "
        "outside), or name = {role, parent}; without any, those that the data have by known names",
    )
    class_map: Annotated[dict[str, str], Option("OTHER=OURS", flags=("--map",))] = Field(
        default_factory=dict, description="A label or folder of the data and the class for it, or 'ignore'; repeatable"
    )
    images: LabelledImagesOption = None

    @field_validator("classes", mode="before")
    @classmethod
    def _a_role_is_a_class(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        return {name: {"role": entry} if isinstance(entry, str) else entry for name, entry in value.items()}

    @property
    def declared(self) -> tuple[CellClass, ...]:
        """The declared classes."""
        return tuple(CellClass(name, one.role, one.parent) for name, one in self.classes.items())

    @model_validator(mode="after")
    def _names_are_simple(self) -> Self:
        badly = [name for name in self.classes if not re.fullmatch("[a-z][a-z0-9_]{0,39}", name)]
        if badly:
            raise ValueError(f"the class name {badly[0]!r} has other signs than a-z, 0-9 and _")
        return self


class TrainConfig(ClassesConfig):
    """A training recipe."""

    name: str = Field("bloodcell", description="Name of the model, written to its header")
    architecture: Annotated[str, Option("NAME")] = Field(
        "mobilenetv2_100", description="Network: one of timm's, or of ours (cell_cnn2, …)"
    )
    pretrained: Annotated[bool, Option()] = Field(
        False, description="Start from timm's pretrained weights (downloads them)"
    )
    init_weights: Annotated[tuple[Path, ...], Option("FILE")] = Field(
        (),
        description="Start from the weights in this file, or the mean of several; 'default' is the package's model; "
        "repeatable",
    )
    input_size: Annotated[int, Option("PIXELS", panel=Panel.SPEED)] = Field(
        128, ge=16, le=1024, description="Side of the network's input, in pixels"
    )

    epochs: Annotated[int, Option("N")] = Field(
        20, ge=0, le=10_000, description="Passes over the training images; 0 only calibrates the initial weights again"
    )
    patience: int = Field(0, ge=0, description="Stop after this many epochs without a better one; 0 for never")
    batch_size: Annotated[int, Option("IMAGES", panel=Panel.SPEED)] = Field(
        64, ge=2, le=65536, description="Images per optimisation step and device"
    )
    optimiser: Literal["adamw", "adam", "sgd", "rmsprop", "lion"] = Field("adamw", description="Optimiser")
    learning_rate: Annotated[float, Option("RATE", panel=Panel.ADVANCED)] = Field(
        1e-3, gt=0, description="Peak learning rate"
    )
    weight_decay: float = Field(0.05, ge=0, description="Weight decay (not on biases and norms)")
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of sgd and rmsprop")
    schedule: Literal["cosine", "linear", "constant"] = Field("cosine", description="Learning rate after the warm-up")
    warmup: float = Field(0.1, ge=0, lt=1, description="Share of the steps in which the learning rate rises")
    gradient_clip: float = Field(0.0, ge=0, description="Largest norm of the gradient; 0 for no limit")
    ema: float = Field(0.0, ge=0, lt=1, description="Decay of the moving average of the weights; 0 for none")
    swa: float = Field(0.0, ge=0, lt=1, description="Last share of the epochs whose weights are averaged; 0 for none")

    loss: Literal["cross_entropy", "focal"] = Field("cross_entropy", description="Loss")
    focal_gamma: float = Field(2.0, ge=0, le=10, description="Exponent of the focal loss")
    label_smoothing: float = Field(0.05, ge=0, lt=1, description="Share of the target spread over all classes")
    drop_rate: float = Field(0.2, ge=0, lt=1, description="Dropout before the classifier")
    sampling: Literal["weighted", "none"] = Field("weighted", description="weighted: every class equally often")
    class_shares: dict[str, Annotated[float, Field(gt=0, le=1)]] = Field(
        default_factory=dict,
        description="Weighted sampling: how often a class is drawn against the others, 1 where nothing is said. A "
        "class that is rare in blood, and that one laboratory's images alone show, is otherwise seen in every cell "
        "that looks strange",
    )
    class_odds: dict[str, Annotated[float, Field(gt=0, le=1)]] = Field(
        default_factory=dict,
        description="By what the odds of a class are multiplied when the training is over, before the calibration, 1 "
        "where nothing is said: for a class that is rarer in blood than among the images",
    )
    laboratory_balance: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Weighted sampling of data of several laboratories: inside a class, each is drawn in proportion to "
        "its images to the power of 1 minus this; 0 as often as it has images, 1 all equally often",
    )
    shuffle: bool = Field(
        True,
        description="A new order in every epoch; without it and without sampling, that of the files, class by class",
    )
    smote: Literal["none", "pixels"] = Field(
        "none", description="pixels: synthetic training images for the smaller classes, at twice the input size"
    )
    class_weights: bool = Field(False, description="Weight the loss by the inverse frequency of the class")
    fine_labels: float = Field(
        0.0, ge=0, le=10, description="Weight of a second head that learns the classes in the file names' prefixes"
    )
    non_cells: float = Field(
        0.0, ge=0, le=0.5, description="Share of each batch replaced by pictures without a cell, to be unsure of"
    )
    contrastive_epochs: int = Field(0, ge=0, description="Epochs of supervised contrastive training before the others")
    contrastive_temperature: float = Field(0.1, gt=0, le=10, description="Temperature of the contrastive loss")
    teachers: tuple[Path, ...] = Field((), description="Model files whose mean prediction is learned as well")
    distillation: float = Field(0.5, gt=0, le=1, description="Share of the teachers in the loss, where there are any")
    distillation_temperature: float = Field(2.0, gt=0, le=20, description="Both sides' logits are divided by it")

    conflicts: ConflictsOption = "error"
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
    outlier_images: int = Field(
        6000, ge=80, description="Training images whose features the outlier score is fitted on"
    )

    precision: Annotated[Literal["auto", "fp32", "bf16", "fp16"], Option(panel=Panel.SPEED)] = Field(
        "auto", description="Arithmetic of the training; auto is bf16 where the processor has it"
    )
    devices: int | None = Field(None, ge=1, description="GPUs per node, or CPU processes; all GPUs if not given")
    nodes: int = Field(1, ge=1, description="Nodes of the job; start the command on each, as Lightning expects it")
    workers: WorkersOption = None
    cache: Annotated[Path | None, Effect.MACHINE] = Field(
        None, description="Folder that keeps the decoded images for the next training"
    )
    tensorboard: Annotated[bool, Effect.NOTHING] = Field(
        False, description="Also write TensorBoard logs to the run folder"
    )
    seed: SeedOption = Field(0, description="Seed of the split, the initialisation and the augmentation")
    licence: str = Field("not stated", description="Licence of the model file")
    attribution: str = Field("not stated", description="Source and licence of the training images")
    augmentation: AugmentationConfig = Field(default_factory=AugmentationConfig)

    @field_validator("init_weights", "teachers", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: object) -> object:
        return (value,) if isinstance(value, str | Path) else value

    @property
    def class_list(self) -> ClassList | None:
        """The declared classes; None where the data decide."""
        return ClassList(self.declared) if self.classes else None

    @model_validator(mode="after")
    def _classes_make_a_list(self) -> Self:
        self.class_list  # noqa: B018 - raises where they don't
        return self

    @model_validator(mode="after")
    def _choices_fit_together(self) -> Self:
        if self.pretrained and self.init_weights:
            raise ValueError("pretrained and init_weights exclude each other; choose one start")
        if self.ema and self.swa:
            raise ValueError("ema and swa exclude each other; choose one average")
        if self.class_shares and self.sampling == "none":
            raise ValueError("class_shares needs sampling = 'weighted'")
        if not self.shuffle and self.sampling != "none":
            raise ValueError("shuffle = false needs sampling = 'none'; weighted sampling draws at random")
        if self.smote != "none" and self.fine_labels:
            raise ValueError("smote and fine_labels exclude each other; a synthetic image has no fine label")
        changed = self.augmentation
        if changed.augmix and (changed.mixup or changed.cutmix):
            raise ValueError("augmix and mixup or cutmix exclude each other; a mixed picture has no single label")
        return self
