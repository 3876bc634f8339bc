"""`train`: read, audit, split, fit, calibrate, measure, and write one model file."""

import logging
import os
import platform
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import EMAWeightAveraging
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, RandomSampler, Sampler, WeightedRandomSampler

from bloodcell_batch import __version__
from bloodcell_batch.config import TrainConfig
from bloodcell_batch.cpus import available_cpus
from bloodcell_batch.errors import InputError, OutputError, TrainingError
from bloodcell_batch.labels import CLASS_NAMES
from bloodcell_batch.model_file import (
    NETWORK_PREFIX,
    OUTLIER_PREFIX,
    SEEN_PREFIX,
    ModelFile,
    ModelHeader,
    default_classes,
    save_model,
)
from bloodcell_batch.network import load_inference_module
from bloodcell_batch.preprocessing import Preprocessing
from bloodcell_batch.progress import NullObserver, Observer
from bloodcell_batch.training.calibration import Calibration, calibrate, predict
from bloodcell_batch.training.classifier import Batch, CellClassifier
from bloodcell_batch.training.dataset import (
    LabelledImages,
    Split,
    load_labelled,
    resolve_conflicts,
    stratified_split,
)
from bloodcell_batch.training.metrics import Metrics, measure

CACHE_FACTOR = 2
"""Training images are kept at this multiple of the input size, so that magnified cells stay sharp."""


_CHECKED = 64


class _InMemory(Dataset[Batch]):
    """Hands out whole batches by fancy indexing; single-item access would copy every image twice."""

    def __init__(self, images: LabelledImages) -> None:
        self._pixels = images.pixels
        self._labels = torch.from_numpy(images.labels)

    def __len__(self) -> int:
        return len(self._pixels)

    def __getitems__(self, index: list[int]) -> Batch:
        return torch.from_numpy(self._pixels[index]), self._labels[index]


class _Report(Callback):
    """Passes Lightning's epochs on to the observer."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def on_train_batch_end(self, trainer: Trainer, *_unused: object, **_also_unused: object) -> None:
        self._observer.advanced(trainer.global_step)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        logged = trainer.callback_metrics
        accuracy = logged.get("validation_balanced_accuracy")
        if accuracy is not None:
            loss = float(logged.get("train_loss", torch.nan))
            epoch = pl_module.current_epoch + 1
            text = f"epoch {epoch}: training loss {loss:.3f}, balanced validation accuracy {float(accuracy):.2%}"
            self._observer.note(text, epoch=epoch, train_loss=loss, balanced_accuracy=float(accuracy))


def train(config: TrainConfig, data: Path, out: Path, observer: Observer | None = None) -> tuple[ModelFile, Metrics]:
    """Train on the class folders of `data` and write the model file `out`.

    The figures in the model's header come from the test part, which neither the weights nor the epoch nor the
    calibration saw.

    Raises:
        InputError: no class folders, or unusable initial weights.
        TrainingError: conflicting labels, or a class with too few images.
    """
    observer = observer or NullObserver()
    preprocessing = Preprocessing(input_size=config.input_size)
    cached = preprocessing.model_copy(update={"input_size": CACHE_FACTOR * config.input_size})
    workers = available_cpus() if config.workers is None else config.workers
    images, rejected = load_labelled(data, cached, workers, observer)
    for bad in rejected:
        observer.warn(f"left out {bad.file.path}: {bad.reason} ({bad.detail})")
    images = resolve_conflicts(images, config.conflicts, observer)
    fractions = (config.validation_fraction, config.test_fraction)
    split = stratified_split(images.labels, images.groups, *fractions, config.seed)
    sizes = {"train": len(split.train), "validation": len(split.validation), "test": len(split.test)}
    observer.note("; ".join(f"{part} {size} images" for part, size in sizes.items()), **sizes)

    seed_everything(config.seed, verbose=False)
    classifier = _fit(config, preprocessing, images, split, observer)
    network = classifier.network
    network.load_state_dict(classifier.best_state)
    network.eval()
    held_out = _as_classified(data, images, np.concatenate([split.validation, split.test]), preprocessing, workers)
    validation, test = (
        held_out.take(np.arange(sizes["validation"])),
        held_out.take(np.arange(sizes["validation"], len(held_out))),
    )
    observer.note("calibrating on the validation part")
    calibration = calibrate(network, images.take(split.train), validation, preprocessing, config)
    metrics = measure(*calibration.predict(test.pixels), test.labels, calibration.rules)
    header = _header(config, preprocessing, calibration, images, sizes, classifier, metrics)
    tensors = {NETWORK_PREFIX + name: value.numpy() for name, value in network.state_dict().items()}
    tensors |= {OUTLIER_PREFIX + name: value for name, value in calibration.outlier.tensors().items()}
    tensors[SEEN_PREFIX + "train"] = np.sort(images.digests[split.train])
    tensors[SEEN_PREFIX + "validation"] = np.sort(images.digests[split.validation])
    model = save_model(out, header, tensors)
    _check_saved(model, calibration, test)
    return model, metrics


def check_model_path(out: Path, *, overwrite: bool) -> None:
    """Fail before the training begins, not after it.

    Raises:
        OutputError: wrong suffix, no such folder, no write access, or the file exists and `overwrite` is off.
    """
    if out.suffix != ".safetensors":
        raise OutputError(f"--out {out} must end in .safetensors.", hint="Choose such a name.")
    if out.exists() and not overwrite:
        raise OutputError(f"{out} exists already.", hint="Choose another name, or add --overwrite to replace it.")
    if not out.parent.is_dir() or not os.access(out.parent, os.W_OK | os.X_OK):
        raise OutputError(f"The folder {out.parent} does not exist or can't be written.", hint="Correct --out.")


def _fit(
    config: TrainConfig, preprocessing: Preprocessing, images: LabelledImages, split: Split, observer: Observer
) -> CellClassifier:
    training = images.take(split.train)
    batches = len(training) // config.batch_size or 1
    total = batches * config.epochs
    classifier = CellClassifier(config, preprocessing, total)
    if config.init_weights is not None:
        replaced = classifier.load_initial_weights(_read_weights(config.init_weights))
        observer.note(f"started from {config.init_weights.name}; {len(replaced)} tensors start afresh: {replaced[:4]}")
    classifier.network.to(memory_format=torch.channels_last)
    loader = DataLoader(
        _InMemory(training),
        batch_size=config.batch_size,
        sampler=_sampler(config, training),
        drop_last=len(training) >= config.batch_size,
        collate_fn=_identity,
    )
    checking = DataLoader(_InMemory(images.take(split.validation)), batch_size=128, collate_fn=_identity)
    callbacks: list[Callback] = [_Report(observer)]
    if config.ema:
        callbacks.append(EMAWeightAveraging(decay=config.ema, use_buffers=True))
    _quieten_lightning()
    trainer = Trainer(
        max_epochs=config.epochs,
        precision="bf16-mixed" if _use_bf16(config) else "32-true",
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    observer.started("training", total)
    with warnings.catch_warnings():
        # The batches are made in memory by this process: more loader workers would only copy them about.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        trainer.fit(classifier, loader, checking)
    observer.finished()
    return classifier.cpu()


def _identity(batch: Any) -> Any:  # noqa: ANN401 - DataLoader's own types are no better
    return batch


def _sampler(config: TrainConfig, images: LabelledImages) -> Sampler[int]:
    generator = torch.Generator().manual_seed(config.seed)
    if config.sampling == "none":
        return RandomSampler(images.paths, generator=generator)
    counts = np.bincount(images.labels, minlength=len(CLASS_NAMES))
    weights = (1 / counts)[images.labels]
    return WeightedRandomSampler(weights.tolist(), len(images), generator=generator)


def _use_bf16(config: TrainConfig) -> bool:
    """bf16 pays where the processor multiplies it natively; elsewhere it is emulated and slower than fp32."""
    if config.precision != "auto":
        return config.precision == "bf16"
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu.get_capabilities().get("avx512_bf16") or torch.cpu.get_capabilities().get("amx_bf16"))


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a bare safetensors file, or of the network in one of our model files."""
    try:
        state = safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        hint = "Give a safetensors file with the weights of the same architecture."
        raise InputError(f"Can't read the initial weights {path}: {error}.", hint=hint) from error
    ours = {
        name.removeprefix(NETWORK_PREFIX): value for name, value in state.items() if name.startswith(NETWORK_PREFIX)
    }
    return ours or state


