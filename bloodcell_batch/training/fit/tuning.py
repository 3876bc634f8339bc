"""`tune`: Optuna searches a recipe's settings; the study is a SQLite file that several processes can share."""

import hashlib
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import tomli_w
from filelock import FileLock
from lightning.pytorch import Callback, LightningModule, Trainer
from matplotlib.figure import Figure
from optuna.trial import TrialState

from bloodcell_batch.config.base import Effect, fields_with, not_compared
from bloodcell_batch.config.comparison import TuneConfig
from bloodcell_batch.config.recipe import AugmentationConfig, TrainConfig
from bloodcell_batch.errors import TrainingError
from bloodcell_batch.files.publishing import written_whole
from bloodcell_batch.files.writing import writing
from bloodcell_batch.model.architectures import widths_of
from bloodcell_batch.progress import NullObserver, Observer, counted
from bloodcell_batch.training.data.labelled import LabelledImages
from bloodcell_batch.training.data.training_set import TrainingSet, read_training_set
from bloodcell_batch.training.fit.fit import fit
from bloodcell_batch.training.fit.lightning_module import CellClassifier

_STUDY = "study.db"
_IDENTITY = "recipe and images"
_HEARTBEAT_S, _GRACE_S, _RETRIES = 5, 20, 2
_ENDED = (TrialState.COMPLETE, TrialState.PRUNED)
_BATCHES = (16, 32, 64, 128)
_STRONGEST = 1.5


@dataclass(frozen=True, slots=True)
class Tuned:
    """What a search has found: `score` is the best mean of both balanced validation accuracies, 0-1."""

    recipe: TrainConfig
    score: float
    trials: int
    pruned: int
    files: tuple[Path, ...]


def tune(recipe: TrainConfig, data: Path, out: Path, options: TuneConfig, observer: Observer) -> Tuned:
    """Search batch size, epochs, width, learning rate, weight decay and augmentation strength.

    Each trial is trained on the training part and scored on the validation part; the test part stays untouched. The
    same call continues an interrupted search, and several at once share one. A trial whose process was killed is
    tried again.

    Returns:
        The best recipe, which is also written to `out`, with the plot of importances where there is enough to tell.

    Raises:
        InputError: no labelled images.
        TrainingError: conflicting labels, too few images, no trial that ended well, or a study of another recipe or
            other images in `out`.
        OutputError: `out` can't be written.
    """
    recipe = recipe.model_copy(
        update={"workers": options.workers, "conflicts": options.conflicts or recipe.conflicts, "tensorboard": False}
    )
    training_set = read_training_set(recipe, data, observer)
    with writing(f"to {out}", "Correct --out."):
        out.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with FileLock(out / "lock"):  # two that begin at once would both create the tables
        study = _open_study(out / _STUDY, _identity(recipe, training_set.images))
    if _ended(study):
        observer.note(f"done already: {_ended(study)} of {counted(options.trials, 'trial')}")
    objective = _objective(recipe, training_set, observer)
    while _ended(study) < options.trials:
        # Seeded by the trials so far: a sampler that went on from the seed would repeat them after an interruption.
        study.sampler = optuna.samplers.TPESampler(seed=options.seed + len(study.get_trials(deepcopy=False)))
        study.optimize(objective, n_trials=1)
    return _written(study, recipe, out)


