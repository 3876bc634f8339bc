"""One frozen model per sub-command: every option's type, default, range and description live here and only here.

Precedence: command-line flag > key of the `--config` TOML file > default. Unknown keys are errors.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from bloodcell_batch.errors import UsageError
from bloodcell_batch.files.toml import read_toml
from bloodcell_batch.slides.rules import SlideBy
from bloodcell_batch.slides.shards import parse_shard

CsvDialect = Literal["plain", "excel"]
DedupMode = Literal["off", "exact", "near"]
Precision = Literal["auto", "fp32", "fp16", "bf16", "int8"]

PRECISION_HELP = (
    "Arithmetic of the network; auto is the fastest that agrees. int8 runs the network that export-openvino "
    "--precision int8 made: MODEL.int8.xml beside the model, or in the user's cache"
)


def _is_sha256(text: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise ValueError("a SHA-256 has 64 hexadecimal digits")
    return text.lower()


Sha256 = Annotated[str, AfterValidator(_is_sha256)]


class CommandConfig(BaseModel):
    """Base of all configurations: immutable, and strict about unknown keys."""

    # Built when first used: building the schemas of all commands would be a third of the time of --help.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class ClassifyConfig(CommandConfig):
    """Options of `classify`."""

    model: Path | None = Field(None, description="Model file; the one shipped with the package if not given")
    require_model_sha256: Sha256 | None = Field(
        None, description="Refuse every model file but the one with this SHA-256, all 64 digits of it"
    )
    backend: str = Field("auto", description="Runtime that runs the network")
    precision: Precision = Field("auto", description=PRECISION_HELP)
    plan: Path | None = Field(None, description="TensorRT plan of the model; the one beside the model if not given")
    batch_size: int = Field(256, ge=1, le=65536, description="Images handed to the backend at a time")
    views: Literal[1, 2, 4, 8] = Field(
        1, description="Mirrored and turned views of each cell to average: surer, for as many times the network's time"
    )
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
    jpeg_decoder: Literal["cpu", "gpu"] = Field(
        "cpu", description="gpu decodes large JPEGs faster, but may not notice damage inside a file"
    )
    max_megapixels: float = Field(50.0, gt=0, le=2000, description="Images with more megapixels fail as too_large")
    min_confidence: float | None = Field(
        None, ge=0, le=1, description="Cells with a lower top probability stay unclassified; the model's own if unset"
    )
    outlier_threshold: float | None = Field(
        None, gt=0, description="Cells with a higher outlier score stay unclassified; the model's own if unset"
    )
    shard: str | None = Field(
        None, description="Only the slides of part i of n, as i/n with i from 0 to n - 1; `merge` joins the results"
    )
    engine: Literal["local", "ray"] = Field(
        "local", description="Where the slides are classified: here, or on a Ray cluster"
    )
    ray_address: str | None = Field(
        None, description="For --engine ray: a running cluster, or auto to find it; Ray starts on this machine if unset"
    )
    csv_dialect: CsvDialect = Field(
        "plain", description="Form of CSV: plain for programs; excel marks UTF-8 and disarms what a spreadsheet changes"
    )
    file_timeout: float = Field(
        120.0,
        gt=0,
        le=86_400,
        description="Seconds after which a file that can't be read or decoded fails as timed_out",
    )
    audit_log: Path | None = Field(
        None, description="Append one line about this run to this file, whatever comes of it"
    )
    overwrite: bool = Field(False, description="Replace existing results")
    update: bool = Field(
        False, description="Replace existing results, but keep the rows of files that have not changed since"
    )
    allow_failed: int = Field(0, ge=0, description="Number of failed files that still counts as success (exit code 0)")

    @model_validator(mode="after")
    def _slide_rule_is_complete(self) -> Self:
        if (self.slide_by == "regex") != (self.slide_regex is not None):
            raise ValueError("--slide-by regex and --slide-regex go together")
        if self.update and self.overwrite:
            raise ValueError("--update and --overwrite exclude each other: --overwrite does everything anew")
        if self.update and self.engine == "ray":
            raise ValueError("--update and --engine ray exclude each other: what is left to do is done on one machine")
        if (self.slide_by == "manifest") != (self.slide_manifest is not None):
            raise ValueError("--slide-by manifest and --slide-manifest go together")
        return self

    @model_validator(mode="after")
    def _address_is_of_ray(self) -> Self:
        if self.ray_address is not None and self.engine != "ray":
            raise ValueError("--ray-address needs --engine ray")
        return self

    @field_validator("shard")
    @classmethod
    def _shard_exists(cls, shard: str | None) -> str | None:
        return None if shard is None else str(parse_shard(shard))


NOT_IN_THE_ROWS = frozenset(
    {"model", "require_model_sha256", "backend", "plan", "workers", "slide_manifest", "min_confidence"}
    | {"outlier_threshold", "shard", "engine", "ray_address", "csv_dialect", "file_timeout", "audit_log", "overwrite"}
    | {"update", "allow_failed"}
)
"""Options of `classify` that don't change a row, or are told better by something else that the run record says: the
model's SHA-256, the thresholds in use, and the slides."""


