"""`train-finder`: read the fields of a recipe, fit, measure on those held out, and write one model file."""

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from bloodcell_batch import __version__
from bloodcell_batch.config.base import Effect, fields_with
from bloodcell_batch.config.finder import EvaluateFinderConfig, TrainFinderConfig
from bloodcell_batch.errors import ModelFileError, OutputError, TrainingError
from bloodcell_batch.files.publishing import check_new
from bloodcell_batch.files.writing import writing
from bloodcell_batch.images.preprocessing import Preprocessing
from bloodcell_batch.model.file import (
    FINDER_CLASSES,
    NETWORK_PREFIX,
    NO_OUTLIER_RULE,
    FinderRule,
    ModelFile,
    ModelHeader,
    open_finder,
    save_model,
)
from bloodcell_batch.model.finder_network import FINDER_ARCHITECTURE, STRIDE, FinderNetwork
from bloodcell_batch.progress import Observer
from bloodcell_batch.training.finder.data import TrainingField, field_files, read_field
from bloodcell_batch.training.finder.drawing import Artist
from bloodcell_batch.training.finder.evaluate import SourceFigures, evaluate_finder
from bloodcell_batch.training.finder.fit import fit
from bloodcell_batch.training.finder.thresholds import UNDECIDED, chosen_thresholds


@dataclass(frozen=True, slots=True)
class _Data:
    """The fields of the training part, and how many images of each source are in which part."""

    fields: list[TrainingField]
    sizes: dict[str, dict[str, int]]


def train_finder(
    config: TrainFinderConfig, data: Path, out: Path, observer: Observer
) -> tuple[ModelFile, dict[str, SourceFigures]]:
    """Train on the fields below `data` and write the finder `out`.

    A training that was interrupted at the same `out` is continued from its last whole epoch.

    Scores from which on a cell counts are decided on the validation part, if the recipe does not give them.

    Returns:
        The finder, and its figures on the fields that were held out; none if the recipe holds out none.

    Raises:
        InputError: boxes or initial weights that can't be read.
        TrainingError: a source without images, no field to train on, or a loss that is not a number.
        OutputError: the model file or the checkpoint can't be written.
    """
    sources = config.used_sources()
    read = _read(config, data, observer)
    checkpoint = checkpoint_of(out)
    with writing(f"to {checkpoint.parent}"):
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
    network = fit(config, Artist(config, read.fields), observer, checkpoint).network.cpu()
    thresholds = config.thresholds or UNDECIDED
    model = _saved(config, network, read.sizes, thresholds, {}, out)
    if config.thresholds is None:
        thresholds = chosen_thresholds(model, data, sources, observer)
        model = _saved(config, network, read.sizes, thresholds, {}, out)
    figures: dict[str, SourceFigures] = {}
    if any("test" in sizes for sizes in read.sizes.values()):
        figures = evaluate_finder(model, data, sources, EvaluateFinderConfig(), observer)
        model = _saved(config, network, read.sizes, thresholds, figures, out)
    checkpoint.unlink(missing_ok=True)
    return model, figures


def checkpoint_of(out: Path) -> Path:
    """Where the state of a training that writes `out` is kept until it is done."""
    return out.with_suffix(".training") / "last.ckpt"


def check_finder_path(out: Path, *, overwrite: bool, resume: bool) -> None:
    """Fail before the training begins, not after it. With `overwrite`, an interrupted training is forgotten.

    Raises:
        OutputError: wrong suffix, no such folder, no write access, the file exists and `overwrite` is off, or an
            interrupted training lies there and neither `overwrite` nor `resume` says what to do with it.
    """
    check_new(out, overwrite=overwrite, suffix=".safetensors")
    checkpoint = checkpoint_of(out)
    if not checkpoint.exists() or resume:
        return
    if not overwrite:
        hint = "Add --resume to continue it, or --overwrite to start over."
        raise OutputError(f"An interrupted training lies in {checkpoint.parent}.", hint=hint)
    checkpoint.unlink()


def _read(config: TrainFinderConfig, data: Path, observer: Observer) -> _Data:
    sources = config.used_sources()
    fields: list[TrainingField] = []
    sizes: dict[str, dict[str, int]] = {}
    files = list(field_files(sources, data))
    observer.started("reading fields", len(files))
    for done, file in enumerate(files, start=1):
        counts = sizes.setdefault(file.source, {})
        counts[file.part] = counts.get(file.part, 0) + 1
        if file.part == "train":
            field = read_field(file, sources[file.source])
            if field is None:
                counts["without_scale"] = counts.get("without_scale", 0) + 1
            else:
                fields.append(field)
        observer.advanced(done)
    observer.finished()
    if not fields:
        raise TrainingError(f"There is no field to train on in {data}.", hint="See `sources` in the recipe.")
    for name, counts in sizes.items():
        observer.note(f"{name}: " + ", ".join(f"{count} {part}" for part, count in counts.items()))
    return _Data(fields, sizes)


def _saved(
    config: TrainFinderConfig,
    network: FinderNetwork,
    sizes: dict[str, dict[str, int]],
    thresholds: tuple[float, float, float],
    figures: Mapping[str, SourceFigures],
    out: Path,
) -> ModelFile:
    recipe = config.model_dump(mode="json", exclude=fields_with(TrainFinderConfig, Effect.MACHINE))
    # A name only: a path tells about the machine, and means nothing on another.
    recipe["init_weights"] = config.init_weights.name if config.init_weights else None
    software = {"bloodcell-batch": __version__, "torch": torch.__version__, "python": platform.python_version()}
    header = ModelHeader(
        name=config.name,
        architecture=FINDER_ARCHITECTURE,
        classes=FINDER_CLASSES,
        preprocessing=Preprocessing(input_size=config.tile),
        temperature=1.0,
        review_threshold=0.0,
        outlier=NO_OUTLIER_RULE,
        finder=FinderRule(stride=STRIDE, red_cell_side=config.red_cell_side, thresholds=thresholds),
        training={
            "date": datetime.now(UTC).date().isoformat(),
            "images": sizes,
            "recipe": recipe,
            "started_from": _origin(config.init_weights),
            "software": software,
        },
        metrics={name: source.as_dict() for name, source in figures.items()},
        licence=config.licence,
        attribution=config.attribution,
    )
    tensors = {NETWORK_PREFIX + name: value.numpy() for name, value in network.state_dict().items()}
    return save_model(out, header, tensors)


def _origin(init_weights: Path | None) -> dict[str, Any] | None:
    """Where the weights came from that the training began with: a finder tells its own training, and so on back."""
    if init_weights is None:
        return None
    origin: dict[str, Any] = {
        "name": init_weights.name,
        "sha256": hashlib.sha256(init_weights.read_bytes()).hexdigest(),
    }
    try:
        return origin | {"training": open_finder(init_weights).header.training}
    except ModelFileError:
        return origin  # a classifier's weights, as timm has them