def sampled(recipe: TrainConfig, trial: optuna.Trial) -> TrainConfig:
    """The recipe with the settings of a trial."""
    strength = trial.suggest_float("augmentation_strength", 0.0, _STRONGEST)
    rate, decay = recipe.learning_rate, max(recipe.weight_decay, 1e-3)
    fewest = max(1, recipe.epochs // 3)
    changes = {
        "architecture": trial.suggest_categorical("architecture", widths_of(recipe.architecture)),
        "batch_size": trial.suggest_categorical("batch_size", _BATCHES),
        "epochs": trial.suggest_int("epochs", fewest, recipe.epochs),
        "learning_rate": trial.suggest_float("learning_rate", rate / 10, rate * 10, log=True),
        "weight_decay": trial.suggest_float("weight_decay", decay / 30, decay * 10, log=True),
        "augmentation": strengthened(recipe.augmentation, strength).model_dump(),
    }
    return TrainConfig.model_validate(recipe.model_dump() | changes)


def strengthened(augmentation: AugmentationConfig, factor: float) -> AugmentationConfig:
    """Every strength and share multiplied by `factor`, within its range; `gentle` and the policies stay."""
    values = augmentation.model_dump()
    for name, info in AugmentationConfig.model_fields.items():
        if name in {"gentle", "randaugment", "augmix", "mixup", "cutmix"}:
            continue
        highest = next(rule.le for rule in info.metadata if hasattr(rule, "le"))
        values[name] = values[name] ** factor if name == "blur_factor" else values[name] * factor
        values[name] = min(values[name], highest)
    return AugmentationConfig(**values)


class _Pruner(Callback):
    """Tells the study the score of each epoch, and stops the trial where the study says so."""

    def __init__(self, trial: optuna.Trial) -> None:
        self._trial = trial

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report and maybe stop."""
        self._trial.report(float(trainer.callback_metrics["score"]), pl_module.current_epoch + 1)
        if self._trial.should_prune():
            raise optuna.TrialPruned


def _objective(recipe: TrainConfig, training_set: TrainingSet, observer: Observer) -> Callable[[optuna.Trial], float]:
    def score(trial: optuna.Trial) -> float:
        config = sampled(recipe, trial)
        observer.note(f"trial {trial.number + 1}: {_told(trial.params)}")
        try:
            found: CellClassifier = fit(config, training_set, NullObserver(), callbacks=[_Pruner(trial)])
        except optuna.TrialPruned:
            observer.note(f"trial {trial.number + 1} pruned")
            raise
        except TrainingError as error:
            # A learning rate that makes the loss infinite is a finding, not the end of the search.
            observer.note(f"trial {trial.number + 1} failed: {error.message}")
            raise optuna.TrialPruned from error
        observer.note(f"trial {trial.number + 1}: {found.best_score:.2%}")
        return found.best_score

    return score


def _told(values: dict[str, Any]) -> str:
    return ", ".join(
        f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}" for key, value in values.items()
    )


def _identity(recipe: TrainConfig, images: LabelledImages) -> str:
    content = recipe.model_dump_json(exclude=not_compared(TrainConfig) | {"name"})
    return hashlib.sha256(content.encode() + np.sort(images.digests).tobytes()).hexdigest()


def _ended(study: optuna.Study) -> int:
    return len(study.get_trials(deepcopy=False, states=_ENDED))


def _open_study(path: Path, identity: str) -> optuna.Study:
    """The study in that file, or a new one.

    Raises:
        TrainingError: it is that of another recipe or of other images.
    """
    with warnings.catch_warnings():
        # Optuna calls the heartbeat, by which a killed trial is noticed, experimental.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        storage = optuna.storages.RDBStorage(
            f"sqlite:///{path}",
            engine_kwargs={"connect_args": {"timeout": 60}},
            heartbeat_interval=_HEARTBEAT_S,
            grace_period=_GRACE_S,
            heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=_RETRIES),
        )
    study = optuna.create_study(
        storage=storage,
        study_name="recipe",
        direction="maximize",
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=1),
        load_if_exists=True,
    )
    known = study.user_attrs.get(_IDENTITY, identity)
    if known != identity:
        hint = "Give the same recipe and data to continue, or another --out."
        raise TrainingError(f"{path} belongs to another recipe or other images.", hint=hint)
    study.set_user_attr(_IDENTITY, identity)
    return study


def _written(study: optuna.Study, recipe: TrainConfig, out: Path) -> Tuned:
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not complete:
        hint = "Give a lower learning rate, or --trials for more of them."
        raise TrainingError(f"None of the {counted(_ended(study), 'trial')} ended well.", hint=hint)
    best = study.best_trial
    found = sampled(recipe, optuna.trial.FixedTrial(best.params))  # type: ignore[arg-type]
    content = found.model_dump(mode="json", exclude_none=True, exclude=fields_with(TrainConfig, Effect.MACHINE))
    head = f"# The best of {_ended(study)} trials: number {best.number + 1}, mean balanced accuracy {best.value:.2%}\n"
    head += "# on the validation part, as it is and varied.\n"
    files = [out / "best.toml"]
    _save(files[0], (head + tomli_w.dumps(content)).encode())
    importances = _importances(study, len(complete))
    if importances:
        files.append(out / "importances.png")
        _save(files[1], _drawn(importances))
    pruned = len(study.get_trials(deepcopy=False, states=(TrialState.PRUNED,)))
    return Tuned(found, float(best.value or 0.0), _ended(study), pruned, tuple(files))


def _importances(study: optuna.Study, complete: int) -> dict[str, float]:
    """Share of each setting in the variance of the scores (fANOVA); nothing where all scored alike."""
    if complete < 2 or len({trial.value for trial in study.get_trials(states=(TrialState.COMPLETE,))}) < 2:
        return {}
    return dict(optuna.importance.get_param_importances(study))


def _drawn(importances: dict[str, float]) -> bytes:
    names = list(importances)[::-1]
    shares = [importances[name] for name in names]
    figure = Figure(figsize=(6.4, 0.9 + 0.4 * len(names)), layout="constrained")
    axes = figure.subplots()
    axes.barh([name.replace("_", " ") for name in names], shares, color="tab:blue")
    for row, share in enumerate(shares):
        axes.text(share, row, f" {share:.0%}", va="center")
    axes.set_xlim(0, max(1e-9, *shares) * 1.15)
    axes.set_xlabel("share in the variance of the validation score")
    axes.xaxis.set_major_formatter(lambda value, _position: f"{value:.0%}")
    axes.spines[["top", "right"]].set_visible(False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=130)
    return picture.getvalue()


def _save(path: Path, data: bytes) -> None:
    hint = "Free some space, then run the same command again: the trials are kept."
    with writing(path, hint), written_whole(path) as partial:
        partial.write_bytes(data)
