"""What a training starts from and learns from besides the images: earlier weights, teachers, names of files."""

from collections.abc import Sequence
from pathlib import Path

import safetensors
import safetensors.torch
import torch

from bloodcell_batch.errors import InputError
from bloodcell_batch.model_file import DEFAULT_MODEL, NETWORK_PREFIX, open_model
from bloodcell_batch.network import InferenceModule, load_inference_module

PACKAGED = "default"
"""In place of a file: the model that ships with the package."""


def weights_path(path: Path) -> Path:
    """The file that `init_weights` names."""
    return DEFAULT_MODEL if str(path) == PACKAGED else path


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a bare safetensors file, or of the network in one of our model files.

    Raises:
        InputError: the file can't be read.
    """
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
