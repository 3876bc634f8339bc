"""The fit itself: contrastive epochs if the recipe has any, then the classifier, on Lightning's trainer."""

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.data import DataLoader

from bloodcell_batch.cell_classes import ClassList
from bloodcell_batch.config.recipe import TrainConfig
from bloodcell_batch.errors import UsageError
from bloodcell_batch.images.preprocessing import Preprocessing
from bloodcell_batch.progress import Observer, counted
from bloodcell_batch.training.augmentation.oversampling import smote_on_pixels
from bloodcell_batch.training.data.labelled import LabelledImages
from bloodcell_batch.training.data.split import Split
from bloodcell_batch.training.data.training_set import TrainingSet
from bloodcell_batch.training.fit.batches import InMemory, checking_loader, training_loader
from bloodcell_batch.training.fit.callbacks import Checkpoint, Report, averages_and_stops
from bloodcell_batch.training.fit.contrastive import ContrastiveLearner
from bloodcell_batch.training.fit.fine_labels import fine_labels
from bloodcell_batch.training.fit.initial_weights import load_teachers, read_weights, rows_by_name, weights_names
from bloodcell_batch.training.fit.lightning_module import Batch, CellClassifier, NormalisedNetwork
from bloodcell_batch.training.fit.run_folder import CHECKPOINT, CONTRASTIVE_CHECKPOINT, RunFolder


