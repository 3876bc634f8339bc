"""Batches out of memory, in an order that a resumed training can repeat."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler

from bloodcell_batch.cell_classes import ClassList
from bloodcell_batch.config.recipe import TrainConfig
from bloodcell_batch.errors import UsageError
from bloodcell_batch.training.data.labelled import LabelledImages
from bloodcell_batch.training.fit.lightning_module import Batch, NormalisedNetwork, mixed_seed

_CHECK_BATCH = 128


class InMemory(Dataset[Batch]):
    """Hands out whole batches by fancy indexing; single-item access would copy every image twice.

    `labels` int64 (M,) are those of the images at `index`, which are the ones it has.
    """

    def __init__(self, images: LabelledImages, fine: NDArray[np.int64], index: NDArray[np.int64]) -> None:
        self.images = images
        self._index = index
        self._labels = torch.from_numpy(images.labels)
        self.labels = images.labels[index]
        self.laboratories = images.laboratories[index]
        self._fine = torch.from_numpy(fine)

    def __len__(self) -> int:
        return len(self._index)

    def __getitems__(self, index: list[int]) -> Batch:
        where = self._index[index]
        return torch.from_numpy(np.ascontiguousarray(self.images.pixels[where])), self._labels[where], self._fine[where]


class _EpochSampler(Sampler[int]):
    """A new order in every epoch that depends on the seed and the epoch alone, so that it can be resumed."""

    def __init__(self, weights: torch.Tensor | None, count: int, seed: int, epoch: Callable[[], int]) -> None:
        self._weights, self._count, self._seed, self._epoch = weights, count, seed, epoch

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[int]:
        random = torch.Generator().manual_seed(mixed_seed(self._seed, self._epoch()))
        if self._weights is None:
            return iter(torch.randperm(self._count, generator=random).tolist())
        return iter(torch.multinomial(self._weights, self._count, replacement=True, generator=random).tolist())


def training_loader(config: TrainConfig, data: InMemory, network: NormalisedNetwork) -> DataLoader[Batch]:
    """Batches for training; the last, smaller one is left out, as batch normalisation suffers from it."""
    weights = None
    if config.sampling == "weighted":
        given = config.class_shares
        shares = of_classes("class_shares", given, data.images.classes) if given else None
        drawn = sampling_weights(data.labels, data.laboratories, config.laboratory_balance, shares)
        weights = torch.from_numpy(drawn)
    in_turn = _EpochSampler(weights, len(data), config.seed, lambda: network.current_epoch)
    return DataLoader(
        data,
        batch_size=config.batch_size,
        sampler=in_turn if config.shuffle else None,
        drop_last=len(data) >= config.batch_size,
        collate_fn=_identity,
    )


def of_classes(key: str, given: Mapping[str, float], classes: ClassList) -> NDArray[np.float64]:
    """What a key of the recipe gives to each class (C,), 1 where nothing is said.

    Raises:
        UsageError: the data have no class of that name.
    """
    unknown = sorted(set(given) - set(classes.names))
    if unknown:
        known = ", ".join(classes.reading_order)
        raise UsageError(f"{key} names {unknown[0]!r}, which is no class of the data.", hint=f"Known: {known}.")
    return np.array([given.get(name, 1.0) for name in classes.names])


def sampling_weights(
    labels: NDArray[np.int64],
    laboratories: NDArray[np.str_],
    balance: float,
    class_shares: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Chance (N,) of each image to be drawn, sum 1: every class in proportion to its share (C,), equally often without
    any, and inside a class every laboratory in proportion to its number of images there to the power of 1 - `balance`.
    """
    _, sites = np.unique(laboratories, return_inverse=True)
    _, cells, sizes = np.unique(np.stack([labels, sites]), axis=1, return_inverse=True, return_counts=True)
    weights = sizes[cells.reshape(-1)].astype(np.float64) ** -balance
    chances: NDArray[np.float64] = weights / np.bincount(labels, weights)[labels] / len(np.unique(labels))
    if class_shares is not None:
        chances *= class_shares[labels]
        chances /= chances.sum()
    return chances


def checking_loader(data: InMemory) -> DataLoader[Batch]:
    """Batches for validation, in order."""
    return DataLoader(data, batch_size=_CHECK_BATCH, collate_fn=_identity)


def _identity(batch: Any) -> Any:  # noqa: ANN401 - DataLoader's own types are no better
    return batch
