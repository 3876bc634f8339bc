"""Options of the commands that make a model's network ready for other runtimes."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from bloodcell_batch.config.config import CommandConfig


class _ExportConfig(CommandConfig):
    """What all exports have."""

    images: Path | None = Field(
        None, description="Folder with images of cells on which the export is compared with PyTorch; give your own"
    )
    max_images: int = Field(2048, ge=1, le=100_000, description="Images of that folder to compare, evenly spread")
    overwrite: bool = Field(False, description="Replace an existing export")


class ExportConfig(_ExportConfig):
    """Options of `export-onnx`."""

    precision: Literal["fp32", "fp16"] = Field("fp32", description="Arithmetic of the exported network's body")


class ExportOpenVinoConfig(_ExportConfig):
    """Options of `export-openvino`."""

    precision: Literal["fp32", "fp16", "int8"] = Field(
        "fp32", description="Arithmetic of the exported network's body; int8 needs --images"
    )
    calibration_images: int = Field(
        512, ge=100, le=10_000, description="For int8: images of that folder that set the scales, and are not compared"
    )
    max_loss: float = Field(
        0.001, ge=0, le=0.05, description="For int8: largest loss of accuracy, as a share of the compared images"
    )

    @model_validator(mode="after")
    def _int8_has_images(self) -> Self:
        if self.precision == "int8" and self.images is None:
            raise ValueError("--precision int8 needs --images, a folder of real images to calibrate and compare with")
        return self


class ExportTrtConfig(ExportConfig):
    """Options of `export-trt`."""

    precision: Literal["fp32", "fp16"] = Field("fp16", description="Arithmetic of the plan")
    batch: int = Field(256, ge=1, le=4096, description="Batch that the plan is made fastest for")
    max_batch: int | None = Field(None, ge=1, le=4096, description="Largest batch the plan takes; --batch if unset")

    @model_validator(mode="after")
    def _batches_are_ordered(self) -> Self:
        if self.max_batch is not None and self.max_batch < self.batch:
            raise ValueError(f"--max-batch {self.max_batch} is smaller than --batch {self.batch}")
        return self
