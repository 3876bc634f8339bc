"""The systems of a comparison: recipes of networks and of classical classifiers, brought to the same terms."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bloodcell_batch.config.base import not_compared
from bloodcell_batch.config.comparison import ClassicalConfig, CompareConfig
from bloodcell_batch.config.recipe import TrainConfig
from bloodcell_batch.config.resolve import peek, resolve
from bloodcell_batch.errors import UsageError

System = TrainConfig | ClassicalConfig

_QUICK = {"images_per_class": 30, "max_input_size": 80, "max_epochs": 15, "max_batch_size": 8}


def read_systems(files: Sequence[Path], options: CompareConfig) -> dict[str, System]:
    """Name of each file without its suffix -> its recipe under the comparison's terms.

    Raises:
        UsageError: a file is not a recipe, or two have one name, or an option names a system or an architecture that
            none of them has.
    """
    systems: dict[str, System] = {}
    for file in files:
        if file.stem in systems:
            raise UsageError(f"Two of the recipes are called {file.name}.", hint="Rename one: rows go by that name.")
        systems[file.stem] = _on_terms(read_system(file), options)
    unknown = sorted(set(options.skip) - set(systems))
    if unknown:
        raise UsageError(f"--skip names {unknown[0]!r}, which is not among the recipes.", hint=", ".join(systems))
    architectures = {system.architecture for system in systems.values() if isinstance(system, TrainConfig)}
    unused = sorted(set(options.weights) - architectures)
    if unused:
        hint = f"Architectures are {', '.join(sorted(architectures))}."
        raise UsageError(f"--weights names {unused[0]!r}, which no recipe has.", hint=hint)
    return systems


def read_system(file: Path) -> System:
    """The recipe in a TOML file: with the key `classifier` a classical one, otherwise that of a network.

    Raises:
        UsageError: it can't be read, or is neither.
    """
    classical = peek(file, "classifier") is not None
    return resolve(ClassicalConfig, {}, file) if classical else resolve(TrainConfig, {}, file)


def expanded(options: CompareConfig) -> CompareConfig:
    """The options with what `quick` stands for; stricter limits that were given stay."""
    if not options.quick:
        return options
    given = options.model_dump()
    return options.model_copy(
        update={key: min(limit, given[key]) if given[key] else limit for key, limit in _QUICK.items()}
    )


def identity(system: System, options: CompareConfig, data: str) -> str:
    """Changes whenever the row would be another one; `data` identifies the images."""
    content = [system.model_dump(mode="json", exclude=not_compared(type(system))), data]
    content.append(options.model_dump(mode="json", exclude=not_compared(CompareConfig)))
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _on_terms(system: System, options: CompareConfig) -> System:
    """The recipe with the comparison's seed, split and limits."""
    side = min(system.input_size, options.max_input_size or system.input_size)
    changes: dict[str, Any] = {"input_size": side, "seed": options.seed}
    if isinstance(system, ClassicalConfig):
        return system.model_copy(update=changes)
    epochs = min(system.epochs, options.max_epochs or system.epochs)
    changes |= {
        "validation_fraction": options.validation_fraction,
        "test_fraction": options.test_fraction,
        "conflicts": options.conflicts,
        "workers": options.workers,
        "epochs": epochs,
        "contrastive_epochs": min(system.contrastive_epochs, options.max_epochs or system.contrastive_epochs),
        "batch_size": min(system.batch_size, options.max_batch_size or system.batch_size),
        "tensorboard": False,
    }
    if options.quick:
        # A moving average reaches further back than so short a training: half of it would still be the start.
        changes["ema"] = 0.0
        # And strong augmentation teaches nothing yet: the packaged recipe would hardly beat chance.
        changes["augmentation"] = system.augmentation.model_copy(update={"gentle": 1.0}).model_dump()
    if system.architecture in options.weights:
        changes |= {"init_weights": (options.weights[system.architecture],), "pretrained": False}
    return TrainConfig.model_validate(system.model_dump() | changes)
