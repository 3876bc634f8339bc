import numpy as np
import pytest
from pydantic import ValidationError
from torch import nn

from bloodcell_batch.cell_classes import DEFAULT_CLASSES
from bloodcell_batch.config.recipe import TrainConfig
from bloodcell_batch.errors import UsageError
from bloodcell_batch.training.data.labelled import LabelledImages
from bloodcell_batch.training.fit.batches import InMemory, checking_loader, sampling_weights, training_loader

COUNTS = [40, 4, 4, 4, 4, 4, 4, 16]


class Epoch(nn.Module):
    """Stands in for the network, of which the loader only asks the epoch."""

    current_epoch = 0


def data() -> InMemory:
    labels = np.repeat(np.arange(8), COUNTS)
    index = np.arange(len(labels), dtype=np.int64)
    pixels = np.broadcast_to(index.astype(np.uint8)[:, None, None, None], (len(labels), 4, 4, 3)).copy()
    parts, sites = np.full(len(labels), -1, np.int8), np.full(len(labels), "")
    digests, hashes = index.astype(np.uint64), np.zeros((len(labels), 2, 4), dtype=np.uint64)
    images = LabelledImages(
        tuple(map(str, index)), pixels, labels, digests, hashes, index, parts, sites, sites, DEFAULT_CLASSES
    )
    return InMemory(images, index * 2, index)


def order(config: TrainConfig, epoch: int) -> list[int]:
    network = Epoch()
    network.current_epoch = epoch
    loader = training_loader(config, data(), network)  # type: ignore[arg-type]
    return [int(image[0, 0, 0]) for images, _, _ in loader for image in images]


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    config = TrainConfig(batch_size=8, seed=4)
    first = order(config, 3)
    assert first == order(config, 3)
    assert first != order(config, 4)
    assert first != order(config.model_copy(update={"seed": 5}), 3)


def test_weighted_sampling_evens_the_classes_out() -> None:
    labels = np.repeat(np.arange(8), COUNTS)
    weighted = np.concatenate([order(TrainConfig(batch_size=8), epoch) for epoch in range(40)])
    shares = np.bincount(labels[weighted], minlength=8) / len(weighted)
    np.testing.assert_allclose(shares, 1 / 8, atol=0.02)
    config = TrainConfig.model_validate({"batch_size": 8, "sampling": "none"})
    assert sorted(order(config, 0)) == list(range(80))


def test_a_class_is_drawn_by_its_share() -> None:
    labels = np.repeat(np.arange(8), COUNTS)
    config = TrainConfig(batch_size=8, class_shares={"ig": 0.25, "erythroblast": 0.5})
    weighted = np.concatenate([order(config, epoch) for epoch in range(60)])
    found = np.bincount(labels[weighted], minlength=8) / len(weighted)
    expected = np.ones(8)
    expected[[DEFAULT_CLASSES.names.index(name) for name in ("ig", "erythroblast")]] = 0.25, 0.5
    np.testing.assert_allclose(found, expected / expected.sum(), atol=0.02)


def test_shares_of_classes_that_are_not_there_are_refused() -> None:
    with pytest.raises(UsageError, match="class_shares names 'blast', which is no class of the data") as caught:
        order(TrainConfig(class_shares={"ig": 0.5, "blast": 0.5}), 0)
    assert "erythroblast" in caught.value.hint
    with pytest.raises(ValidationError, match="class_shares needs sampling"):
        TrainConfig(class_shares={"ig": 0.5}, sampling="none")
    with pytest.raises(ValidationError, match="class_shares"):
        TrainConfig(class_shares={"ig": 0.0})


@pytest.mark.parametrize(("balance", "large"), [(0.0, 16 / 17), (0.5, 4 / 5), (1.0, 1 / 2)])
def test_laboratories_share_a_class_by_the_balance(balance: float, large: float) -> None:
    labels = np.repeat([2, 2, 5], [16, 1, 3])
    sites = np.repeat(["large", "small", "small"], [16, 1, 3])
    weights = sampling_weights(labels, sites, balance)
    assert weights[labels == 2].sum() == pytest.approx(0.5)
    assert weights[labels == 5].sum() == pytest.approx(0.5)
    assert weights[:16].sum() == pytest.approx(large / 2)
    assert np.ptp(weights[:16]) == pytest.approx(0)


def test_batches_hold_matching_rows_and_the_last_small_one_is_left_out() -> None:
    network = Epoch()
    loader = training_loader(TrainConfig(batch_size=32), data(), network)  # type: ignore[arg-type]
    batches = list(loader)
    assert [len(images) for images, _, _ in batches] == [32, 32]
    labels = np.repeat(np.arange(8), COUNTS)
    for images, classes, fine in batches:
        index = images[:, 0, 0, 0].numpy()
        np.testing.assert_array_equal(classes.numpy(), labels[index])
        np.testing.assert_array_equal(fine.numpy(), 2 * index.astype(int))
    few = training_loader(TrainConfig(batch_size=128), data(), network)  # type: ignore[arg-type]
    assert [len(images) for images, _, _ in few] == [80]
    assert sum(len(images) for images, _, _ in checking_loader(data())) == 80


@pytest.mark.parametrize("part", [[3, 1, 2], [79]])
def test_a_part_hands_out_its_own_images(part: list[int]) -> None:
    whole = data()
    some = InMemory(whole.images, np.arange(80) * 2, np.array(part))
    assert len(some) == len(part)
    images, _, fine = some.__getitems__(list(range(len(part))))
    assert images[:, 0, 0, 0].tolist() == part
    assert fine.tolist() == [2 * i for i in part]


def test_without_shuffling_the_order_is_that_of_the_files() -> None:
    config = TrainConfig(batch_size=4, sampling="none", shuffle=False)
    assert order(config, 0) == order(config, 1) == list(range(sum(COUNTS)))
    with pytest.raises(ValueError, match="shuffle = false needs sampling"):
        TrainConfig(shuffle=False)