class MergeConfig(CommandConfig):
    """Options of `merge`."""

    csv_dialect: CsvDialect = Field("plain", description="Form of CSV, as for classify")
    overwrite: bool = Field(False, description="Replace existing results")
    allow_failed: int = Field(0, ge=0, description="Number of failed files that still counts as success (exit code 0)")


class EvaluateConfig(CommandConfig):
    """Options of `evaluate`."""

    require_model_sha256: Sha256 | None = Field(
        None, description="Refuse every model file but the one with this SHA-256, all 64 digits of it"
    )
    backend: str = Field("auto", description="Runtime that runs the network")
    precision: Precision = Field("auto", description=PRECISION_HELP)
    plan: Path | None = Field(None, description="TensorRT plan of the model; the one beside the model if not given")
    batch_size: int = Field(256, ge=1, le=65536, description="Images handed to the backend at a time")
    views: Literal[1, 2, 4, 8] = Field(
        1, description="Mirrored and turned views of each cell to average: surer, for as many times the network's time"
    )
    workers: int | None = Field(None, ge=0, le=256, description="Decoding threads; one per available CPU if unset")
    part: Literal["unseen", "validation", "training", "all"] = Field(
        "unseen", description="Images to use: those the model's training never saw, or a part that it did see"
    )
    class_map: dict[str, str] = Field(
        default_factory=dict, description="Label of another laboratory -> one of our classes, or 'ignore'"
    )
    bootstrap: int = Field(1000, ge=0, le=100_000, description="Bootstrap samples for the intervals; 0 for none")
    corruptions: bool = Field(False, description="Also classify the images corrupted in 14 ways at 5 severities")
    corruption_images: int = Field(500, ge=1, description="Images that are corrupted, evenly from all classes")
    audit_log: Path | None = Field(
        None, description="Append one line about this run to this file, whatever comes of it"
    )


Config = TypeVar("Config", bound=CommandConfig)


def peek(file: Path | None, key: str) -> object:
    """The value of one key in a TOML file that `resolve` may yet refuse; None without the file or the key."""
    try:
        return _read_toml(file).get(key) if file else None
    except UsageError:
        return None  # `resolve` says what is wrong with the file


def resolve(
    kind: type[Config], flags: Mapping[str, Any], file: Path | None = None, settings: Sequence[str] = ()
) -> Config:
    """Merge flags over settings over a TOML file over the defaults.

    Args:
        kind: the configuration class.
        flags: option values; None means not given.
        file: TOML file whose keys are the fields of `kind`.
        settings: `key=value` texts; a dotted key reaches into a table, the value is TOML or plain text.

    Raises:
        UsageError: unreadable or malformed file, unknown key, or a value out of range; the text names the key.
    """
    values = _read_toml(file) if file else {}
    for setting in settings:
        _set(values, setting)
    values |= {key: value for key, value in flags.items() if value is not None}
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise UsageError(_explain(error, kind, file), hint="See --help for the options and their ranges.") from error


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return read_toml(file)
    except OSError as error:
        raise UsageError(f"Can't read the configuration {file}: {error.strerror}.", hint="Check --config.") from error
    except ValueError as error:
        raise UsageError(f"The configuration {file} is not valid TOML: {error}.", hint="Correct the file.") from error


def _set(values: dict[str, Any], setting: str) -> None:
    key, equals, text = setting.partition("=")
    *tables, last = key.strip().split(".")
    if not equals or not last:
        raise UsageError(f"--set {setting!r} is not KEY=VALUE.", hint="For example: --set augmentation.blur=0.3")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text.strip()  # quotes around a word would have to survive the shell
    for table in tables:
        values = values.setdefault(table, {})
        if not isinstance(values, dict):
            raise UsageError(f"--set {setting!r}: {table} is not a table.", hint="See --help for the keys.")
    values[last] = value


def _explain(error: ValidationError, kind: type[BaseModel], file: Path | None) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    source = f" (from {file} or a flag)" if file else ""
    if first["type"] == "extra_forbidden":
        table: Any = kind
        for part in first["loc"][:-1]:
            table = table.model_fields[part].annotation
        return f"Unknown key {key!r} in {file or '--set'}; known keys: {', '.join(table.model_fields)}."
    message = first["msg"].removeprefix("Value error, ")
    if not key:
        return f"{message}{source}."
    flag = "--" + key.replace("_", "-")
    return f"{flag} can't be {first['input']!r}{source}: {message[0].lower() + message[1:]}."
