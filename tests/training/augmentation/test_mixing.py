import pytest
import torch

from bloodcell_batch.cell_classes import DEFAULT_CLASSES
from bloodcell_batch.config.recipe import AugmentationConfig
from bloodcell_batch.training.augmentation.mixing import Policies
from bloodcell_batch.training.fit.losses import jensen_shannon

LABELS = torch.arange(16) % 8


def pixels() -> torch.Tensor:
    """Image i is flat grey of level i/16, so that a mixture shows its shares."""
    return (torch.arange(16) / 16).view(16, 1, 1, 1).expand(16, 3, 32, 32).clone()


def test_without_policies_nothing_changes() -> None:
    policies = Policies(AugmentationConfig(), len(DEFAULT_CLASSES))
    changed, targets = policies.apply(pixels(), LABELS)
    assert torch.equal(changed, pixels())
    assert torch.equal(targets, torch.nn.functional.one_hot(LABELS, 8).float())
    assert policies.views(pixels()) == []


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_targets_say_what_is_in_the_picture(name: str) -> None:
    torch.manual_seed(3)
    changed, targets = Policies(AugmentationConfig(**{name: 1.0}), len(DEFAULT_CLASSES)).apply(pixels(), LABELS)
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(16))
    share = float(targets[0, 0])
    assert 0 < share < 1
    # torchvision mixes each image with its neighbour in the batch, rolled by one.
    before = pixels()
    mixed = share * before + (1 - share) * before.roll(1, 0)
    torch.testing.assert_close(changed.mean(dim=(1, 2, 3)), mixed.mean(dim=(1, 2, 3)), atol=1e-3, rtol=0)


def test_randaugment_and_augmix_change_images_reproducibly() -> None:
    noise = torch.rand(16, 3, 32, 32)
    for config in (AugmentationConfig(randaugment=9), AugmentationConfig(augmix=12.0)):
        results = []
        for _ in range(2):
            torch.manual_seed(5)
            policies = Policies(config, len(DEFAULT_CLASSES))
            changed, _ = policies.apply(noise, LABELS)
            results.append(torch.stack([changed, *policies.views(noise)]))
        assert torch.equal(results[0], results[1])
        last = results[0][-1]
        assert (last - noise).abs().mean() > 0.01
        assert 0 <= last.min() <= last.max() <= 1
        if config.augmix:
            assert len(results[0]) == 3
            assert not torch.equal(results[0][1], results[0][2])


def test_augmix_asks_the_network_for_consistency() -> None:
    policies = Policies(AugmentationConfig(augmix=12.0), len(DEFAULT_CLASSES))
    torch.manual_seed(1)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 8))
    noise = torch.rand(16, 3, 32, 32)
    seen = [network(view) for view in (noise, *policies.views(noise))]
    assert float(jensen_shannon(seen).detach()) > 1e-4
    assert float(jensen_shannon([seen[0]] * 3).detach()) == pytest.approx(0, abs=1e-6)
