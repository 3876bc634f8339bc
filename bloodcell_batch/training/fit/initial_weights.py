"""What a training starts from and learns from besides the images: earlier weights, teachers, names of files."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import safetensors
import safetensors.torch
import torch

from bloodcell_batch.cell_classes import ClassList
from bloodcell_batch.errors import InputError, ModelFileError
from bloodcell_batch.model.file import NETWORK_PREFIX, open_model
from bloodcell_batch.model.network import InferenceModule, load_inference_module
from bloodcell_batch.training.data.training_set import weights_path


def weights_names(paths: Sequence[Path]) -> str | None:
    """The names of files for people and headers, None for no file."""
    return " + ".join(path.name for path in paths) or None


def read_weights(paths: Sequence[Path]) -> dict[str, torch.Tensor]:
    """The mean of the weights in several files: networks that were trained on from one start can be averaged, and are
    then better on other laboratories' images than each of them (Wortsman et al., 2022).

    Raises:
        InputError: a file can't be read, or they hold different tensors.
    """
    first, *others = (_read(path) for path in paths)
    for path, other in zip(paths[1:], others, strict=True):
        if {name: value.shape for name, value in other.items()} != {name: v.shape for name, v in first.items()}:
            hint = "Give models of one architecture that were trained from the same start."
            raise InputError(f"The weights of {path} and {paths[0]} can't be averaged.", hint=hint)
    return mean_weights([first, *others])


def mean_weights(states: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """The mean of weights of one shape, computed in float64; whole numbers are rounded down."""
    return {
        name: torch.stack([state[name].double() for state in states]).mean(dim=0).to(value.dtype)
        for name, value in states[0].items()
    }


def rows_by_name(paths: Sequence[Path], classes: ClassList) -> dict[int, int] | None:
    """Which outputs of the initial models are the same classes as ours, by name: ours to theirs. A kind that they don't
    know starts as the class that it is a kind of.

    None for bare weights, which don't name their classes.

    Raises:
        InputError: the models have different classes.
    """
    lists = []
    for path in paths:
        try:
            lists.append(open_model(weights_path(path)).header.class_list.names)
        except ModelFileError:
            return None
    if len(set(lists)) != 1:
        hint = "Give models that were trained from the same start, with the same classes."
        raise InputError("The initial weights are of models with different classes.", hint=hint)
    known = {name: place for place, name in enumerate(lists[0])}
    nearest = ((ours, known.get(one.name, known.get(one.parent))) for ours, one in enumerate(classes.classes))
    return {ours: theirs for ours, theirs in nearest if theirs is not None}


def _read(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a bare safetensors file, or of the network in one of our model files."""
    state = _load(path)
    ours = {
        name.removeprefix(NETWORK_PREFIX): value for name, value in state.items() if name.startswith(NETWORK_PREFIX)
    }
    return ours or state


def load_teachers(paths: Sequence[Path]) -> list[InferenceModule]:
    """The networks of model files; ModelFileError where one is none."""
    return [load_inference_module(open_model(path)) for path in paths]


def _load(path: Path) -> dict[str, torch.Tensor]:
    file = weights_path(path)
    try:
        return safetensors.torch.load_file(file)
    except (OSError, safetensors.SafetensorError) as error:
        hint = "Give a safetensors file with the weights of the same architecture."
        raise InputError(f"Can't read the initial weights {file}: {error}.", hint=hint) from error