@dataclass(frozen=True, slots=True)
class _Session:
    """What both phases share."""

    config: TrainConfig
    observer: Observer
    folder: RunFolder | None

    @property
    def devices(self) -> int:
        """Processes per node: one per GPU, or one on the CPU unless the recipe asks for more."""
        return self.config.devices or max(1, torch.cuda.device_count())

    def steps(self, images: int) -> int:
        """Optimisation steps of an epoch of so many images."""
        return max(1, images // (self.config.batch_size * self.devices * self.config.nodes))

    def run(
        self,
        network: NormalisedNetwork,
        loaders: tuple[DataLoader[Batch], DataLoader[Batch] | None],
        epochs: int,
        callbacks: list[Callback],
        checkpoint: str,
    ) -> None:
        """Train, from the checkpoint if there is one."""
        config = self.config
        network.network.to(memory_format=torch.channels_last)
        callbacks = [*callbacks, Report(self.observer, self.folder)]
        start = None
        if self.folder is not None:
            callbacks.append(Checkpoint(self.folder.path / checkpoint))
            start = self.folder.path / checkpoint
        trainer = Trainer(
            accelerator="gpu" if torch.cuda.is_available() else "cpu",
            devices=self.devices,
            num_nodes=config.nodes,
            strategy="ddp" if self.devices * config.nodes > 1 else "auto",
            max_epochs=epochs,
            precision=_precision(config),  # type: ignore[arg-type]
            gradient_clip_val=config.gradient_clip or None,
            callbacks=callbacks,
            logger=self._logger(),
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
        )
        self.observer.started("training", network.total_steps)
        try:
            with warnings.catch_warnings():
                # The batches are made in memory by this process: more loader workers would only copy them about.
                warnings.filterwarnings("ignore", message=".*does not have many workers.*")
                # Lightning 2.6 calls a function of its own that PyTorch 2.15 deprecated.
                warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
                trainer.fit(network, *loaders, ckpt_path=start if start and start.exists() else None, weights_only=True)
        except SystemExit as stop:
            # Lightning turns Ctrl-C into an exit code of its own after tidying up.
            raise KeyboardInterrupt from stop
        finally:
            self.observer.finished()

    def _logger(self) -> TensorBoardLogger | bool:
        if not self.config.tensorboard or self.folder is None:
            return False
        try:
            return TensorBoardLogger(self.folder.path, name="tensorboard", version="")
        except ModuleNotFoundError as error:
            raise UsageError("tensorboard is not installed.", hint="pip install tensorboard") from error


def fit(
    config: TrainConfig,
    training_set: TrainingSet,
    observer: Observer,
    folder: RunFolder | None = None,
    callbacks: Sequence[Callback] = (),
) -> CellClassifier:
    """Train on the training part, choose the epoch on the validation part.

    Args:
        config: the recipe.
        training_set: images at twice the input size (see `augment`), and their parts.
        observer: told of every step and epoch.
        folder: where log and checkpoints go; a checkpoint that lies there is continued from.
        callbacks: of Lightning's, besides those that the recipe asks for.

    Returns:
        The classifier on the CPU, with `best_state` filled. Without epochs, that is the initial weights as they are.

    Raises:
        InputError: the initial weights can't be read.
        TrainingError: the loss became NaN or infinite.
        OutputError: log or checkpoint can't be written.
    """
    seed_everything(config.seed, verbose=False)
    _quieten_lightning()
    session = _Session(config, observer, folder)
    preprocessing = Preprocessing(input_size=config.input_size)
    data, checked, fine_names = _datasets(config, training_set.images, training_set.split, observer)
    steps = session.steps(len(data))
    classifier = CellClassifier(
        config,
        preprocessing,
        steps * config.epochs,
        class_counts=np.bincount(data.labels, minlength=len(training_set.images.classes)).tolist(),
        fine_classes=len(fine_names),
        teachers=load_teachers(config.teachers),
    )
    if config.init_weights:
        _start_from_weights(config, classifier, training_set.images.classes, observer)
    if config.contrastive_epochs and not (folder and folder.checkpoint.exists()):
        _pretrain_contrastively(session, preprocessing, data, classifier)
    if config.epochs == 0:
        classifier.best_state = classifier.network.state_dict()
        return classifier.eval()
    loaders = training_loader(config, data, classifier), checking_loader(checked)
    session.run(classifier, loaders, config.epochs, [*averages_and_stops(config, steps), *callbacks], CHECKPOINT)
    return classifier.cpu()


def _start_from_weights(
    config: TrainConfig, classifier: CellClassifier, classes: ClassList, observer: Observer
) -> None:
    rows = rows_by_name(config.init_weights, classes)
    replaced = classifier.load_initial_weights(read_weights(config.init_weights), rows)
    afresh = counted(len(replaced), "tensor starts", "tensors start")
    observer.note(f"started from {weights_names(config.init_weights)}; {afresh} afresh: {replaced[:4]}")
    kept = None if rows is None else {classes.names[ours] for ours in rows}
    if kept is not None and len(kept) < len(classes):
        fresh = ", ".join(name for name in classes.reading_order if name not in kept)
        told = ", ".join(name for name in classes.reading_order if name in kept) or "none"
        observer.note(f"outputs of the classifier taken over by name: {told}; new: {fresh}")


def _datasets(
    config: TrainConfig, images: LabelledImages, split: Split, observer: Observer
) -> tuple[InMemory, InMemory, tuple[str, ...]]:
    """The training and the validation part, and the names of the fine labels."""
    fine, fine_names = fine_labels(images) if config.fine_labels else (np.zeros(len(images), dtype=np.int64), ())
    data, checked = InMemory(images, fine, split.train), InMemory(images, fine, split.validation)
    if config.smote == "pixels":
        more = smote_on_pixels(images.take(split.train), config.seed)
        observer.note(f"SMOTE: {len(more) - len(data)} synthetic images beside {len(data)} real ones")
        data = InMemory(more, np.zeros(len(more), dtype=np.int64), np.arange(len(more)))
    return data, checked, fine_names


def _pretrain_contrastively(
    session: _Session, preprocessing: Preprocessing, data: InMemory, classifier: CellClassifier
) -> None:
    """Train the body of the classifier's network on pairs of views."""
    epochs = session.config.contrastive_epochs
    classes = len(data.images.classes)
    learner = ContrastiveLearner(session.config, preprocessing, session.steps(len(data)) * epochs, classes)
    learner.network.load_state_dict(classifier.network.state_dict())
    loaders = (training_loader(session.config, data, learner), None)
    session.run(learner, loaders, epochs, [], CONTRASTIVE_CHECKPOINT)
    classifier.network.load_state_dict(learner.network.state_dict())


def _precision(config: TrainConfig) -> str:
    """bf16 pays where the processor multiplies it natively; elsewhere it is emulated and slower than fp32."""
    if config.precision == "fp32":
        return "32-true"
    if config.precision != "auto":
        return "16-mixed" if config.precision == "fp16" else "bf16-mixed"
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"
    able = torch.cpu.get_capabilities()
    return "bf16-mixed" if able.get("avx512_bf16") or able.get("amx_bf16") else "32-true"


def _quieten_lightning() -> None:
    """Lightning's banner about devices says nothing that the observer does not."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
