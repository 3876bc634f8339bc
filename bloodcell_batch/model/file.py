"""The model file: one safetensors file with the weights and, in its header, everything needed to use them.

The header's metadata holds one JSON document under the key `bloodcell_batch`. The file's SHA-256 is the model's
identity. No pickle is ever loaded, and the preprocessing is read from here, never guessed from a name.
"""

import errno
import hashlib
import json
import os
import stat
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bloodcell_batch.cell_classes import DEFAULT_CLASSES, CellClass, ClassList, Role
from bloodcell_batch.config.problems import first_problem
from bloodcell_batch.errors import ModelFileError, ModelRefusedError
from bloodcell_batch.files.publishing import written_whole
from bloodcell_batch.files.writing import writing
from bloodcell_batch.images.preprocessing import Preprocessing

FORMAT_VERSION: Literal[1] = 1
METADATA_KEY = "bloodcell_batch"
NETWORK_PREFIX = "network."
OUTLIER_PREFIX = "outlier."
SEEN_PREFIX = "seen."
_ASSETS = Path(str(files("bloodcell_batch"))) / "assets"
DEFAULT_MODEL = _ASSETS / "default_model.safetensors"
DEFAULT_FINDER = _ASSETS / "finder.safetensors"
_MAX_HEADER_BYTES = 16_000_000
_MAX_BYTES = 8_000_000_000
_HINT = "Use a model file written by `bloodcell-batch train`."
_PICKLE_MAGIC = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ClassEntry(_Frozen):
    """A class of the network's output, in output order; `parent` is the class that it is a kind of."""

    name: str = Field(pattern="^[a-z][a-z0-9_]*$", max_length=40)
    role: Role
    parent: str = Field("", pattern="^([a-z][a-z0-9_]*)?$", max_length=40)


class OutlierRule(_Frozen):
    """The outlier score's decision: scores above `threshold` are flagged. `description` says how it was fitted."""

    threshold: float = Field(gt=0)
    description: str


NO_OUTLIER_RULE = OutlierRule(threshold=1.0, description="none: a finder has no outlier score")
FINDER_CLASSES = (
    ClassEntry(name="leukocyte", role=Role.LEUKOCYTE),
    ClassEntry(name="red_cell", role=Role.OUTSIDE),
    ClassEntry(name="platelet", role=Role.PLATELET),
)
"""Maps of a finder, in order. Leukocyte is every nucleated cell, erythroblasts too: the classifier tells them apart."""


class FinderRule(_Frozen):
    """How the maps of a finder are read."""

    stride: int = Field(ge=1, le=64, description="pixels of the input per place of the maps")
    red_cell_side: float = Field(gt=0, description="diameter of a red cell in the input, in pixels")
    thresholds: tuple[float, float, float] = Field(description="lowest score of a cell of each class")


class ModelHeader(_Frozen):
    """The JSON document in a model file's header."""

    format_version: Literal[1] = FORMAT_VERSION
    name: str
    architecture: str = Field(description="name of one of timm's networks or of ours")
    classes: tuple[ClassEntry, ...]
    preprocessing: Preprocessing
    temperature: float = Field(gt=0, description="logits are divided by it before the softmax")
    review_threshold: float = Field(ge=0, le=1, description="cells with a lower top probability are not classified")
    second_look: float = Field(
        0.0, ge=0, le=1, description="cells with a lower top probability are looked at again, turned; 0: none are"
    )
    outlier: OutlierRule
    finder: FinderRule | None = Field(
        None, description="of the networks that find cells in fields; None for the others"
    )
    training: dict[str, Any] = Field(description="data, split sizes, recipe and software of the training run")
    metrics: dict[str, Any] = Field(description="figures on images that no part of the fitting saw")
    licence: str
    attribution: str

    @model_validator(mode="after")
    def _classes_make_a_list(self) -> Self:
        class_list(self.classes)
        return self

    @property
    def class_list(self) -> ClassList:
        """The classes of the network's outputs."""
        return class_list(self.classes)

    @property
    def outputs(self) -> int:
        """Numbers that the network's first output has for an image: one per class, or a finder's maps in a row."""
        places = 1 if self.finder is None else (self.preprocessing.input_size // self.finder.stride) ** 2
        return len(self.classes) * places


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model file that was checked: its path, identity and header. Tensors are read by `load_tensors`."""

    path: Path
    sha256: str
    header: ModelHeader

    def load_tensors(self, prefix: str) -> dict[str, NDArray[Any]]:
        """Tensors whose names start with `prefix`, the prefix taken off.

        Raises:
            ModelFileError: the file was changed since it was opened, or has tensors of a type that NumPy lacks.
        """
        data = _read(self.path)
        if hashlib.sha256(data).hexdigest() != self.sha256:
            hint = "Run it again with the model file that you mean; don't replace it while a run uses it."
            raise ModelFileError(f"The model file {self.path} was changed while it was in use.", hint=hint)
        try:
            tensors = safetensors.numpy.load(data)
        except (KeyError, ValueError, safetensors.SafetensorError) as error:
            raise ModelFileError(f"Can't read the tensors of {self.path}: {error}.", hint=_HINT) from error
        return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def class_entries(classes: ClassList = DEFAULT_CLASSES) -> tuple[ClassEntry, ...]:
    """Classes as a model file has them."""
    return tuple(ClassEntry(name=cell.name, role=cell.role, parent=cell.parent) for cell in classes.classes)


def class_list(entries: Iterable[ClassEntry]) -> ClassList:
    """Classes of a model file as a list; ValueError if they don't make one."""
    return ClassList(tuple(CellClass(entry.name, entry.role, entry.parent) for entry in entries))


def open_model(path: Path | None = None, required_sha256: str | None = None) -> ModelFile:
    """Check a model file and read its header; None means the model that ships with the package.

    Args:
        path: the file.
        required_sha256: its identity, hexadecimal in either case; compared before anything of the file is parsed.

    Raises:
        ModelFileError: missing, unreadable, not safetensors, no header of ours, another format version.
        ModelRefusedError: it has another SHA-256 than `required_sha256`.
    """
    model = open_network(path or DEFAULT_MODEL, required_sha256)
    if model.header.finder is not None:
        hint = "Give it to --finder, and a model that `bloodcell-batch train` wrote to --model."
        raise ModelFileError(f"{model.path} finds cells in fields; it does not classify them.", hint=hint)
    return model


def open_finder(path: Path | None = None, required_sha256: str | None = None) -> ModelFile:
    """As `open_model`, of a network that finds cells in fields.

    Raises:
        ModelFileError: as there, or it is a classifier.
        ModelRefusedError: as there.
    """
    model = open_network(path or DEFAULT_FINDER, required_sha256)
    if model.header.finder is None:
        hint = "Use a model file written by `bloodcell-batch train-finder`, or leave --finder out."
        raise ModelFileError(f"{model.path} classifies cells; it does not find them.", hint=hint)
    return model


def open_network(path: Path, required_sha256: str | None = None) -> ModelFile:
    """As `open_model`, whatever the network is for."""
    data = _read(path)
    sha256 = hashlib.sha256(data).hexdigest()
    if required_sha256 is not None and sha256 != required_sha256.lower():
        hint = "Name the model file that was released for this use with --model, or correct --require-model-sha256."
        message = f"The model file {path} has the SHA-256 {sha256}, required is {required_sha256.lower()}."
        raise ModelRefusedError(message, hint=hint)
    return ModelFile(path=path, sha256=sha256, header=_parse_header(path, data))


def _read(path: Path) -> bytes:
    hint = "Give an existing model file, or leave --model out to use the one that ships with the package."
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_BYTES:
            wrong = f"{path} is not a model file: it is not a regular file, or larger than {_MAX_BYTES:,} bytes."
            raise ModelFileError(wrong, hint=hint)
        return path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"Can't read the model file {path}: {error.strerror or error}.", hint=hint) from error


