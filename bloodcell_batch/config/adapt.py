"""Options of `adapt`."""

from typing import Annotated

from pydantic import Field

from bloodcell_batch.config.base import Effect, Option
from bloodcell_batch.config.fields import AuditedConfig, ConflictsOption, ModelOption, SeedOption, WorkersOption
from bloodcell_batch.config.recipe import ClassesConfig


class AdaptConfig(ClassesConfig, AuditedConfig):
    """Options of `adapt`."""

    model: ModelOption = Field(None, description="Model to adapt; the one shipped with the package if not given")
    name: Annotated[str, Option("NAME"), Effect.NOTHING] = Field(
        "", description="Name of the new model; that of the model it comes from with -adapted if not given"
    )
    attribution: Annotated[str, Option("TEXT"), Effect.NOTHING] = Field(
        "", description="Source and licence of your cells, written to the model's header"
    )
    force: Annotated[bool, Option(), Effect.NOTHING] = Field(
        False, description="Write the model even if it is not better than before; its header says that it isn't"
    )
    conflicts: ConflictsOption = "error"
    workers: WorkersOption = None
    seed: SeedOption = Field(0, description="Seed of the folds and of the training")
