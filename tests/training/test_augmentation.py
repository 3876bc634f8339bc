import numpy as np
import pytest
import torch
from conftest import draw_picture

from bloodcell_batch.recipe import AugmentationConfig
from bloodcell_batch.training.augmentation import augment, plain

SIDE = 32
OFF = dict.fromkeys(AugmentationConfig.model_fields, 0.0) | {"blur_factor": 1.0}


def batch(count: int = 16) -> torch.Tensor:
    return torch.from_numpy(np.stack([draw_picture(seed, 2 * SIDE) for seed in range(count)]))


def run(seed: int = 0, images: torch.Tensor | None = None, **strength: float) -> torch.Tensor:
    config = AugmentationConfig(**(OFF | strength))
    return augment(batch() if images is None else images, SIDE, config, torch.Generator().manual_seed(seed))


def test_shape_range_and_reproducibility() -> None:
    config = AugmentationConfig()
    first = augment(batch(), SIDE, config, torch.Generator().manual_seed(1))
    assert first.shape == (16, 3, SIDE, SIDE)
    assert first.dtype == torch.float32
    assert first.min() >= 0
    assert first.max() <= 1
    assert torch.equal(first, augment(batch(), SIDE, config, torch.Generator().manual_seed(1)))
    assert not torch.equal(first, augment(batch(), SIDE, config, torch.Generator().manual_seed(2)))


def test_without_strength_only_rotation_and_flips_remain() -> None:
    flat = torch.full((4, 2 * SIDE, 2 * SIDE, 3), 128, dtype=torch.uint8)
    np.testing.assert_allclose(run(images=flat).numpy(), 128 / 255, atol=1e-5)
    assert not torch.allclose(run(), plain(batch(), SIDE), atol=0.05)


@pytest.mark.parametrize(
    "name", ["scale", "shift", "aspect", "colour_mixing", "gain", "brightness", "contrast", "noise"]
)
def test_every_strength_acts(name: str) -> None:
    assert (run(0, None, **{name: 0.3}) - run()).abs().mean() > 1e-3


def test_grey_takes_colour_away() -> None:
    def colourfulness(pixels: torch.Tensor) -> float:
        return float((pixels.amax(1) - pixels.amin(1)).mean())

    assert colourfulness(run(grey=1.0)) < 0.8 * colourfulness(run())


def test_blur_softens_half_of_a_batch() -> None:
    def roughness(pixels: torch.Tensor) -> torch.Tensor:
        return (pixels[..., 1:] - pixels[..., :-1]).abs().mean(dim=(1, 2, 3))

    rough = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (16, 2 * SIDE, 2 * SIDE, 3), dtype=np.uint8))
    blurred, sharp = roughness(run(images=rough, blur=1.0, blur_factor=4.0)), roughness(run(images=rough))
    assert (blurred[:8] < sharp[:8]).all()
    assert (blurred[8:] >= sharp[8:] * 0.99).all()


def test_a_smaller_cell_lies_on_empty_smear_or_its_mirror_image() -> None:
    image = torch.full((2, 2 * SIDE, 2 * SIDE, 3), 220, dtype=torch.uint8)
    image[:, 24:40, 24:40] = 60
    for seed in range(6):
        corners = run(seed, images=image, scale=2.0)[:, :, 0, 0]
        close_to_smear = (corners - 220 / 255).abs() < 0.02
        close_to_cell = (corners - 60 / 255).abs() < 0.3
        assert (close_to_smear | close_to_cell).all()