def save_model(path: Path, header: ModelHeader, tensors: Mapping[str, NDArray[Any]]) -> ModelFile:
    """Write a model file so that it is never seen half-written, and read it back.

    Args:
        path: where to put it; replaced if it exists.
        header: the JSON document.
        tensors: names with their prefix (`network.`, `outlier.`, `seen.`).

    Raises:
        OutputError: the file can't be written.
    """
    metadata = {METADATA_KEY: header.model_dump_json()}
    # safetensors stores an array's memory as it lies: a transposed or channels-last one would be scrambled in silence.
    ordered = {name: np.asarray(value, order="C") for name, value in tensors.items()}
    data = safetensors.numpy.save(ordered, metadata=metadata)
    hint = "Free some space or choose another place, then run it again; an older file of that name is untouched."
    with writing(f"the model file {path}", hint):
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as partial:
            partial.write_bytes(data)
    return open_network(path)


def _parse_header(path: Path, data: bytes) -> ModelHeader:
    # A header length of ours may start with a pickle's two bytes, but its upper half is always zero.
    if data.startswith(_PICKLE_MAGIC) and data[4:8] != bytes(4):
        hint = "Only safetensors files written by `bloodcell-batch train` are loaded; a pickle could run any code."
        raise ModelFileError(f"{path} is a pickle (.pt, .pth, .pkl), which is never loaded.", hint=hint)
    hint = _HINT
    try:
        metadata = _safetensors_metadata(data)
    except (ValueError, struct.error) as error:
        raise ModelFileError(f"{path} is not a safetensors file, or it is damaged: {error}.", hint=hint) from error
    if METADATA_KEY not in metadata:
        foreign = f"{path} is a safetensors file but has no {METADATA_KEY!r} header: it is another program's."
        raise ModelFileError(foreign, hint=hint + " Bare weights can start a training: train --init-weights FILE.")
    try:
        document = json.loads(metadata[METADATA_KEY])
        version = document.get("format_version") if isinstance(document, dict) else None
        if version != FORMAT_VERSION:
            wrong = f"{path} has model format version {version!r}; this release reads version {FORMAT_VERSION}."
            raise ModelFileError(wrong, hint="Install the release that wrote it, or train the model again.")
        return ModelHeader.model_validate(document)
    except ValidationError as error:
        problem = first_problem(error, "header")
        raise ModelFileError(f"The header of {path} is wrong at {problem}.", hint=hint) from error
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"The header of {path} is not JSON: {error}.", hint=hint) from error


def _safetensors_metadata(data: bytes) -> dict[str, str]:
    """Metadata of safetensors bytes, after the whole file's layout was checked."""
    if len(data) < struct.calcsize("<Q"):
        raise ValueError("too short")
    (length,) = struct.unpack_from("<Q", data)
    if length > min(_MAX_HEADER_BYTES, len(data) - 8):
        raise ValueError(f"its header claims {length} bytes")
    try:
        safetensors.deserialize(data)  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError as error:
        raise ValueError(str(error)) from error
    document = json.loads(data[8 : 8 + length])
    metadata = document.get("__metadata__") or {}
    return {str(key): str(value) for key, value in metadata.items()}
