"""Fields that several configurations have, each said once."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from bloodcell_batch.config.base import CommandConfig, Effect, Option, Panel

CsvDialect = Literal["plain", "excel", "excel-comma"]
Precision = Literal["auto", "fp32", "fp16", "bf16", "int8"]


def _is_sha256(text: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise ValueError("a SHA-256 has 64 hexadecimal digits")
    return text.lower()


Sha256 = Annotated[str, AfterValidator(_is_sha256)]

ModelOption = Annotated[
    Path | None,
    Field(description="Model file; the one shipped with the package if not given"),
    Option("FILE"),
    Effect.RECORDED,
]
BackendOption = Annotated[
    str, Field(description="Runtime that runs the network; auto takes the fastest"), Option(panel=Panel.SPEED)
]
PrecisionOption = Annotated[
    Precision,
    Field(
        description="Arithmetic of the network; auto is the fastest that is right here. int8 of another model than the "
        "packaged one needs what export-openvino --precision int8 makes"
    ),
    Option(panel=Panel.SPEED),
    Effect.RESULT,
]
BatchSizeOption = Annotated[
    int,
    Field(ge=1, le=65536, description="Images handed to the backend at a time"),
    Option("IMAGES", panel=Panel.SPEED),
    Effect.RESULT,
]
WorkersOption = Annotated[
    int | None,
    Field(
        ge=0,
        le=256,
        description="Decoding threads; 0 decodes in the main thread; one per available CPU if not given",
    ),
    Option("THREADS", panel=Panel.SPEED),
    Effect.MACHINE,
]
CsvDialectOption = Annotated[
    CsvDialect,
    Field(
        description="Form of CSV: plain for programs; excel marks UTF-8 and disarms what a spreadsheet would change; "
        "excel-comma does so for countries that write 0,5: semicolons between the values, decimal commas"
    ),
    Option(panel=Panel.OUTPUT),
    Effect.NOTHING,
]
AuditLogOption = Annotated[
    Path | None,
    Field(description="Append one line about this run to this file, however the run ends"),
    Option("FILE", panel=Panel.OUTPUT),
    Effect.NOTHING,
]
OverwriteOption = Annotated[bool, Field(description="Replace existing results"), Option(), Effect.NOTHING]
AllowFailedOption = Annotated[
    int,
    Field(ge=0, description="Number of failed files that still counts as success (exit code 0)"),
    Option("FILES", panel=Panel.SCHEDULERS),
    Effect.NOTHING,
]
ConflictsOption = Annotated[
    Literal["error", "drop"],
    Field(description="What to do with copies of one picture under two labels"),
    Option(panel=Panel.ADVANCED),
]
LabelledImagesOption = Annotated[
    Path | None,
    Field(description="Folder with the images of reviewed results; the one in their run record if not given"),
    Option("FOLDER"),
    Effect.MACHINE,
]
SeedOption = Annotated[int, Field(ge=0, le=2**31), Option("N", panel=Panel.ADVANCED)]


class AuditedConfig(CommandConfig):
    """Options of the commands whose runs can be kept in an audit log."""

    audit_log: AuditLogOption = None


class NetworkConfig(CommandConfig):
    """Options of the commands that run a model file on images."""

    model: ModelOption = None
    require_model_sha256: Annotated[
        Sha256 | None,
        Field(description="Refuse every model file but the one with this SHA-256, all 64 digits of it"),
        Option("HEX", panel=Panel.ADVANCED),
        Effect.RECORDED,
    ] = None
    backend: Annotated[BackendOption, Option(), Effect.RECORDED] = "auto"
    precision: PrecisionOption = "auto"
    plan: Annotated[
        Path | None,
        Field(description="TensorRT plan of the model; the one beside the model if not given"),
        Option("FILE", panel=Panel.SPEED),
        Effect.RECORDED,
    ] = None
    batch_size: BatchSizeOption = 256
    views: Annotated[
        Literal[1, 8] | None,
        Field(
            description="Looks at each cell, whose mean counts: one, or eight, mirrored and turned. If not given, as "
            "the model says: the packaged one looks again at the cells that it is not sure of"
        ),
        Option(panel=Panel.SPEED),
        Effect.RESULT,
    ] = None
    workers: WorkersOption = None