def _quieten_lightning() -> None:
    """Lightning's banner about devices says nothing that the observer does not."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _as_classified(
    data: Path, images: LabelledImages, index: NDArray[np.int64], preprocessing: Preprocessing, workers: int
) -> LabelledImages:
    """The images at `index` decoded again straight to the network's size, exactly as `classify` does it."""
    wanted = images.take(index)
    fresh, _ = load_labelled(data, preprocessing, workers, NullObserver(), only=frozenset(wanted.paths))
    order = {path: i for i, path in enumerate(fresh.paths)}
    return fresh.take(np.array([order[path] for path in wanted.paths], dtype=np.int64))


def _check_saved(model: ModelFile, calibration: Calibration, images: LabelledImages) -> None:
    """Make sure that what was written predicts what was measured.

    Raises:
        TrainingError: it does not; the file is removed.
    """
    some = images.pixels[:_CHECKED]
    written, _ = predict(load_inference_module(model), some)
    if not np.allclose(written, calibration.predict(some)[0], atol=1e-4):
        model.path.unlink()
        hint = "This is a bug; please report it with the recipe."
        raise TrainingError("The written model predicts something else than the trained one.", hint=hint)


def _header(
    config: TrainConfig,
    preprocessing: Preprocessing,
    calibration: Calibration,
    images: LabelledImages,
    sizes: dict[str, int],
    classifier: CellClassifier,
    metrics: Metrics,
) -> ModelHeader:
    counts = np.bincount(images.labels, minlength=len(CLASS_NAMES)).tolist()
    recipe = config.model_dump(mode="json", exclude={"workers", "init_weights"})
    recipe["init_weights"] = config.init_weights.name if config.init_weights else None
    training = {
        "date": datetime.now(UTC).date().isoformat(),
        "images": dict(zip(CLASS_NAMES, counts, strict=True)),
        "split": sizes,
        "best_epoch": classifier.best_epoch,
        "best_balanced_validation_accuracy": classifier.best_accuracy,
        "recipe": recipe,
        "software": {
            "bloodcell-batch": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }
    return ModelHeader(
        name=config.name,
        architecture=config.architecture,
        classes=default_classes(),
        preprocessing=preprocessing,
        temperature=calibration.temperature,
        review_threshold=calibration.rules.review_threshold,
        outlier=calibration.rule,
        training=training,
        metrics=metrics.as_dict(),
        licence=config.licence,
        attribution=config.attribution,
    )
