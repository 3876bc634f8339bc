"""A small network with fixed random weights, sure enough of its classes that agreement means something."""

from pathlib import Path

import numpy as np
from conftest import Picture, draw_picture

from bloodcell_batch.cell_classes import DEFAULT_CLASSES
from bloodcell_batch.images.preprocessing import Preprocessing
from bloodcell_batch.model.file import (
    FINDER_CLASSES,
    NO_OUTLIER_RULE,
    FinderRule,
    ModelFile,
    ModelHeader,
    OutlierRule,
    class_entries,
    save_model,
)
from bloodcell_batch.model.outlier_score import OutlierScore

SIDE = 32


def make_small_model(folder: Path) -> ModelFile:
    """`m.safetensors` in the folder, for pictures of 32 pixels."""
    import torch  # noqa: PLC0415 - takes seconds

    from bloodcell_batch.model.network import create_network  # noqa: PLC0415 - imports torch

    torch.manual_seed(0)
    network = create_network("test_efficientnet", len(DEFAULT_CLASSES))
    header = ModelHeader(
        name="small",
        architecture="test_efficientnet",
        classes=class_entries(),
        preprocessing=Preprocessing(input_size=SIDE),
        temperature=0.05,
        review_threshold=0.5,
        outlier=OutlierRule(threshold=2.5, description="a test"),
        training={},
        metrics={},
        licence="CC0",
        attribution="nobody",
    )
    width = int(network.num_features)  # type: ignore[arg-type]
    score = OutlierScore(
        mean=np.zeros(width, dtype=np.float32),
        directions=np.eye(4, width, dtype=np.float32),
        scale=np.ones(4, dtype=np.float32),
        centers=np.zeros((len(DEFAULT_CLASSES.names), 4), dtype=np.float32),
        residual=np.ones(1, dtype=np.float32),
    )
    tensors = {f"network.{name}": value.numpy() for name, value in network.state_dict().items()}
    tensors |= {f"outlier.{name}": value for name, value in score.tensors().items()}
    return save_model(folder / "m.safetensors", header, tensors)


def small_pictures(count: int) -> Picture:
    """Network inputs (count, 32, 32, 3)."""
    return np.stack([draw_picture(seed, SIDE) for seed in range(count)])


def make_small_finder(folder: Path) -> ModelFile:
    """`finder.safetensors` in the folder, for tiles of 64 pixels; untrained."""
    import torch  # noqa: PLC0415 - takes seconds

    from bloodcell_batch.model.finder_network import FINDER_ARCHITECTURE, STRIDE, FinderNetwork  # noqa: PLC0415 - torch

    torch.manual_seed(0)
    network = FinderNetwork(len(FINDER_CLASSES))
    header = ModelHeader(
        name="small finder",
        architecture=FINDER_ARCHITECTURE,
        classes=FINDER_CLASSES,
        preprocessing=Preprocessing(input_size=64),
        temperature=1,
        review_threshold=0,
        outlier=NO_OUTLIER_RULE,
        finder=FinderRule(stride=STRIDE, red_cell_side=28, thresholds=(1, 1, 1)),
        training={},
        metrics={},
        licence="CC0",
        attribution="nobody",
    )
    weights = {f"network.{name}": value.numpy() for name, value in network.state_dict().items()}
    return save_model(folder / "finder.safetensors", header, weights)
