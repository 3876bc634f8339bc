"""Options of `doctor`."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from bloodcell_batch.config.base import CommandConfig, Option
from bloodcell_batch.config.fields import ModelOption


class DoctorConfig(CommandConfig):
    """Options of `doctor`."""

    model: ModelOption = None
    folder: Annotated[Path, Option("DIR")] = Field(
        Path(), description="Folder whose write access is checked; the current one if not given"
    )
