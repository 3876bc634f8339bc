"""Options of the commands that make a model's network ready for other runtimes."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from bloodcell_batch.config.base import CommandConfig, Option
from bloodcell_batch.config.fields import OverwriteOption


class _ExportConfig(CommandConfig):
    """What all exports have."""

    images: Annotated[Path | None, Option("FOLDER")] = Field(
        None,
        description="Folder with images of cells on which the export is compared with PyTorch; give your own. For int8 "
        "also a manifest or reviewed results",
    )
    max_images: Annotated[int, Option("IMAGES")] = Field(
        2048, ge=1, le=100_000, description="Images of that folder to compare, evenly spread"
    )
    overwrite: OverwriteOption = Field(False, description="Replace an existing export")


class ExportConfig(_ExportConfig):
    """Options of `export-onnx`."""

    precision: Annotated[Literal["fp32", "fp16"], Option()] = Field(
        "fp32", description="Arithmetic of the exported network's body"
    )


class ExportOpenVinoConfig(_ExportConfig):
    """Options of `export-openvino`."""

    precision: Annotated[Literal["fp32", "fp16", "int8"], Option()] = Field(
        "fp32", description="Arithmetic of the exported network's body; int8 needs --images"
    )
    calibration_images: Annotated[int, Option("IMAGES")] = Field(
        512, ge=100, le=10_000, description="For int8: images of that folder that set the scales, and are not compared"
    )
    max_loss: Annotated[float, Option("SHARE")] = Field(
        0.001, ge=0, le=0.05, description="For int8: largest loss of accuracy, as a share of the compared images"
    )

    @model_validator(mode="after")
    def _int8_has_images(self) -> Self:
        if self.precision == "int8" and self.images is None:
            raise ValueError("--precision int8 needs --images, a folder of real images to calibrate and compare with")
        return self


class ExportTrtConfig(ExportConfig):
    """Options of `export-trt`."""

    precision: Annotated[Literal["fp32", "fp16"], Option()] = Field("fp16", description="Arithmetic of the plan")
    batch: Annotated[int, Option("IMAGES")] = Field(
        256, ge=1, le=4096, description="Batch that the plan is made fastest for"
    )
    max_batch: Annotated[int | None, Option("IMAGES")] = Field(
        None, ge=1, le=4096, description="Largest batch that the plan takes; that of --batch if not given"
    )

    @model_validator(mode="after")
    def _batches_are_ordered(self) -> Self:
        if self.max_batch is not None and self.max_batch < self.batch:
            raise ValueError(f"--max-batch {self.max_batch} is smaller than --batch {self.batch}")
        return self
